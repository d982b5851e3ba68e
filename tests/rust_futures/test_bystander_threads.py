"""Daemon threads that have Rust futures, but no loop of aioxide's, while the interpreter ends."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

PROLOGUE = """
import asyncio, importlib.util, os, sys, threading, time
spec = importlib.util.spec_from_file_location("probe", sys.argv[1])
probe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(probe)

started = threading.Event()

def work(*_):
    started.set()
    {work}

class Thing:
    def __del__(self):
        work()

sys.unraisablehook = work

def use():
"""

EPILOGUE = """
def use_for_ever():
    while True:
        use()

threading.Thread(target=use_for_ever, daemon=True).start()
started.wait()
time.sleep(0.02)
"""

USES = {
    "releases it": "probe.ready(Thing())",
    "closes it": "probe.forever(work, work).close()",
    "runs it without a loop": """
    try:
        probe.forever(work, work).send(None)
    except RuntimeError:
        pass
""",
    "throws into it": """
    try:
        probe.forever(work, work).throw(ValueError(Thing()))
    except ValueError:
        pass
""",
    "awaits it on a loop of asyncio's": """
    async def main():
        try:
            await probe.forever(work, work)
        except RuntimeError:
            pass
    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(main())
    loop.close()
""",
    "releases another thread's": """
    made = []
    maker = threading.Thread(target=lambda: made.append(probe.ready(None)))
    maker.start()
    maker.join()
    made.clear()
""",
}

WORK = {"computes": "sum(range(1000))", "lets others run": "time.sleep(0.001)"}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("use", USES)
def test_interpreter_ends_beside_a_thread_that_has_a_rust_future(probe: Any, use: str, work: str) -> None:
    source = PROLOGUE.replace("{work}", WORK[work]) + "    " + USES[use] + EPILOGUE
    command = [sys.executable, "-Wignore", "-c", source, probe.__file__]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
