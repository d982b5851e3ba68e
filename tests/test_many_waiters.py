"""Many that wait for one lock or queue, some of which give up in any order: the others keep theirs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

COUNT = 150

Wait = Callable[[], Awaitable[Any]]


def get(package: ModuleType) -> tuple[Wait, Callable[[], Any]]:
    queue = package.Queue()
    return queue.get, lambda: queue.put_nowait(1)


def put(package: ModuleType) -> tuple[Wait, Callable[[], Any]]:
    queue = package.Queue(1)
    queue.put_nowait(0)
    return lambda: queue.put(1), queue.get_nowait


def semaphore(package: ModuleType) -> tuple[Wait, Callable[[], Any]]:
    semaphore = package.Semaphore(0)
    return semaphore.acquire, semaphore.release


KINDS = [get, put, semaphore]
ORDERS: dict[str, Callable[[list[int]], None]] = {
    "oldest first": lambda numbers: numbers.sort(),
    "newest first": lambda numbers: numbers.sort(reverse=True),
    "at random": random.Random(7).shuffle,
}


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("left", [0, 1, 40, 149])
@pytest.mark.parametrize("kind", KINDS)
def test_those_that_stay_are_woken_in_their_order(
    run: Any, package: ModuleType, kind: Any, left: int, order: str
) -> None:
    async def main() -> None:
        wait, wake = kind(package)
        done: list[int] = []

        async def one(number: int) -> None:
            await wait()
            done.append(number)

        tasks = [asyncio.ensure_future(one(number)) for number in range(COUNT)]
        await settle()
        numbers = list(range(COUNT))
        random.Random(3).shuffle(numbers)
        staying, leaving = sorted(numbers[:left]), numbers[left:]
        ORDERS[order](leaving)
        for chunk in (leaving[:20], leaving[20:]):
            for number in chunk:
                tasks[number].cancel()
            await settle()
        assert [number for number in range(COUNT) if not tasks[number].done()] == staying
        for number in staying:
            wake()
            await settle()
            assert done[-1] == number
        assert done == staying
        tasks.append(asyncio.ensure_future(one(COUNT)))
        await settle()
        wake()
        await settle()
        assert done[-1] == COUNT
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


def test_lock_is_handed_to_those_that_stay(run: Any, package: ModuleType) -> None:
    async def main() -> None:
        lock = package.Lock()
        await lock.acquire()
        done: list[int] = []

        async def one(number: int) -> None:
            async with lock:
                done.append(number)

        tasks = [asyncio.ensure_future(one(number)) for number in range(COUNT)]
        await settle()
        leaving = random.Random(5).sample(range(COUNT), 100)
        for number in leaving:
            tasks[number].cancel()
        lock.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == sorted(set(range(COUNT)) - set(leaving))
        assert not lock.locked()

    run(main())


def test_condition_notifies_those_that_stay(run: Any, package: ModuleType) -> None:
    async def main() -> None:
        condition = package.Condition()
        done: list[int] = []

        async def one(number: int) -> None:
            async with condition:
                await condition.wait_for(lambda: bool(done) or number == 0)
                done.append(number)

        tasks = [asyncio.ensure_future(one(number)) for number in range(1, COUNT)]
        await settle()
        leaving = random.Random(5).sample(range(1, COUNT), 100)
        for number in leaving:
            tasks[number - 1].cancel()
        await asyncio.wait([tasks[number - 1] for number in leaving])
        async with condition:
            done.append(0)
            condition.notify_all()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(done) == sorted(set(range(COUNT)) - set(leaving))

    run(main())


def test_event_and_join_wake_all_that_stay(run: Any, package: ModuleType) -> None:
    async def main() -> None:
        event, queue = package.Event(), package.Queue()
        queue.put_nowait(1)
        tasks = [asyncio.ensure_future(wait()) for wait in [event.wait, queue.join] * COUNT]
        await settle()
        leaving = random.Random(5).sample(tasks, COUNT)
        for task in leaving:
            task.cancel()
        await settle()
        event.set()
        queue.task_done()
        await settle()
        assert all(task.done() for task in tasks)
        assert [task.cancelled() for task in tasks] == [task in leaving for task in tasks]

    run(main())


def test_shown_waiters_are_those_that_stay(run: Any, package: ModuleType) -> None:
    async def main() -> None:
        queue = package.Queue()
        tasks = [asyncio.ensure_future(queue.get()) for _ in range(COUNT)]
        await settle()
        for task in random.Random(5).sample(tasks, 70):
            task.cancel()
        await settle()
        assert f"_getters[{COUNT - 70}]" in repr(queue)
        assert len(queue._getters) == COUNT - 70
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not queue._getters

    run(main())
