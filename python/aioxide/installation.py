"""`install` and `uninstall`: asyncio makes loops of aioxide, and its classes are aioxide's."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from asyncio import events, unix_events
from functools import cache
from typing import Any

from . import nesting, other_loops
from . import policy as _policy
from .runners import new_event_loop

_MISSING: Any = object()
# What was there before: (module, name, value, ours), and the policy. None while not installed.
_saved: tuple[list[tuple[Any, str, Any, Any]], Any] | None = None


def install(*, tasks: bool = True) -> None:
    """Makes aioxide's loop the one that `asyncio.run`, `asyncio.new_event_loop` and all who call them get.

    `tasks`: whether asyncio's functions about tasks (`gather`, `wait`, `create_task`, `timeout`...), its task groups,
    queues and locks become aioxide's too; they work on any loop.

    Sets the policy, where Python has policies, and replaces the function that outlives them. A policy that the
    program sets later is obeyed. `asyncio.SelectorEventLoop()` makes a loop of aioxide too, while a class derived from
    it, or one with a selector of its own, stays what it is; so does another package's loop that the program asks for.
    Processes that multiprocessing starts are switched as well. Calling it again changes nothing.

    # Examples

        aioxide.install()
        assert asyncio.gather is aioxide.gather
        aioxide.uninstall()
        assert asyncio.gather is not aioxide.gather
    """
    global _saved  # noqa: PLW0603 - the state of the process, like the policy itself
    if _saved is not None:
        return
    _prepare()
    running = events._get_running_loop()
    if running is not None and not isinstance(running, _own_loop()):
        logging.getLogger("aioxide").warning("aioxide.install() is for loops made from now on: %r stays", running)
    replaced = [(module, "new_event_loop", module.new_event_loop, _new_event_loop) for module in (events, asyncio)]
    if tasks:
        replaced += _task_names()
    previous = _policy.current_policy()
    if _policy.HAVE_POLICIES:
        _policy.set_policy(_policy.EventLoopPolicy())
    for module, name, _, ours in replaced:
        setattr(module, name, ours)
    _saved = (replaced, previous)
    other_loops.installed = tasks


def _own_loop() -> Any:
    from .event_loop import EventLoop

    return EventLoop


@cache
def _prepare() -> None:
    """Does, once in a process, what `uninstall` leaves in place since it does nothing by itself."""
    stock: Any = unix_events._UnixSelectorEventLoop

    def make(cls: Any, selector: Any = None) -> Any:
        # Python calls `__init__` of the class that comes out. Uvicorn, for one, names the class as its factory.
        made = _own_loop() if cls is stock and selector is None and _saved is not None else cls
        return object.__new__(cls) if made is cls else made.__new__(made)

    make.__annotations__ = {}  # asyncio's `__init__` has none, and the two show the same signature
    # A `__new__` that is taken away again leaves a class that accepts no arguments: so it stays.
    stock.__new__ = make
    other_loops.care()
    nesting.watch()


def _task_names() -> list[tuple[Any, str, Any, Any]]:
    """Returns what `install` replaces beside the loop: (module, name, asyncio's, ours)."""
    from asyncio import locks as their_locks
    from asyncio import queues as their_queues
    from asyncio import tasks as their_tasks

    from . import concurrent, locks, queues, taskgroups, timeouts
    from . import tasks as our_tasks

    ours: list[tuple[Any, Any, tuple[str, ...]]] = [
        (their_tasks, concurrent, ("gather",)),
        (
            their_tasks,
            our_tasks,
            ("as_completed", "create_task", "ensure_future", "shield", "sleep", "wait", "wait_for"),
        ),
        (their_locks, locks, ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore")),
        (their_queues, queues, ("LifoQueue", "PriorityQueue", "Queue")),
    ]
    if sys.version_info >= (3, 11):
        from asyncio import taskgroups as their_groups
        from asyncio import timeouts as their_timeouts

        ours += [
            (their_groups, taskgroups, ("TaskGroup",)),
            (their_timeouts, timeouts, ("Timeout", "timeout", "timeout_at")),
        ]
    return [
        (module, name, getattr(module, name), getattr(home, name))
        for theirs, home, names in ours
        for name in names
        for module in (theirs, asyncio)
        if hasattr(module, name)  # asyncio has no Barrier before Python 3.11
    ]


def uninstall() -> None:
    """Puts back what was there before `install`; what somebody else has replaced since then stays.

    Loops that were made meanwhile go on. Without `install` before it, it does nothing.

    # Examples

        aioxide.install()
        aioxide.uninstall()
    """
    global _saved  # noqa: PLW0603
    if _saved is None:
        return
    replaced, previous = _saved
    _saved = other_loops.installed = None
    for module, name, value, ours in replaced:
        if getattr(module, name, _MISSING) is ours:
            setattr(module, name, value)
    if _policy.HAVE_POLICIES and isinstance(_policy.current_policy(), _policy.EventLoopPolicy):
        _policy.set_policy(previous)


@functools.wraps(asyncio.new_event_loop)
def _new_event_loop() -> asyncio.AbstractEventLoop:
    """Stands for `asyncio.new_event_loop`: asks a policy that the program has chosen, else makes one of ours."""
    policy = _policy.current_policy()
    if _policy.is_default(policy):
        return new_event_loop()
    loop: asyncio.AbstractEventLoop = policy.new_event_loop()
    return loop
