"""What being installed means for programs that choose a loop by themselves: their default becomes aioxide's, and an
explicit choice of another loop is obeyed and reported.

Each entry of `_CARES` is done once, when its module is imported, and asks whether aioxide is installed at each use.
Nothing of asyncio is imported here: `startup` comes before it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Any

from .imports import when_imported

# The option `tasks` of `install`; None while not installed.
installed: bool | None = None


@functools.cache
def care() -> None:
    """Begins to watch for the modules."""
    for name, action in _CARES.items():
        when_imported(name, functools.partial(_try, action))


def _try(action: Callable[[Any], None], module: Any) -> None:
    with contextlib.suppress(AttributeError):  # another version of the program: it chooses its loop as it did
        action(module)


def _spawn(module: Any) -> None:
    """Children that multiprocessing starts afresh (spawn, forkserver) are switched as their parent is."""
    from .startup import InChild

    original = module.get_preparation_data

    @functools.wraps(original)
    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        return data if installed is None else {"aioxide": InChild(installed), **data}

    module.get_preparation_data = get_preparation_data


def _loop_package(module: Any) -> None:
    """A program that asks another package for its loop gets that, and is told."""
    original = module.new_event_loop
    told = False

    @functools.wraps(original)
    def other_event_loop(*args: Any, **kwargs: Any) -> Any:
        nonlocal told
        if installed is not None and not told:
            told = True
            logging.getLogger("aioxide").warning(
                "aioxide is installed, but this program asks %s for its event loop, and gets it. To run on aioxide, "
                "choose asyncio's loop where the program lets you (`--loop asyncio`)",
                module.__name__,
            )
        return original(*args, **kwargs)

    module.new_event_loop = other_event_loop


def _uvicorn(module: Any) -> None:
    """`--loop auto`, the default, which prefers uvloop."""
    if hasattr(module, "auto_loop_factory"):
        _replace(module, "auto_loop_factory", lambda original, *args, **kwargs: _new_event_loop())
    else:  # before 0.36 a policy was set here
        _replace(module, "auto_loop_setup", lambda original, *args, **kwargs: None)


def _granian(module: Any) -> None:
    """`--loop auto`, the default, which prefers rloop and uvloop."""
    original, loops = module.build_auto_loop, module.loops
    loops.register("auto")(lambda: original() if installed is None else loops.get("asyncio"))


def _gunicorn(module: Any) -> None:
    """`--asgi-loop auto`, the default of gunicorn's own ASGI worker, which prefers uvloop."""

    def set_up(original: Any, worker: Any) -> None:
        if worker.cfg.asgi_loop == "auto":
            worker.cfg.set("asgi_loop", "asyncio")
        original(worker)

    _replace(module.ASGIWorker, "_setup_event_loop", set_up)


def _replace(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """While installed, a call of `owner.name` goes to `replacement`, which gets the original first."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if installed is None else replacement(original, *args, **kwargs)

    setattr(owner, name, chosen)


def _new_event_loop() -> Callable[[], Any]:
    import asyncio

    return asyncio.new_event_loop


_CARES: dict[str, Callable[[Any], None]] = {
    "multiprocessing.spawn": _spawn,
    "uvicorn.loops.auto": _uvicorn,
    "granian._loops": _granian,
    "gunicorn.workers.gasgi": _gunicorn,
    "uvloop": _loop_package,
    "zuvloop": _loop_package,
    "rloop": _loop_package,
    "rsloop": _loop_package,
}
