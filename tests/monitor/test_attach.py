"""`aioxide top PID` looks into a program that was not prepared: from Python 3.14 on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "target/debug/aioxide"

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 14), reason="sys.remote_exec is new in 3.14"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="the program `aioxide` is not built"),
]

# Runs a little Python now and then: only between two instructions can it be asked.
UNPREPARED = """
import asyncio, sys

async def tick():
    while True:
        await asyncio.sleep(0.01)

async def main():
    forgotten = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    print("runs", flush=True)
    await tick()

{before}
asyncio.run(main())
"""


def top(folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    code = UNPREPARED.format(before=before)
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = subprocess.run(
            [PROGRAM, "top", str(process.pid), "--json"],
            env=environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        process.kill()
    return found


def test_program_that_was_not_prepared_opens_its_monitor(tmp_path: Path) -> None:
    found = top(tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert "forgotten" in {node["name"] for node in json.loads(found.stdout)["snapshot"]["nodes"]}


def test_program_that_cannot_open_it_says_why(tmp_path: Path) -> None:
    found = top(tmp_path, before="sys.modules['aioxide'] = None")
    assert found.returncode == 2
    assert "cannot open its monitor: ModuleNotFoundError" in found.stderr
