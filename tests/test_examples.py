"""The programs of the README and of the guide to HTTP do what they say; so does the extension in Rust."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import aioxide
import pytest
from extensions import build
from support import website

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


GUIDE = blocks("docs/guide/http.md")
PROGRAMS = [*blocks("README.md"), GUIDE[0]]
PARTS = GUIDE[1:]
# What the guide's parts leave out.
AROUND_A_PART = """
import asyncio, aioxide, httpx
from aioxide import http as aiohttp

async def main():
    async with aiohttp.ClientSession() as session:
{}

aioxide.run(main())
"""


class Site(BaseHTTPRequestHandler):
    """What the examples ask example.org for: a page, and a stream with one event, which is over the second time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/events":
            return self.answer(200, "text/html", b"<p>An example.")
        if self.headers["Last-Event-ID"] == "1":
            return self.answer(204, "text/plain", b"")
        return self.answer(200, "text/event-stream", b"retry: 1\nid: 1\ndata: hello\n\n")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Writes no log."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with website(Site) as url:
        yield url


def output(text: str, site: str, folder: Path) -> str:
    """What a program prints, with a local site in place of example.org."""
    program = folder / "program.py"
    program.write_text(text.replace("https://example.org/", site))
    result = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    return result.stdout


def test_pages_have_programs() -> None:
    assert len(PROGRAMS) == 4
    assert len(PARTS) == 4


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_program_prints_what_it_says(number: int, site: str, tmp_path: Path) -> None:
    says = re.findall(r"# prints (.*)", PROGRAMS[number])
    assert says
    assert output(PROGRAMS[number], site, tmp_path).splitlines() == says


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_part_of_the_guide_runs(number: int, site: str, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    part = textwrap.indent(PARTS[number], " " * 8)
    assert output(AROUND_A_PART.format(part), site, tmp_path) == ("message hello\n" if "session.sse" in part else "")


@pytest.fixture(scope="module")
def extension() -> Any:
    return build("rust-extension")


def test_extension_s_demo_prints_what_it_says(extension: Any, tmp_path: Path) -> None:
    (tmp_path / "rust_extension.so").symlink_to(extension.__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(ROOT / "examples/rust-extension/demo.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.stderr == ""
    assert result.stdout == "['A', 'B', 'A', 'C', 'B', 'A'] made of ['a', 'b', 'c']\n"


def test_rate_limiter_lets_through_as_many_as_it_says(extension: Any) -> None:
    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        limiter = extension.RateLimiter(per_second=200, burst=3)
        start = loop.time()
        await asyncio.gather(*(limiter.acquire() for _ in range(3)))
        at_once = len(limiter_waits(loop))
        await asyncio.gather(*(limiter.acquire() for _ in range(4)))
        return at_once, loop.time() - start

    def limiter_waits(loop: Any) -> list[Any]:
        return [handle for handle in loop._scheduled if not handle.cancelled()]

    at_once, elapsed = aioxide.run(main())
    assert at_once == 0
    assert elapsed >= 4 / 200


def test_cancelled_acquisition_leaves_its_turn(extension: Any) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        limiter = extension.RateLimiter(per_second=0.001)
        await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        return loop.time()

    aioxide.run(main())


@pytest.mark.parametrize("wrong", [{"per_second": 0}, {"per_second": float("nan")}, {"per_second": 1, "burst": 0}])
def test_rate_limiter_refuses_nonsense(extension: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        extension.RateLimiter(**wrong)


def test_cache_loads_once_for_all_who_ask(extension: Any) -> None:
    async def main() -> None:
        loads: list[str] = []

        async def load(key: str) -> str:
            loads.append(key)
            await asyncio.sleep(0)
            return key * 2

        cache = extension.Cache(load, 2)
        assert await asyncio.gather(*(cache.get(key) for key in "aabab")) == ["aa", "aa", "bb", "aa", "bb"]
        assert loads == ["a", "b"]
        # The third pushes out the one that was not asked for the longest.
        assert await cache.get("a") == "aa"
        assert await cache.get("c") == "cc"
        assert len(cache) == 2
        assert await cache.get("a") == "aa"
        assert await cache.get("b") == "bb"
        assert loads == ["a", "b", "c", "b"]

    aioxide.run(main())


def test_cache_survives_failures_and_cancellations(extension: Any) -> None:
    async def main() -> None:
        events: list[str] = []
        gate = asyncio.Event()

        async def load(key: str) -> str:
            events.append("load")
            try:
                await gate.wait()
            except asyncio.CancelledError:
                events.append("cancelled")
                raise
            if len(events) == 3:
                raise LookupError(key)
            return key

        cache = extension.Cache(load)
        first, second, third = (asyncio.create_task(cache.get("key")) for _ in range(3))
        while not events:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        while len(events) < 3:
            await asyncio.sleep(0)
        gate.set()
        outcomes = await asyncio.gather(first, second, third, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, LookupError, str]
        assert events in (["load", "cancelled", "load", "load"], ["load", "load", "cancelled", "load"])

    aioxide.run(main())
