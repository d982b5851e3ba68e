"""The soak of `make soak`, for a moment: memory and descriptors stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent.parent / "scripts" / "soak.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    ["connections --count 1500 --idle 200", "connections --count 1500 --kind unix", "tasks --count 50000"],
)
def test_memory_and_descriptors_stay(loop_name: str, options: str) -> None:
    loop = "asyncio:SelectorEventLoop" if loop_name == "asyncio" else f"{loop_name}:new_event_loop"
    classes = "aioxide" if loop_name == "aioxide" else "asyncio"
    command = [sys.executable, str(SOAK), *options.split(), "--loop", loop, "--classes", classes]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    check(ended)


@pytest.mark.slow
def test_requests_stay_flat() -> None:
    pytest.importorskip("yarl")
    command = [sys.executable, str(SOAK), "requests", "--count", "5000"]
    check(subprocess.run(command, capture_output=True, text=True, timeout=120, check=False))


def check(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("flat\n")
    assert not ended.stderr
