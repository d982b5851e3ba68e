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

    # Cancel safety
    A `get` that is cancelled takes no item, a `put` that is cancelled puts none.

    asyncio: `asyncio.Queue`; `shutdown` works before Python 3.13 too. A derived class may override the methods that it
    may override of asyncio's, `_init`, `_get` and `_put` included.
    """


class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]):
    """A queue whose `get` returns the newest item."""


class PriorityQueue(Queue[_T], asyncio.PriorityQueue[_T]):  # type: ignore[type-var]  # whatever can be compared
    """A queue whose `get` returns the least item."""


state.keep(Queue)

# Their methods, `_get` and `_put` of each kind included.
_aioxide.equip_queues(Queue, LifoQueue, PriorityQueue)
