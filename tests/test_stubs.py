"""The types: the stub of the extension module says what the module has, and checkers find what asyncio's types give."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "typing"
SAMPLE = HERE / "sample.py"
VERSIONS = ["3.10", "3.14"]


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"needs {module}")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=HERE)


def expected() -> list[tuple[int, str]]:
    """What the comments of the sample say: (line, type or "error")."""
    lines = enumerate(SAMPLE.read_text().splitlines(), 1)
    return [(number, line.rsplit("  # ", 1)[1]) for number, line in lines if re.search(r"\S  # \S", line)]


def plain(revealed: str) -> str:
    """A type as the sample writes it."""
    return re.sub(r"\b(?:builtins|aioxide\._aioxide|asyncio\.queues)\.", "", revealed).replace("*", "")


@pytest.mark.slow
@needs("mypy")
def test_stub_matches_the_module() -> None:
    result = run("mypy.stubtest", "aioxide._aioxide", "--allowlist", str(HERE / "stubtest_allowlist.txt"))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@needs("mypy")
@pytest.mark.parametrize("version", VERSIONS)
def test_mypy_finds_the_types_of_asyncio(version: str, tmp_path: Path) -> None:
    options = ["--config-file", "", "--strict", "--cache-dir", str(tmp_path), "--python-version", version]
    result = run("mypy", *options, SAMPLE.name)
    found = []
    for line in result.stdout.splitlines():
        if match := re.match(r'sample\.py:(\d+): (?:note: Revealed type is "(.*)"|(error): )', line):
            found.append((int(match[1]), plain(match[2] or match[3])))
    assert found == expected(), result.stdout + result.stderr


@pytest.mark.slow
@needs("basedpyright")
def test_pyright_finds_the_types_of_asyncio(tmp_path: Path) -> None:
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    (tmp_path / "sample.py").write_text(SAMPLE.read_text())
    result = run("basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(tmp_path))
    found: dict[int, str] = {}
    for message in json.loads(result.stdout)["generalDiagnostics"]:
        line = message["range"]["start"]["line"] + 1
        if match := re.match(r'Type of "(?s:.*)" is "(.*)"', message["message"]):
            found[line] = plain(match[1])
        elif message["severity"] == "error":
            found[line] = "error"
    assert list(found.items()) == expected(), result.stdout + result.stderr
