"""The lesson's program with PyPI's aiohttp, against the sites of `aioxide demo --serve`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LESSON = (ROOT / "examples/lesson.py").read_text()
SITES = ("https://www.jython.org", "https://realpython.com")


@pytest.fixture(scope="module")
def sites() -> Iterator[list[str]]:
    """The addresses of the demo's two sites."""
    command = ["cargo", "run", "--quiet", "--package", "aioxide-cli", "--", "demo", "--serve", "--delay", "10"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield [server.stdout.readline().strip() for _ in SITES]
        finally:
            server.terminate()


@pytest.mark.parametrize("ways_in", [[], ["-m", "aioxide"]], ids=["asyncio", "aioxide"])
def test_lesson_prints_a_mark_for_each_download(ways_in: list[str], sites: list[str], tmp_path: Path) -> None:
    text = LESSON
    for theirs, local in zip(SITES, sites, strict=True):
        assert text.count(theirs) == 1
        assert local.startswith("http://127.0.0.1:")
        text = text.replace(theirs, local)
    program = tmp_path / "lesson.py"
    program.write_text(text)
    command = [sys.executable, *ways_in, str(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    marks, told = result.stdout.splitlines()
    assert sorted(marks) == ["J"] * 80 + ["R"] * 80
    assert marks != "JR" * 80, "the marks come in the order in which downloads finish"
    assert re.fullmatch(r"Downloaded 160 sites in \d+\.\d\d seconds", told)
