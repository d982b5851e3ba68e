"""The stub of the extension module says what the module has."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED = Path(__file__).parent / "typing" / "stubtest_allowlist.txt"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_stub_matches_the_module() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "aioxide._aioxide", "--allowlist", str(ALLOWED)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
