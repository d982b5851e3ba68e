"""`python -m aioxide`: runs a program that knows nothing of aioxide on its loop."""

from __future__ import annotations

import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
from types import CodeType, ModuleType
from typing import Any

from .installation import install

USAGE = """\
usage: python -m aioxide script.py [argument ...]
       python -m aioxide -m module [argument ...]
       python -m aioxide -c code [argument ...]
       python -m aioxide                             (asyncio's prompt, or a program from standard input)

Runs the program as python itself would, with aioxide's event loop in place of asyncio's.
"""


def main(arguments: list[str]) -> None:
    """Runs what the command line names, in a fresh `__main__`."""
    if arguments and arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return
    if arguments and arguments[0] in ("-V", "--version"):
        from . import __version__

        sys.stdout.write(f"aioxide {__version__}\n")
        return
    install()
    if not arguments and sys.stdin.isatty():
        arguments = ["-m", "asyncio"]
    kind, rest = (arguments[0], arguments[1:]) if arguments else ("-", [])
    if kind in ("-m", "-c") and not rest:
        sys.exit(f"python -m aioxide: argument expected for the {kind} option\n{USAGE}")
    if kind == "-m":
        run_module(rest[0], rest[1:])
    elif kind == "-c":
        run_code(compile(rest[0], "<string>", "exec", dont_inherit=True), ["-c", *rest[1:]])
    elif kind == "-":
        run_code(compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True), ["-", *rest])
    elif kind.startswith("-"):
        sys.exit(f"python -m aioxide: unknown option {kind}\n{USAGE}")
    else:
        run_script(kind, rest)


def run_module(name: str, arguments: list[str]) -> None:
    """Runs a module or package as `python -m` does; the working directory stays first on the path."""
    sys.argv[:] = ["-m", *arguments]
    fresh_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def run_code(code: CodeType, argv: list[str]) -> None:
    """Runs a program given as text."""
    sys.argv[:] = argv
    replace_path("")
    exec(code, vars(fresh_main()))


def run_script(path: str, arguments: list[str]) -> None:
    """Runs a file, or a folder or archive with a `__main__`, as `python path` does."""
    sys.argv[:] = [path, *arguments]
    importer = pkgutil.get_importer(path)
    if importer is not None:
        replace_path(path)
        fresh_main()
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        return
    code = read_code(path)
    replace_path(os.path.dirname(os.path.realpath(path)))
    module = fresh_main()
    absolute = os.path.abspath(path)
    # Python itself gives an absolute path since 3.9, and no spec to a script.
    module.__dict__.update(
        __file__=absolute,
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", absolute),
    )
    exec(code, module.__dict__)


def read_code(path: str) -> Any:
    """Compiles a source file, or loads a compiled one."""
    try:
        with io.open_code(os.path.abspath(path)) as file:
            code = pkgutil.read_code(file)
        if code is None:
            with io.open_code(os.path.abspath(path)) as file:
                code = compile(file.read(), os.path.abspath(path), "exec", dont_inherit=True)
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        sys.stderr.write(f"{sys.executable}: can't open file {os.path.abspath(path)!r}: {reason}\n")
        sys.exit(2)
    return code


def fresh_main() -> ModuleType:
    """Puts a new `__main__` in place: the program finds nothing of ours in it, and pickle finds the program."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = module
    return module


def replace_path(entry: str) -> None:
    """Puts the program's folder where python put ours, unless it was told to put none there."""
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        sys.path[0] = entry


if __name__ == "__main__":
    main(sys.argv[1:])
