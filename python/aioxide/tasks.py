"""`Task`, `Future` and the functions about them, and how the interpreter's own `all_tasks` comes to know of them."""

from __future__ import annotations

import functools
import sys
import types
import weakref
from asyncio import events as asyncio_events
from asyncio import run_coroutine_threadsafe, to_thread
from asyncio import tasks as asyncio_tasks
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import (
    _aioxide,
    timeouts,  # tells the Rust half the class of timeouts, which `wait_for` needs
)
from ._aioxide import RustPanic, as_completed, create_task, ensure_future, shield, sleep, wait

if TYPE_CHECKING:
    # On a loop of aioxide, asyncio's functions make tasks and futures of aioxide: to a type checker they are the same.
    from asyncio import Future, Task
else:
    from ._aioxide import Future, Task

if TYPE_CHECKING:
    from ._aioxide import wait_for
elif sys.version_info >= (3, 14):
    # A coroutine of Python: `python -m asyncio ps` looks through no other at what it awaits.
    wait_for = types.FunctionType(
        asyncio_tasks.wait_for.__code__, {**vars(asyncio_tasks), "timeouts": timeouts}, "wait_for"
    )
    functools.update_wrapper(wait_for, asyncio_tasks.wait_for)
    del wait_for.__wrapped__
elif sys.version_info >= (3, 12):
    from ._aioxide import wait_for
else:
    # Before 3.12 it makes a task of its own, with what follows from that.
    from asyncio import wait_for

__all__ = [
    "Future",
    "RustPanic",
    "Task",
    "as_completed",
    "create_task",
    "ensure_future",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "to_thread",
    "wait",
    "wait_for",
]


class _WithOurs(weakref.WeakSet[Any]):
    """Stands for the set that `asyncio.all_tasks` asks, up to Python 3.13; iterating it yields aioxide's tasks as well.

    Our tasks are in a list that runs through them, which costs next to nothing; entering each into a WeakSet costs
    as much as all else that a short task does.
    """

    def __init__(self, theirs: weakref.WeakSet[Any]) -> None:
        super().__init__()
        self._theirs = theirs

    def __iter__(self) -> Iterator[Any]:
        yield from list(self._theirs)
        yield from _aioxide._pending_tasks()

    def __len__(self) -> int:
        return len(self._theirs) + len(_aioxide._pending_tasks())

    def __contains__(self, task: object) -> bool:
        return task in self._theirs or any(task is ours for ours in _aioxide._pending_tasks())

    def add(self, task: Any) -> None:
        self._theirs.add(task)

    def discard(self, task: Any) -> None:
        self._theirs.discard(task)


def _teach_layout() -> bool:
    """Shows Rust two tasks of asyncio's own, so that ours look like them from outside: to `python -m asyncio ps`."""
    import _asyncio

    class Loop:
        def get_debug(self) -> bool:
            return False

        def call_soon(self, *args: Any, **kwargs: Any) -> None:
            """The tasks are never run."""

    async def nothing() -> None:
        """Is never begun."""

    loop: Any = Loop()
    coroutine = nothing()
    name = str(id(loop))
    first, second = (_asyncio.Task(coroutine, loop=loop, name=name) for _ in range(2))
    awaiters: list[Any] = [_asyncio.Future(loop=loop) for _ in range(2)]
    awaited: list[tuple[Any, Any]] = [(first, awaiters[0]), (second, awaiters[0]), (second, awaiters[1])]
    for pair in awaited:
        _asyncio.future_add_to_awaited_by(*pair)  # type: ignore[attr-defined]
    running = asyncio_events._get_running_loop()
    asyncio_events._set_running_loop(loop)
    current = asyncio_tasks._swap_current_task(loop, first)  # type: ignore[attr-defined]
    try:
        return _aioxide._learn_layout(first, second, coroutine, name, awaiters[0], loop)
    finally:
        asyncio_tasks._swap_current_task(loop, current)  # type: ignore[attr-defined]
        asyncio_events._set_running_loop(running)
        for pair in awaited:
            _asyncio.future_discard_from_awaited_by(*pair)  # type: ignore[attr-defined]
        for task in (first, second):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            asyncio_tasks._unregister_task(task)
        coroutine.close()


def _make_known() -> None:
    """Puts the stand-in where `all_tasks` looks; from Python 3.14 on each task makes itself known."""
    if sys.version_info >= (3, 14):
        _teach_layout()
        return
    name = "_scheduled_tasks" if hasattr(asyncio_tasks, "_scheduled_tasks") else "_all_tasks"
    theirs = getattr(asyncio_tasks, name)
    if not isinstance(theirs, _WithOurs):
        setattr(asyncio_tasks, name, _WithOurs(theirs))


_make_known()
