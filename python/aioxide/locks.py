"""`Lock`, `Event`, `Condition`, `Semaphore`, `BoundedSemaphore` and `Barrier`: asyncio's, in Rust."""

from __future__ import annotations

import asyncio
import enum
import sys
from asyncio import locks as _locks
from typing import TYPE_CHECKING

from . import _aioxide, state

if TYPE_CHECKING or sys.version_info >= (3, 11):
    from asyncio import BrokenBarrierError
    from asyncio.locks import Barrier as _BarrierBase
    from asyncio.locks import _BarrierState
else:
    # Python 3.11 has them.
    from asyncio.mixins import _LoopBoundMixin as _BarrierBase

    class BrokenBarrierError(RuntimeError):
        """Raised by a barrier that was aborted or reset."""

    class _BarrierState(enum.Enum):
        FILLING = "filling"
        DRAINING = "draining"
        RESETTING = "resetting"
        BROKEN = "broken"


__all__ = ["Barrier", "BoundedSemaphore", "BrokenBarrierError", "Condition", "Event", "Lock", "Semaphore"]


class Lock(_aioxide._LockCore, asyncio.Lock):
    """A lock, given to those who wait in the order in which they came.

    # Cancel safety
    A cancelled `acquire` does not hold the lock; one that was given it meanwhile passes it on to the next.

    # Examples

        lock = aioxide.Lock()
        async with lock:
            assert lock.locked()

    asyncio: `asyncio.Lock`; no difference.
    """


class Event(_aioxide._EventCore, asyncio.Event):
    """A flag that tasks wait for.

    # Examples

        event = aioxide.Event()
        waiting = aioxide.create_task(event.wait())
        event.set()
        assert await waiting is True

    asyncio: `asyncio.Event`; no difference.
    """


class Condition(_aioxide._ConditionCore, asyncio.Condition):
    """Tasks wait here, without the lock, until one that holds it notifies them.

    `lock`: a lock to share, asyncio's or aioxide's; one of its own by default.

    # Cancel safety
    A cancelled `wait` holds the lock again before it raises, and passes a notification on.

    # Examples

        items, condition = [], aioxide.Condition()

        async def take():
            async with condition:
                await condition.wait_for(lambda: items)
                return items.pop()

        taking = aioxide.create_task(take())
        async with condition:
            items.append(1)
            condition.notify()
        assert await taking == 1

    asyncio: `asyncio.Condition`, as of Python 3.13 on every version.
    """


class Semaphore(_aioxide._SemaphoreCore, asyncio.Semaphore):
    """A lock that so many may hold at a time: `value`, 1 by default.

    Raises ValueError for a value below 0.

    # Cancel safety
    A cancelled `acquire` holds nothing; one that was given a permit meanwhile passes it on to the next.

    # Examples

        semaphore = aioxide.Semaphore(2)
        async with semaphore, semaphore:
            assert semaphore.locked()

    asyncio: `asyncio.Semaphore`, as of Python 3.13 on every version.
    """


class BoundedSemaphore(_aioxide._BoundedSemaphoreCore, Semaphore, asyncio.BoundedSemaphore):
    """A semaphore that may not be released more often than it was acquired: ValueError then.

    # Examples

        semaphore = aioxide.BoundedSemaphore(1)
        try:
            semaphore.release()
        except ValueError as error:
            assert str(error) == "BoundedSemaphore released too many times"

    asyncio: `asyncio.BoundedSemaphore`, as of Python 3.13 on every version.
    """


class Barrier(_aioxide._BarrierCore, _BarrierBase):
    """So many tasks wait here until the last of them has come.

    `parties`: how many, 1 or more, else ValueError.

    # Cancel safety
    A cancelled `wait` is taken off the count, and no more is done to the others.

    # Examples

        barrier = aioxide.Barrier(3)
        places = await aioxide.gather(*(barrier.wait() for _ in range(3)))
        assert sorted(places) == [0, 1, 2]

    asyncio: `asyncio.Barrier`, which Python 3.10 does not have.
    """


state.keep(Lock, Event, Condition, Semaphore, Barrier)

# To `inspect`, `unittest.mock` and `help` they are what asyncio's classes are.
for _ours in (BoundedSemaphore, Semaphore, Lock, Event, Condition, Barrier):
    if hasattr(_locks, _ours.__name__):
        _aioxide._dress(_ours, getattr(_locks, _ours.__name__))
