"""`Lock` and `Event`: asyncio's, with what runs per acquisition and per wait in Rust."""

from __future__ import annotations

import asyncio

from . import _aioxide

__all__ = ["Event", "Lock"]


class Lock(_aioxide._LockCore, asyncio.Lock):
    """A lock, given to those who wait in the order in which they came.

    # Cancel safety
    A cancelled `acquire` does not hold the lock; one that was given it meanwhile gives it to the next.

    asyncio: `asyncio.Lock`; no difference.
    """


class Event(_aioxide._EventCore, asyncio.Event):
    """A flag that tasks wait for.

    asyncio: `asyncio.Event`; no difference.
    """
