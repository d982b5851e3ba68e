"""Which loop a program runs on: by `install`, by `AIOXIDE=1`, in child processes, and when it chooses by itself."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import os
import selectors
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import aioxide
import pytest
from aioxide.imports import when_imported
from aioxide.startup import InChild

KIND = "import asyncio\nasync def kind():\n    return type(asyncio.get_running_loop()).__module__\n"
OURS = "aioxide.event_loop"


def python(
    program: str, folder: Path, variable: str | None = None, *, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder of its own."""
    (folder / "program.py").write_text(textwrap.dedent(program))
    environment = {name: value for name, value in os.environ.items() if name != "AIOXIDE"}
    if variable is not None:
        environment["AIOXIDE"] = variable
    command = [sys.executable, *options, "program.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def printed(*arguments: Any, **keywords: Any) -> str:
    """What the program prints; it must succeed and complain of nothing."""
    result = python(*arguments, **keywords)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


@pytest.mark.parametrize(("variable", "ours"), [("1", True), ("yes", True), ("0", False), ("", False), (None, False)])
def test_variable_switches_a_process(variable: str | None, ours: bool, tmp_path: Path) -> None:
    assert (printed(f"{KIND}print(asyncio.run(kind()))", tmp_path, variable) == OURS) is ours


def test_variable_switches_children_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(f"{KIND}print(asyncio.run(kind()), flush=True)")
    program = "import subprocess, sys, os; subprocess.run([sys.executable, 'child.py']); os.system('python3 child.py')"
    environment = f"import os; os.environ['PATH'] = os.path.dirname({sys.executable!r}) + ':' + os.environ['PATH']\n"
    assert printed(environment + program, tmp_path, "1").split() == [OURS, OURS]


@pytest.mark.parametrize("variable", ["1", None])
def test_process_without_asyncio_imports_none(variable: str | None, tmp_path: Path) -> None:
    program = "import sys; print(json) if (json := [m for m in sys.modules if m.startswith(NAMES)]) else print('none')"
    names = "NAMES = ('asyncio', 'socket', 'ssl')" if variable else "NAMES = ('asyncio', 'aioxide', 'importlib.meta')"
    assert printed(f"{names}\n{program}", tmp_path, variable) == "none"


def test_process_that_cannot_be_switched_says_so(tmp_path: Path) -> None:
    program = f"import sys; sys.modules['aioxide._aioxide'] = None\n{KIND}print(asyncio.run(kind()))"
    result = python(program, tmp_path, "1")
    assert result.stdout.startswith("asyncio.")
    assert result.stderr.startswith("aioxide: this process stays on asyncio's own loop: ")


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("tasks", [True, False])
def test_children_of_multiprocessing_are_switched_as_their_parent(method: str, tasks: bool, tmp_path: Path) -> None:
    program = f"""
        import asyncio, multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor

        async def kind():
            return type(asyncio.get_running_loop()).__module__, asyncio.gather.__module__, asyncio.sleep.__module__

        def run():
            return asyncio.run(kind())

        if __name__ == "__main__":
            import aioxide
            aioxide.install(tasks={tasks})
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context({method!r})) as pool:
                assert pool.submit(run).result() == run()
            aioxide.uninstall()
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context({method!r})) as pool:
                assert pool.submit(run).result() == run()
            aioxide.install()
            print(run()[0])
        """
    assert printed(program, tmp_path) == OURS


def test_child_without_aioxide_begins_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aioxide.startup", None)
    function, arguments = InChild(True).__reduce__()
    function(*arguments)


def test_selector_loop_by_name_is_ours_while_installed() -> None:
    class Derived(asyncio.SelectorEventLoop):
        pass

    def kinds() -> list[type]:
        loops = [asyncio.SelectorEventLoop(), asyncio.SelectorEventLoop(selectors.SelectSelector()), Derived()]
        for loop in loops:
            loop.close()
        return [type(loop) for loop in loops]

    stock = asyncio.SelectorEventLoop
    before = inspect.signature(stock)
    assert kinds() == [stock, stock, Derived]
    aioxide.install()
    assert kinds() == [aioxide.EventLoop, stock, Derived]
    assert inspect.signature(stock) == before
    aioxide.uninstall()
    assert kinds() == [stock, stock, Derived]


def test_install_in_a_running_loop_says_that_it_stays(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        aioxide.install()
        aioxide.uninstall()

    asyncio.run(main())
    (record,) = caplog.records
    assert "is for loops made from now on" in record.getMessage()
    caplog.clear()
    aioxide.run(main())
    assert not caplog.records


OTHER = """
    import asyncio
    class Loop(asyncio.SelectorEventLoop):
        pass
    def new_event_loop():
        return Loop()
    """


@pytest.mark.parametrize("first", [True, False])
def test_another_packages_loop_is_obeyed_and_reported_once(first: bool, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text(textwrap.dedent(OTHER))
    lines = ["import uvloop", "import aioxide; aioxide.install()"]
    program = "\n".join(lines if first else reversed(lines))
    program += f"\n{KIND}\nfor _ in 'ab':\n    loop = uvloop.new_event_loop()\n"
    program += "    print(loop.run_until_complete(kind()))\n    loop.close()"
    result = python(program, tmp_path)
    assert result.stdout == "uvloop\nuvloop\n"
    assert result.stderr.count("aioxide is installed, but this program asks uvloop for its event loop") == 1
    assert len(result.stderr.splitlines()) == 1


def test_another_packages_loop_is_nothing_to_report_after_uninstall(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text(textwrap.dedent(OTHER))
    program = "import aioxide, uvloop; aioxide.install(); aioxide.uninstall(); uvloop.new_event_loop().close()"
    assert printed(program, tmp_path) == ""


def test_loop_tells_its_name(caplog: pytest.LogCaptureFixture) -> None:
    class Derived(aioxide.EventLoop):
        pass

    caplog.set_level(logging.DEBUG, "asyncio")
    loop, derived = aioxide.new_event_loop(), Derived()
    assert repr(loop) == "<aioxide.EventLoop running=False closed=False debug=False>"
    assert repr(derived).startswith("<Derived running=False")
    assert "aioxide" in caplog.records[0].getMessage()
    loop.close()
    derived.close()
    assert "closed=True" in repr(loop)


def test_loop_that_is_to_be_nested_is_refused() -> None:
    # What nest_asyncio does to a loop, in short.
    names = {"__name__": "nest_asyncio"}
    exec("def patch(loop):\n    if not hasattr(loop, '_nest_patched'):\n        type(loop)._run_once = print", names)
    loop = aioxide.new_event_loop()
    with pytest.raises(ValueError, match="nest_asyncio cannot make aioxide's loop re-entrant"):
        names["patch"](loop)  # type: ignore[operator]
    assert not hasattr(loop, "_nest_patched")
    loop.close()


def test_module_that_was_waited_for_looks_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def function():\n    pass\n"
    (tmp_path / "waited_for.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[Any] = []
    when_imported("waited_for", lambda module: seen.append(("first", module.function)))
    when_imported("waited_for", lambda module: seen.append(("second", module.function)))
    assert not seen
    module = importlib.import_module("waited_for")
    assert seen == [("first", module.function), ("second", module.function)]
    assert inspect.getsource(module) == text
    assert type(module.__loader__).__module__ == type(inspect.__loader__).__module__  # type: ignore[name-defined]
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    when_imported("waited_for", lambda module: seen.append("at once"))
    assert seen[-1] == "at once"
    importlib.reload(module)
    assert len(seen) == 3


def test_module_that_fails_is_waited_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing.py").write_text("import json\nif json.failing: raise LookupError")
    monkeypatch.setattr(json, "failing", True, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[Any] = []
    when_imported("failing", seen.append)
    with pytest.raises(LookupError):
        import failing
    assert not seen
    monkeypatch.setattr(json, "failing", False)
    import failing

    assert seen == [failing]
