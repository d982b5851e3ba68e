"""`python -m aioxide`: runs a program that knows nothing of aioxide on its loop.

The interpreter starts anew with `AIOXIDE=1`, with what the command line said and without `-m aioxide`. So the program
sees what python itself would show it, down to the stack under its first frame, and its children are switched as well.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .startup import VARIABLE, obeys_variable

USAGE = """\
usage: python -m aioxide script.py [argument ...]
       python -m aioxide -m module [argument ...]
       python -m aioxide -c code [argument ...]
       python -m aioxide                             (asyncio's prompt, or a program from standard input)

Runs the program, and the Python processes that it starts, as python itself would, with aioxide's event loop in place of
asyncio's. So does python alone, with AIOXIDE=1 in the environment.
"""


def main(arguments: list[str]) -> None:
    """Runs what the command line names."""
    option = arguments[0] if arguments else ""
    if option in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return
    if option in ("-V", "--version"):
        sys.stdout.write(version())
        return
    if option in ("-m", "-c") and len(arguments) == 1:
        sys.exit(f"python -m aioxide: argument expected for the {option} option\n{USAGE}")
    if option.startswith("-") and option != "-" and option[:2] not in ("-m", "-c"):
        sys.exit(f"python -m aioxide: unknown option {option}\n{USAGE}")
    if not arguments and sys.stdin.isatty():
        arguments = ["-m", "asyncio"]
    run(arguments)


def version() -> str:
    """The version, and which fast paths aioxide has found its way to in this interpreter: for reports of faults."""
    import importlib
    import platform

    from . import __version__, _aioxide

    # It learns where the interpreter keeps its own tasks.
    importlib.import_module(".tasks", __package__)

    lines = [f"aioxide {__version__}, {platform.python_implementation()} {platform.python_version()}"]
    lines += [f"{what}: {'yes' if found else 'no'}" for what, found in _aioxide._learned()]
    return "".join(f"{line}\n" for line in lines)


def run(arguments: list[str]) -> NoReturn:
    """Becomes python with these arguments."""
    if not obeys_variable():
        sys.exit("python -m aioxide: aioxide is not installed in a folder of site-packages (by pip), which this needs")
    os.environ[VARIABLE] = "1"
    os.execv(sys.executable, [sys.executable, *own_options(), *arguments])


def own_options() -> list[str]:
    """The options before `-m aioxide`; if a debugger or profiler runs us, its command is among them."""
    options = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if options and options[-1] == "aioxide":
        options.pop()
    # Alone, or the last of several letters, as in `-Im`; or with the name, as in `-maioxide`.
    last = options.pop().removesuffix("aioxide").removesuffix("m") if options else "-"
    return options if last == "-" else [*options, last]


if __name__ == "__main__":
    main(sys.argv[1:])
