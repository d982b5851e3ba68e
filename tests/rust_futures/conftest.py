"""The extension, and the loops that its futures are awaited on."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import aioxide
import pytest
from extensions import build

from rust_futures import Run


@pytest.fixture(scope="module")
def probe() -> Any:
    return build("probe")


@pytest.fixture(params=["plain", "debug", "stock tasks"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = aioxide.EventLoop(tasks=request.param != "stock tasks")
    loop.set_debug(request.param == "debug")
    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    yield loop
    if not loop.is_closed():
        loop.close()
    gc.collect()
    assert not reports


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Run:
    return lambda awaitable: loop.run_until_complete(asyncio.wait_for(awaitable, 20))
