"""Python 3.14's call graphs of tasks, seen from the program itself and from outside, by `python -m asyncio ps`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="from Python 3.14 on")

PROGRAM = """
import asyncio, sys
from {module} import {factory} as factory, gather

async def leaf():
    await asyncio.get_running_loop().create_future()

async def middle():
    await gather(asyncio.create_task(leaf(), name="named"), leaf())

async def main():
    task = asyncio.create_task(middle(), name="first name")
    task.set_name("middle")
    again = asyncio.create_task(leaf())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    again.cancel()
    await asyncio.wait([again])
    print("ready", flush=True)
    asyncio.get_running_loop().add_reader(0, task.cancel)
    await task

try:
    asyncio.run(main(), loop_factory=factory)
except asyncio.CancelledError:
    print("ended")
"""


def look(command: str, pid: int) -> str:
    """Runs `python -m asyncio ps` or `pstree` on another process."""
    found = subprocess.run(
        [sys.executable, "-m", "asyncio", command, str(pid)], capture_output=True, text=True, check=False, timeout=60
    )
    if found.returncode != 0 and "permission" in (found.stdout + found.stderr).lower():
        pytest.skip("this process may not look into others")
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_tasks_seen_from_another_process(loop_name: str) -> None:
    factory = {"asyncio": "SelectorEventLoop", "aioxide": "new_event_loop"}[loop_name]
    program = PROGRAM.format(module=loop_name, factory=factory)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        rows = [re.split(r" {2,}", line.strip()) for line in look("ps", child.pid).splitlines()[2:]]
        tree = look("pstree", child.pid)
        child.stdin.write("end\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ended\n"
    # Columns: thread, task, its name, its stack, the awaiter's stack, the awaiter's name and number.
    seen = sorted((row[2], row[3], row[5] if len(row) > 6 else None) for row in rows)
    assert seen == [
        ("Task-1", "main", None),
        ("Task-3", "leaf", "middle"),
        ("middle", "middle", "Task-1"),
        ("named", "leaf", "middle"),
    ]
    shape = [re.sub(r"[^(\w]*(\(T\) )?([\w.-]+).*", r"\1\2", line) for line in tree.splitlines() if line]
    assert shape[:4] == ["(T) Task-1", "main", "(T) middle", "middle"]
    assert sorted(zip(shape[4::2], shape[5::2], strict=True)) == [("(T) Task-3", "leaf"), ("(T) named", "leaf")]


def test_who_awaits_whom(run: Any) -> None:
    async def leaf(gate: asyncio.Event) -> None:
        await gate.wait()

    async def parent(child: asyncio.Task[None]) -> None:
        await child

    async def main() -> None:
        gate = asyncio.Event()
        child = asyncio.create_task(leaf(gate))
        parents = [asyncio.create_task(parent(child)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        graph: Any = asyncio.capture_call_graph(child)  # type: ignore[attr-defined]
        assert {entry.future for entry in graph.awaited_by} == set(parents)
        parents[0].cancel()
        await asyncio.wait(parents)
        graph = asyncio.capture_call_graph(child)  # type: ignore[attr-defined]
        assert graph.awaited_by == ()

    run(main())


def test_print_call_graph_of_the_current_task(run: Any, capsys: Any) -> None:
    async def inner() -> None:
        asyncio.print_call_graph()  # type: ignore[attr-defined]

    async def outer() -> None:
        await asyncio.create_task(inner(), name="inner")

    async def main() -> None:
        await asyncio.create_task(outer(), name="outer")

    run(main())
    printed = capsys.readouterr().out
    assert "Task(name='inner'" in printed
    assert "Awaited by:" in printed
    assert "Task(name='outer'" in printed


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="learned with the interpreter's lock only"
)
def test_the_layout_of_tasks_is_known() -> None:
    from aioxide import tasks

    assert tasks._teach_layout() is True
    assert asyncio._get_running_loop() is None
