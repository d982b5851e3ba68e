"""`Lock`, `Event`, `Condition`, `Semaphore` and `BoundedSemaphore`: asyncio's, in Rust."""

from __future__ import annotations

import asyncio

from . import _aioxide

__all__ = ["BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"]


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


class Condition(_aioxide._ConditionCore, asyncio.Condition):
    """Tasks wait here, without the lock, until one that holds it notifies them.

    `lock`: a lock to share, asyncio's or aioxide's; one of its own by default.

    # Cancel safety
    A cancelled `wait` holds the lock again before it raises, and passes a notification on.

    asyncio: `asyncio.Condition`, as of Python 3.13 on every version.
    """


class Semaphore(_aioxide._SemaphoreCore, asyncio.Semaphore):
    """A lock that so many may hold at a time: `value`, 1 by default.

    Raises ValueError for a value below 0.

    # Cancel safety
    A cancelled `acquire` holds nothing; one that was given a permit meanwhile gives it to the next.

    asyncio: `asyncio.Semaphore`, as of Python 3.13 on every version.
    """


class BoundedSemaphore(_aioxide._BoundedSemaphoreCore, Semaphore, asyncio.BoundedSemaphore):
    """A semaphore that may not be released more often than it was acquired: ValueError then.

    asyncio: `asyncio.BoundedSemaphore`, as of Python 3.13 on every version.
    """
