"""nest_asyncio is refused: it replaces methods of a loop's class by others that write to the loop's queue."""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

from .imports import when_imported

_REFUSED = (
    "nest_asyncio cannot make aioxide's loop re-entrant, as its queue is in Rust: await the coroutine instead, run it "
    "in another thread (aioxide.run), or stay on asyncio's own loop"
)


@functools.cache
def watch() -> None:
    """Has `nest_asyncio.apply` refuse before it replaces asyncio's own functions, in which it begins."""
    for name in ("nest_asyncio", "nest_asyncio2"):
        when_imported(name, _look_first)


def _look_first(module: Any) -> None:
    original = module.apply

    @functools.wraps(original)
    def apply(loop: asyncio.AbstractEventLoop | None = None, *args: Any, **kwargs: Any) -> Any:
        from .event_loop import EventLoop

        if isinstance(loop or _next_loop(), EventLoop):
            raise ValueError(_REFUSED)
        return original(loop, *args, **kwargs)

    module.apply = apply


def _next_loop() -> asyncio.AbstractEventLoop:
    """The loop that nest_asyncio asks for where it is given none."""
    try:
        return asyncio.get_event_loop()
    except RuntimeError:
        # From Python 3.14 on none is made by asking; nest_asyncio makes one then.
        loop = asyncio.new_event_loop()
        loop.close()
        return loop


def patched(loop: Any) -> bool:
    """The loop's `_nest_patched`, for which nest_asyncio looks: when it was applied before there was aioxide."""
    if sys._getframe(1).f_globals.get("__name__", "").startswith("nest_asyncio"):
        raise ValueError(_REFUSED)
    raise AttributeError("_nest_patched")
