"""Tools that look into a program of asyncio see ours too: py-spy, Python 3.15's profiler, aiomonitor, ddtrace."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
LOOPS = ["asyncio", "aioxide", "installed"]

SPINNING = """
import asyncio, sys, time
import aioxide

def work_hard():
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        pass

async def handler():
    for _ in range(20):
        work_hard()
        await asyncio.sleep(0)

async def main():
    await asyncio.gather(handler(), handler())

if sys.argv[1] == "installed":
    aioxide.install()
aioxide.run(main(), loop_factory=asyncio.SelectorEventLoop if sys.argv[1] == "asyncio" else None)
"""


@pytest.fixture
def spinning(tmp_path: Path) -> Path:
    program = tmp_path / "spinning.py"
    program.write_text(SPINNING)
    return program


def profile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="py-spy 0.4 does not know this Python")
@pytest.mark.parametrize("loop", LOOPS)
def test_py_spy_sees_coroutines_and_what_they_call(spinning: Path, tmp_path: Path, loop: str) -> None:
    raw = tmp_path / "raw"
    spy = Path(sys.executable).with_name("py-spy")
    profile([str(spy), "record", "-r", "50", "-f", "raw", "-o", str(raw), "--", sys.executable, str(spinning), loop])
    stacks = re.findall(r"handler \(\S+:\d+\);work_hard \(\S+:\d+\) (\d+)$", raw.read_text(), re.MULTILINE)
    # Two seconds of work at 50 Hz, however busy the machine is.
    assert sum(map(int, stacks)) >= 30


@pytest.mark.skipif(sys.version_info < (3, 15), reason="the profiler came with Python 3.15")
@pytest.mark.parametrize("loop", LOOPS)
def test_pythons_own_profiler_sees_tasks(spinning: Path, tmp_path: Path, loop: str) -> None:
    out = tmp_path / "collapsed"
    options = ["run", "--async-aware", "--collapsed", "-o", str(out)]
    profile([sys.executable, "-m", "profiling.sampling", *options, str(spinning), loop])
    lines = [line for line in out.read_text().splitlines() if "work_hard" in line]
    assert lines
    assert all("handler" in line for line in lines)
    # The awaiting task is told beside the one that runs.
    assert any("main" in line for line in lines)


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="aiomonitor's requirements do not build there")
@pytest.mark.parametrize("hooks", [False, True], ids=["plain", "task factory"])
def test_aiomonitor_lists_tasks_and_cancels_one(run: Run, free_port: int, hooks: bool) -> None:
    import aiomonitor

    async def waits() -> None:
        await asyncio.sleep(100)

    def ask(method: str, path: str, body: bytes | None = None) -> Any:
        address = f"http://127.0.0.1:{free_port}/api/{path}"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        request = urllib.request.Request(address, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ports = {"port": 0, "console_port": 0, "webui_port": free_port}
        with aiomonitor.start_monitor(loop, **ports, console_enabled=False, hook_task_factory=hooks):
            task = asyncio.create_task(waits(), name="the waiter")
            await asyncio.sleep(0)
            while True:
                try:
                    listed = await asyncio.to_thread(ask, "POST", "live-tasks", b"filter=waiter")
                    break
                except OSError:
                    await asyncio.sleep(0.05)
            (found,) = listed["tasks"]
            assert found["name"] == "the waiter"
            assert found["coro"].endswith("waits()")
            await asyncio.to_thread(ask, "DELETE", f"task?task_id={found['task_id']}")
            with pytest.raises(asyncio.CancelledError):
                await task

    before = threading.active_count()
    run(main())
    assert threading.active_count() <= before + 1


TRACED = """
import asyncio, sys
import aioxide
import ddtrace
from ddtrace.trace import tracer

ddtrace.patch(asyncio=True)

async def child(found):
    with tracer.trace("child") as span:
        await asyncio.sleep(0)
        found.append(span.parent_id)

async def main():
    found = []
    with tracer.trace("outer") as outer:
        task = asyncio.create_task(child(found))
        await asyncio.gather(child(found), task, asyncio.wait_for(child(found), 10))
        for done in asyncio.as_completed([child(found), child(found)]):
            await done
    print(len(found), {parent == outer.span_id for parent in found})

if sys.argv[1] == "installed":
    aioxide.install()
aioxide.run(main(), loop_factory=asyncio.SelectorEventLoop if sys.argv[1] == "asyncio" else None)
"""


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="ddtrace has no wheel for it")
@pytest.mark.parametrize("loop", LOOPS)
def test_ddtrace_knows_which_span_a_task_belongs_to(tmp_path: Path, loop: str) -> None:
    program = tmp_path / "traced.py"
    program.write_text(TRACED)
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0", "DD_REMOTE_CONFIGURATION_ENABLED": "0"}
    command = [sys.executable, str(program), loop]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | quiet)
    assert done.stdout == "5 {True}\n", done.stdout + done.stderr
