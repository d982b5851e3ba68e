"""`Queue`, `LifoQueue` and `PriorityQueue`: asyncio's, with `get` and `put` in Rust and `shutdown` on every Python."""

from __future__ import annotations

import asyncio
from asyncio import queues
from typing import TYPE_CHECKING, Any

from . import _aioxide

__all__ = ["LifoQueue", "PriorityQueue", "Queue", "QueueEmpty", "QueueFull", "QueueShutDown"]

QueueEmpty = asyncio.QueueEmpty
QueueFull = asyncio.QueueFull

if TYPE_CHECKING:

    class QueueShutDown(Exception):
        """Raised by a queue that was shut down."""

else:
    # Python 3.13 has it.
    QueueShutDown = getattr(queues, "QueueShutDown", None)
    if QueueShutDown is None:

        class QueueShutDown(Exception):
            """Raised by a queue that was shut down."""


# A class that overrides one of these is obeyed: its `get` and `put` are asyncio's coroutines, which call them.
_CONSULTED = ("empty", "full", "get_nowait", "put_nowait", "qsize")


class Queue(_aioxide._QueueCore, asyncio.Queue[Any]):
    """A queue, first in, first out.

    # Cancel safety
    A `get` that is cancelled takes no item, a `put` that is cancelled puts none.

    asyncio: `asyncio.Queue`; `shutdown` works before Python 3.13 too.
    """

    _shut_down_error = QueueShutDown
    _is_shutdown = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__ != __name__ and any(name in vars(cls) for name in _CONSULTED):
            for name in ("get", "put"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(asyncio.Queue, name))

    def put_nowait(self, item: Any) -> None:
        if self._is_shutdown:
            raise QueueShutDown
        super().put_nowait(item)

    def get_nowait(self) -> Any:
        if self._is_shutdown and self.empty():
            raise QueueShutDown
        return super().get_nowait()

    def shutdown(self, immediate: bool = False) -> None:
        """Makes `put` raise QueueShutDown from now on, and `get` too once the queue is empty.

        `immediate`: empties the queue, and counts what was in it as done.
        """
        self._is_shutdown = True
        state: Any = self
        if immediate:
            while not self.empty():
                state._get()
                if state._unfinished_tasks > 0:
                    state._unfinished_tasks -= 1
            if state._unfinished_tasks == 0:
                state._finished.set()
        while state._getters:
            getter = state._getters.popleft()
            if not getter.done():
                getter.set_result(None)
        while state._putters:
            putter = state._putters.popleft()
            if not putter.done():
                putter.set_result(None)


class PriorityQueue(Queue, asyncio.PriorityQueue[Any]):
    """A queue that gives the smallest item first."""


class LifoQueue(Queue, asyncio.LifoQueue[Any]):
    """A queue, last in, first out."""
