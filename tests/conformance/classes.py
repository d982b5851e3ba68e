"""Puts another package's Task, Future, gather, locks and queues where asyncio's own stand."""

from __future__ import annotations

import asyncio
import importlib
from types import ModuleType
from typing import Any

# Where each name lives in asyncio; what the other package does not have keeps asyncio's.
NAMES = {
    "futures": ("Future", "isfuture", "wrap_future", "future_add_to_awaited_by", "future_discard_from_awaited_by"),
    "tasks": (
        "Task",
        "all_tasks",
        "as_completed",
        "create_eager_task_factory",
        "create_task",
        "current_task",
        "eager_task_factory",
        "ensure_future",
        "gather",
        "run_coroutine_threadsafe",
        "shield",
        "sleep",
        "wait",
        "wait_for",
        "_enter_task",
        "_leave_task",
        "_register_eager_task",
        "_register_task",
        "_swap_current_task",
        "_unregister_eager_task",
        "_unregister_task",
    ),
    "taskgroups": ("TaskGroup",),
    "timeouts": ("Timeout", "timeout", "timeout_at"),
    "threads": ("to_thread",),
    "locks": ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"),
    "streams": ("StreamReader", "StreamReaderProtocol", "StreamWriter"),
    "queues": ("Queue", "LifoQueue", "PriorityQueue", "QueueEmpty", "QueueFull", "QueueShutDown"),
}


def private_twin(name: str) -> str:
    """Returns the name under which asyncio keeps its C version of ``name``: CPython's tests ask for that one."""
    if name[0].isupper():
        return f"_C{name}"
    return f"_c_{name.removeprefix('_')}" if not name.startswith("__") else name


def substitute_classes(package: Any) -> list[str]:
    """Replaces the names of asyncio that ``package`` has; returns them. To be called before tests are imported."""
    replaced = []
    for module_name, names in NAMES.items():
        try:
            module: ModuleType = importlib.import_module(f"asyncio.{module_name}")
        except ModuleNotFoundError:
            continue  # taskgroups and timeouts came with 3.11
        for name in names:
            ours = getattr(package, name, None)
            if ours is None or not hasattr(module, name):
                continue
            setattr(module, name, ours)
            if hasattr(asyncio, name):
                setattr(asyncio, name, ours)
            if hasattr(module, private_twin(name)):
                setattr(module, private_twin(name), ours)
            replaced.append(name)
    _carry_over(package, replaced)
    return replaced


def _carry_over(package: Any, replaced: list[str]) -> None:
    """Rebinds what other modules of asyncio took by name at import, and what closes over the old Task."""
    if "Task" in replaced and hasattr(asyncio, "eager_task_factory") and "eager_task_factory" not in replaced:
        factory = asyncio.create_eager_task_factory(package.Task)
        asyncio.eager_task_factory = asyncio.tasks.eager_task_factory = factory
    for name in ("Event", "Lock"):
        if name in replaced and hasattr(asyncio.staggered, name):
            setattr(asyncio.staggered, name, getattr(package, name))
