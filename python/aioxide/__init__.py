"""asyncio rebuilt in Rust: a drop-in event loop, tasks, futures, streams, locks and queues.

Names are imported from their modules when they are first used, so that `import aioxide` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .concurrent import gather, map
    from .event_loop import EventLoop
    from .installation import install, uninstall
    from .locks import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Event, Lock, Semaphore
    from .policy import EventLoopPolicy
    from .queues import LifoQueue, PriorityQueue, Queue, QueueEmpty, QueueFull, QueueShutDown
    from .runners import Runner, new_event_loop, run
    from .streams import StreamReader, StreamReaderProtocol, StreamWriter
    from .taskgroups import TaskGroup
    from .tasks import (
        Future,
        RustPanic,
        Task,
        as_completed,
        create_task,
        ensure_future,
        run_coroutine_threadsafe,
        shield,
        sleep,
        to_thread,
        wait,
        wait_for,
    )
    from .timeouts import Timeout, timeout, timeout_at

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "EventLoop",
    "EventLoopPolicy",
    "Future",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "Runner",
    "RustPanic",
    "Semaphore",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "Timeout",
    "as_completed",
    "create_task",
    "ensure_future",
    "gather",
    "install",
    "map",
    "new_event_loop",
    "run",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "to_thread",
    "uninstall",
    "wait",
    "wait_for",
]

# Public name -> the module it lives in.
_HOMES = {
    "Barrier": "locks",
    "BoundedSemaphore": "locks",
    "BrokenBarrierError": "locks",
    "Condition": "locks",
    "Event": "locks",
    "EventLoop": "event_loop",
    "EventLoopPolicy": "policy",
    "Future": "tasks",
    "LifoQueue": "queues",
    "Lock": "locks",
    "PriorityQueue": "queues",
    "Queue": "queues",
    "QueueEmpty": "queues",
    "QueueFull": "queues",
    "QueueShutDown": "queues",
    "Runner": "runners",
    "RustPanic": "tasks",
    "Semaphore": "locks",
    "StreamReader": "streams",
    "StreamReaderProtocol": "streams",
    "StreamWriter": "streams",
    "Task": "tasks",
    "TaskGroup": "taskgroups",
    "Timeout": "timeouts",
    "as_completed": "tasks",
    "create_task": "tasks",
    "ensure_future": "tasks",
    "gather": "concurrent",
    "install": "installation",
    "map": "concurrent",
    "new_event_loop": "runners",
    "run": "runners",
    "run_coroutine_threadsafe": "tasks",
    "shield": "tasks",
    "sleep": "tasks",
    "timeout": "timeouts",
    "timeout_at": "timeouts",
    "to_thread": "tasks",
    "uninstall": "installation",
    "wait": "tasks",
    "wait_for": "tasks",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("aioxide")
    # The extension is asked for by the modules that need it.
    home = name if name == "_aioxide" else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{home}", __name__)
    except ImportError as error:
        if "does not support loading in subinterpreters" not in str(error) and "PyO3" not in str(error):
            raise
        raise ImportError(
            "aioxide works in the main interpreter of a process only; other interpreters can run asyncio's own loop"
        ) from error
    value = module if name == home else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
