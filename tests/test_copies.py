"""Locks, queues and the like are copied and pickled as asyncio's are."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from conftest import Run

HOW: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "first pickle": lambda thing: pickle.loads(pickle.dumps(thing, 0)),
    "second pickle": lambda thing: pickle.loads(pickle.dumps(thing, 1)),
}
NAMES = ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Queue", "LifoQueue", "PriorityQueue"]
LATER = ["Barrier", "TaskGroup", "Timeout"] if sys.version_info >= (3, 11) else []
ARGUMENTS: dict[str, tuple[Any, ...]] = {"Barrier": (2,), "Timeout": (None,)}


@pytest.fixture(params=HOW)
def duplicate(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return HOW[request.param]


class Service:
    """Something that holds a lock."""

    def __init__(self, package: ModuleType) -> None:
        self.lock = package.Lock()
        self.name = "service"


@pytest.mark.parametrize("name", [*NAMES, *LATER])
def test_a_copy_is_of_the_same_kind(name: str, package: ModuleType, duplicate: Any, run: Run[Any]) -> None:
    async def main() -> None:
        original = getattr(package, name)(*ARGUMENTS.get(name, ()))
        original.note = "kept"
        made = duplicate(original)
        assert type(made) is type(original)
        assert made is not original
        assert made.note == "kept"
        if hasattr(made, "acquire"):
            async with made:
                assert made.locked()
            assert not made.locked()
        if hasattr(made, "put_nowait"):
            await made.put(1)
            assert await made.get() == 1
            made.task_done()
            await made.join()

    run(main())


def test_a_copy_has_the_state(package: ModuleType, duplicate: Any, run: Run[Any]) -> None:
    async def main() -> None:
        semaphore = package.Semaphore(3)
        await semaphore.acquire()
        assert duplicate(semaphore)._value == 2
        bounded = duplicate(package.BoundedSemaphore(2))
        with pytest.raises(ValueError, match="released too many times"):
            bounded.release()
        event = package.Event()
        event.set()
        assert duplicate(event).is_set()
        lock = package.Lock()
        await lock.acquire()
        assert duplicate(lock).locked()
        queue = package.PriorityQueue(5)
        for item in (3, 1, 2):
            queue.put_nowait(item)
        made = duplicate(queue)
        assert (made.maxsize, made.qsize()) == (5, 3)
        assert [made.get_nowait() for _ in range(3)] == [1, 2, 3]

    run(main())


def test_a_deep_copy_shares_nothing(package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        queue = package.Queue()
        queue.put_nowait("item")
        made = copy.deepcopy(queue)
        made.get_nowait()
        assert queue.qsize() == 1
        assert copy.copy(queue)._queue is queue._queue
        service = Service(package)
        async with service.lock:
            pass
        other = copy.deepcopy(service)
        assert other.lock is not service.lock
        await other.lock.acquire()
        assert not service.lock.locked()

    run(main())


def test_what_is_waited_for_cannot_be_copied_deeply(package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        lock = package.Lock()
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        for duplicate in (HOW["deepcopy"], HOW["pickle"]):
            with pytest.raises(TypeError, match="cannot pickle"):
                duplicate(lock)
        waiting.cancel()
        await asyncio.wait([waiting])

    run(main())
