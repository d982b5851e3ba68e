"""What the tests of locks and queues share: tasks that come to their first wait, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def begin(*coroutines: Any) -> list[asyncio.Task[Any]]:
    """Starts tasks and lets each come to its first wait."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Returns each task's result, or the type of what it raised."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(result).__name__ if isinstance(result, BaseException) else result for result in results]


async def settle() -> None:
    """Lets every task that is ready run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def needs_fixes(package: Any) -> None:
    """Skips what asyncio's own semaphores and conditions do wrong before 3.13 (late 3.11 and 3.12 apart)."""
    if package is asyncio and not hasattr(asyncio.Condition, "_notify"):
        pytest.skip("fixed in Python 3.13")


def state(thing: Any) -> str:
    return repr(thing).rpartition("[")[2].rstrip("]>")
