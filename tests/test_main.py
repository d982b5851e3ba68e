"""`python -m aioxide`: programs that know nothing of aioxide see what python itself would show them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import aioxide
import pytest

REPORT = """
import asyncio, json, os, pickle, sys

class Thing:
    pass

async def main():
    return type(asyncio.get_running_loop()).__module__

print(json.dumps({
    "loop": asyncio.run(main()),
    "argv": sys.argv,
    "path": os.path.realpath(sys.path[0]),
    "name": __name__,
    "file": globals().get("__file__"),
    "package": __package__,
    "spec": getattr(__spec__, "name", None),
    "names": sorted(n for n in globals() if not n.startswith("__")),
    "is_main": sys.modules["__main__"].__dict__ is globals(),
    "pickles": pickle.loads(pickle.dumps(Thing())).__class__ is Thing,
}))
"""


def run(*arguments: str, cwd: Path, module: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-m", "aioxide"] if module else []), *arguments]
    return subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, timeout=60, check=False)


def report(*arguments: str, cwd: Path, module: bool = True) -> dict[str, Any]:
    result = run(*arguments, cwd=cwd, module=module)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def same_but_for_the_loop(*arguments: str, cwd: Path) -> None:
    """Checks that the program sees the same under python and under aioxide, the loop apart."""
    theirs, ours = report(*arguments, cwd=cwd, module=False), report(*arguments, cwd=cwd)
    assert theirs.pop("loop").startswith("asyncio.")
    assert ours.pop("loop") == "aioxide.event_loop"
    assert ours == theirs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    program = tmp_path / "programs"
    package = program / "package"
    package.mkdir(parents=True)
    for file in (program / "script.py", program / "__main__.py", package / "__init__.py", package / "__main__.py"):
        file.write_text("" if file.name == "__init__.py" else REPORT)
    return tmp_path


def test_script_sees_what_python_shows_it(folder: Path) -> None:
    same_but_for_the_loop("programs/script.py", "one", "-m", "--two", cwd=folder)


def test_script_by_a_symbolic_link_has_its_own_folder_first(folder: Path) -> None:
    os.symlink(folder / "programs" / "script.py", folder / "link.py")
    same_but_for_the_loop("link.py", cwd=folder)


def test_module_sees_what_python_shows_it(folder: Path) -> None:
    same_but_for_the_loop("-m", "script", "one", "-c", cwd=folder / "programs")


def test_package_sees_what_python_shows_it(folder: Path) -> None:
    same_but_for_the_loop("-m", "package", "one", cwd=folder / "programs")


def test_folder_with_main_sees_what_python_shows_it(folder: Path) -> None:
    same_but_for_the_loop("programs", "one", cwd=folder)


def test_code_sees_its_arguments(folder: Path) -> None:
    code = REPORT.replace("pickle.loads(pickle.dumps(Thing())).__class__ is Thing", "True")
    same_but_for_the_loop("-c", code, "one", "two", cwd=folder)


def test_program_from_standard_input(folder: Path) -> None:
    result = run("-", "one", cwd=folder, text="import sys; print(sys.argv)")
    assert result.stdout == "['-', 'one']\n"


@pytest.mark.parametrize(("status", "code"), [("3", 3), ("None", 0), ("'message'", 1)])
def test_exit_status_is_the_programs(folder: Path, status: str, code: int) -> None:
    (folder / "exits.py").write_text(f"import sys; sys.exit({status})")
    assert run("exits.py", cwd=folder).returncode == code


FAILS = """
import traceback
def fail():
    traceback.print_stack()
    raise LookupError("here")
