"""`install` and `uninstall`: whatever asks asyncio for a new loop gets one of aioxide."""

from __future__ import annotations

import asyncio
from asyncio import events
from typing import Any

from . import policy as _policy
from .runners import new_event_loop

_MISSING: Any = object()
# What was there before: (module, name, value, ours), and the policy. None while not installed.
_saved: tuple[list[tuple[Any, str, Any, Any]], Any] | None = None


def install(*, tasks: bool = True) -> None:
    """Makes aioxide's loop the one that `asyncio.run`, `asyncio.new_event_loop` and all who call them get.

    `tasks`: whether `asyncio.gather` and `asyncio.sleep` become aioxide's too; on other loops they call asyncio's own.

    Sets the policy, where Python has policies, and replaces the function that outlives them. A policy that the
    program sets later is obeyed. Calling it again changes nothing.
    """
    global _saved  # noqa: PLW0603 - the state of the process, like the policy itself
    if _saved is not None:
        return
    replaced = [(module, "new_event_loop", module.new_event_loop, _new_event_loop) for module in (events, asyncio)]
    if tasks:
        from . import concurrent
        from . import tasks as our_tasks

        for name, ours in (("gather", concurrent.gather), ("sleep", our_tasks.sleep)):
            replaced += [(module, name, getattr(module, name), ours) for module in (asyncio.tasks, asyncio)]
    previous = _policy.current_policy()
    if _policy.HAVE_POLICIES:
        _policy.set_policy(_policy.EventLoopPolicy())
    for module, name, _, ours in replaced:
        setattr(module, name, ours)
    _saved = (replaced, previous)


def uninstall() -> None:
    """Puts back what was there before `install`; what somebody else has replaced since then stays."""
    global _saved  # noqa: PLW0603
    if _saved is None:
        return
    replaced, previous = _saved
    _saved = None
    for module, name, value, ours in replaced:
        if getattr(module, name, _MISSING) is ours:
            setattr(module, name, value)
    if _policy.HAVE_POLICIES and isinstance(_policy.current_policy(), _policy.EventLoopPolicy):
        _policy.set_policy(previous)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """Stands for `asyncio.new_event_loop`: asks a policy that the program has chosen, else makes one of ours."""
    policy = _policy.current_policy()
    if _policy.is_default(policy):
        return new_event_loop()
    loop: asyncio.AbstractEventLoop = policy.new_event_loop()
    return loop
