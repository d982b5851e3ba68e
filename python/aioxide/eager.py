"""asyncio's own eager task factories: the loop makes their tasks itself, as they would."""

from __future__ import annotations

import asyncio
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

from . import _aioxide

# When a task of an eager factory gets the name that `create_task` was given.
NOT_EAGER, BEFORE_IT_STARTS, AFTER_IF_GIVEN, AFTER_ALWAYS = range(4)


def naming_of(factory: Any) -> int:
    """Returns when tasks of `factory` get their names, or `NOT_EAGER` if the loop has to call it.

    The loop stands in for `asyncio.eager_task_factory` and for what `create_eager_task_factory` makes of
    `asyncio.Task` or `aioxide.Task`. A factory of any other class of tasks is called, as any other callable is.
    """
    if sys.version_info < (3, 12):
        return NOT_EAGER
    code = getattr(factory, "__code__", None)
    if code is not asyncio.eager_task_factory.__code__ or len(factory.__closure__) != 1:
        return NOT_EAGER
    import _asyncio

    constructor = factory.__closure__[0].cell_contents
    if constructor is not _asyncio.Task and constructor is not _aioxide.Task:
        return NOT_EAGER
    return _naming()


@cache
def _naming() -> int:
    """Finds out what this version's `create_task` does with a name: it changed several times between 3.12 and 3.14."""
    seen: dict[str, Any] = {}

    def factory(_loop: Any, _coro: Any, **options: Any) -> Any:
        seen["given"] = "name" in options
        return SimpleNamespace(set_name=lambda name: seen.update(name=name))

    loop: Any = SimpleNamespace(_check_closed=lambda: None, _task_factory=factory)
    asyncio.BaseEventLoop.create_task(loop, None, name=None)  # type: ignore[arg-type]
    if seen["given"]:
        return BEFORE_IT_STARTS
    return AFTER_ALWAYS if "name" in seen else AFTER_IF_GIVEN