fail()
"""


@pytest.mark.parametrize("arguments", [["fails.py"], ["-m", "fails"], ["-c", FAILS], ["-"]])
def test_stack_and_traceback_are_those_of_python(folder: Path, arguments: list[str]) -> None:
    (folder / "fails.py").write_text(FAILS)
    ours, python = (run(*arguments, cwd=folder, module=module, text=FAILS) for module in (True, False))
    assert ours.stderr == python.stderr
    assert ours.stderr.rstrip().endswith("LookupError: here")
    assert ours.returncode == python.returncode == 1


@pytest.mark.parametrize("options", [["-X", "dev", "-W", "error", "-m"], ["-Om"], ["-Bu", "-m"], ["-OBum"]])
def test_options_of_the_interpreter_are_kept(folder: Path, options: list[str]) -> None:
    code = "import sys; print(sys.flags, sys._xoptions, sys.warnoptions, sys.stdout.write_through)"
    command = [sys.executable, *options, "aioxide", "-c", code]
    ours = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    last = options[-1].removesuffix("m")
    command = [sys.executable, *options[:-1], *([] if last == "-" else [last]), "-c", code]
    python = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert ours.stdout == python.stdout


def test_name_may_follow_the_option_at_once(folder: Path) -> None:
    command = [sys.executable, "-maioxide", "-c", "import sys; print(sys.argv)", "x"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "['-c', 'x']\n"


def test_profiler_that_runs_us_runs_the_program(folder: Path) -> None:
    (folder / "short.py").write_text("import asyncio\nprint(type(asyncio.new_event_loop()).__module__)")
    command = [sys.executable, "-m", "cProfile", "-s", "name", "-m", "aioxide", "short.py"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("aioxide.event_loop\n")
    assert "short.py:1(<module>)" in result.stdout


def test_children_of_the_program_are_switched(folder: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, 'programs/script.py'])"
    assert report("-c", code, cwd=folder)["loop"] == "aioxide.event_loop"


def test_without_its_hook_it_says_what_is_missing(folder: Path) -> None:
    environment = {"PYTHONPATH": str(Path(aioxide.__file__).parent.parent), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-m", "aioxide", "-c", "pass"]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "aioxide is not installed in a folder of site-packages" in result.stderr


def test_missing_script_is_reported_as_python_does(folder: Path) -> None:
    ours, python = run("missing.py", cwd=folder), run("missing.py", cwd=folder, module=False)
    assert (ours.returncode, ours.stderr) == (python.returncode, python.stderr)


def test_missing_script_and_module_are_reported(folder: Path) -> None:
    script = run("nothing.py", cwd=folder)
    assert (script.returncode, "can't open file" in script.stderr) == (2, True)
    module = run("-m", "no_such_module", cwd=folder)
    assert (module.returncode, "No module named no_such_module" in module.stderr) == (1, True)


@pytest.mark.parametrize("option", ["-m", "-c", "--nonsense"])
def test_wrong_use_shows_the_usage(folder: Path, option: str) -> None:
    result = run(option, cwd=folder)
    assert result.returncode == 1
    assert "usage: python -m aioxide" in result.stderr


def test_help_and_version(folder: Path) -> None:
    assert run("--help", cwd=folder).stdout.startswith("usage: python -m aioxide")
    version, *learned = run("--version", cwd=folder).stdout.splitlines()
    assert version == f"aioxide {aioxide.__version__}, CPython {platform.python_version()}"
    assert learned[:2] == ["contexts are shared until they are used: yes", "socket objects are read in place: yes"]
    assert len(learned) == (3 if sys.version_info >= (3, 14) else 2)
    assert all(line.endswith(": yes") for line in learned)


def test_globals_live_on_after_the_end(folder: Path) -> None:
    program = """
        import atexit, threading
        word = "still here"
        atexit.register(lambda: print(word, flush=True))
        release = threading.Event()
        threading.Thread(target=lambda: (release.wait(), print(word, flush=True))).start()
        atexit.register(release.set)
        threading._register_atexit(release.set)
        """
    (folder / "late.py").write_text(textwrap.dedent(program))
    result = run("late.py", cwd=folder)
    assert result.stderr == ""
    assert result.stdout == "still here\nstill here\n"


def test_spawned_process_imports_the_script(folder: Path) -> None:
    program = """
        import multiprocessing

        def square(number):
            return number * number

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(square, [1, 2, 3]))
        """
    (folder / "pool.py").write_text(textwrap.dedent(program))
    assert run("pool.py", cwd=folder).stdout == "[1, 4, 9]\n"
