"""`Queue`, `LifoQueue` and `PriorityQueue`: asyncio's, with their state in Rust and `shutdown` on every Python."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from . import _aioxide, state

__all__ = ["LifoQueue", "PriorityQueue", "Queue", "QueueEmpty", "QueueFull", "QueueShutDown"]

QueueEmpty = asyncio.QueueEmpty
QueueFull = asyncio.QueueFull
if TYPE_CHECKING:
    from ._aioxide import QueueShutDown
else:
    # asyncio's from Python 3.13 on.
    QueueShutDown = _aioxide.QueueShutDown

_T = TypeVar("_T")


class Queue(_aioxide._QueueCore, asyncio.Queue[_T]):
    """A queue, first in, first out.

    `maxsize`: how many items it holds; `put` waits while it is full. 0 or less: any number. `get` waits while it is
    empty; `put_nowait` and `get_nowait` raise QueueFull and QueueEmpty in place of waiting. `join` waits until
    `task_done` was called for each item. After `shutdown`, `put` raises QueueShutDown, and so does `get` when the
    queue is empty.

    # Cancel safety
    A `get` that is cancelled takes no item, a `put` that is cancelled puts none.

    # Examples

        queue = aioxide.Queue(maxsize=2)
        await queue.put("first")
        queue.put_nowait("second")
        assert queue.full() and await queue.get() == "first"
        queue.task_done()

        queue.shutdown(immediate=True)
        try:
            await queue.get()
        except aioxide.QueueShutDown:
            pass

    asyncio: `asyncio.Queue`; `shutdown` works before Python 3.13 too. A derived class may override the methods that it
    may override of asyncio's, `_init`, `_get` and `_put` included.
    """


class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]):
    """A queue whose `get` returns the newest item.

    # Examples

        queue = aioxide.LifoQueue()
        queue.put_nowait("old")
        queue.put_nowait("new")
        assert await queue.get() == "new"

    asyncio: `asyncio.LifoQueue`; what is said of `Queue` holds here.
    """


class PriorityQueue(Queue[_T], asyncio.PriorityQueue[_T]):  # type: ignore[type-var]  # whatever can be compared
    """A queue whose `get` returns the least item.

    # Examples

        queue = aioxide.PriorityQueue()
        queue.put_nowait((2, "later"))
        queue.put_nowait((1, "sooner"))
        assert await queue.get() == (1, "sooner")

    asyncio: `asyncio.PriorityQueue`; what is said of `Queue` holds here.
    """


state.keep(Queue)

# Their methods, `_get` and `_put` of each kind included.
_aioxide.equip_queues(Queue, LifoQueue, PriorityQueue)
