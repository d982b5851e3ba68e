"""Behaviours that are run over and over, to find references, memory and descriptors that stay behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aioxide

Behaviour = Callable[[Any], Coroutine[Any, Any, Any]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Registers a coroutine function that is given the loop."""
    BEHAVIOURS[function.__name__] = function
    return function


def ours(name: str) -> Any:
    """aioxide's version of something of asyncio's, where it has one."""
    return getattr(aioxide, name, None) or getattr(asyncio, name)


async def one() -> int:
    return 1


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def fail(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def ever(loop: Any) -> None:
    await loop.create_future()


async def outcome(awaitable: Any) -> Any:
    """Awaits, and takes whatever comes of it."""
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError) as error:
        return type(error)
