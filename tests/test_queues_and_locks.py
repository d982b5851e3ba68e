"""Queues, locks and events in Rust beside asyncio's: order, cancellation, shutdown, subclasses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aioxide
import pytest


@pytest.fixture
def rust_loop() -> Iterator[Any]:
    loop = aioxide.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(params=[asyncio, aioxide], ids=["asyncio", "aioxide"])
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_producer_and_consumer_of_a_queue_of_one(package: Any, rust_loop: Any) -> None:
    async def main() -> list[int]:
        queue = package.Queue(1)

        async def produce() -> None:
            for number in range(10):
                await queue.put(number)

        task = asyncio.create_task(produce())
        items = [await queue.get() for _ in range(10)]
        await task
        return items

    assert rust_loop.run_until_complete(main()) == list(range(10))


def test_cancelled_get_loses_no_item(package: Any, rust_loop: Any) -> None:
    async def main() -> tuple[bool, int]:
        queue = package.Queue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(1)  # granted to the first, which is cancelled before it runs
        first.cancel()
        item = await second
        return first.cancelled(), item

    assert rust_loop.run_until_complete(main()) == (True, 1)


def test_cancelled_put_puts_nothing(package: Any, rust_loop: Any) -> None:
    async def main() -> list[int]:
        queue = package.Queue(1)
        queue.put_nowait(0)
        first, second = asyncio.create_task(queue.put(1)), asyncio.create_task(queue.put(2))
        await asyncio.sleep(0)
        first.cancel()
        items = [await queue.get(), await queue.get()]
        await second
        assert first.cancelled()
        return items

    assert rust_loop.run_until_complete(main()) == [0, 2]


def test_join_waits_for_every_item(package: Any, rust_loop: Any) -> None:
    async def main() -> list[str]:
        log = []
        queue = package.Queue()
        for number in range(3):
            await queue.put(number)

        async def work() -> None:
            for _ in range(3):
                await queue.get()
                await asyncio.sleep(0)
                log.append("item")
                queue.task_done()

        task = asyncio.create_task(work())
        await queue.join()
        log.append("joined")
        await task
        return log

    assert rust_loop.run_until_complete(main()) == ["item", "item", "item", "joined"]


def test_order_of_priority_and_lifo_queues(package: Any, rust_loop: Any) -> None:
    async def drain(queue: Any) -> list[int]:
        for number in (2, 3, 1):
            await queue.put(number)
        return [await queue.get() for _ in range(3)]

    assert rust_loop.run_until_complete(drain(package.PriorityQueue())) == [1, 2, 3]
    assert rust_loop.run_until_complete(drain(package.LifoQueue())) == [1, 3, 2]


def test_subclass_with_its_own_storage_is_obeyed(package: Any, rust_loop: Any) -> None:
    class Unique(package.Queue):  # type: ignore[misc,name-defined]
        def _put(self, item: Any) -> None:
            if item not in self._queue:
                self._queue.append(item)

    async def main() -> int:
        queue = Unique()
        for item in (1, 1, 2):
            await queue.put(item)
        return int(queue.qsize())

    assert rust_loop.run_until_complete(main()) == 2


def test_subclass_that_is_never_empty_is_asked(package: Any, rust_loop: Any) -> None:
    class Endless(package.Queue):  # type: ignore[misc,name-defined]
        def empty(self) -> bool:
            return False

        def get_nowait(self) -> str:
            return "made"

    async def main() -> str:
        return str(await Endless().get())

    assert rust_loop.run_until_complete(main()) == "made"


def test_shutdown_ends_getters_and_putters(rust_loop: Any) -> None:
    async def main() -> None:
        queue = aioxide.Queue(1)
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.shutdown()
        with pytest.raises(aioxide.QueueShutDown):
            await getter
        with pytest.raises(aioxide.QueueShutDown):
            await queue.put(1)
        with pytest.raises(aioxide.QueueShutDown):
            queue.put_nowait(1)

    rust_loop.run_until_complete(main())


def test_lock_is_given_in_order(package: Any, rust_loop: Any) -> None:
    async def main() -> list[int]:
        log = []
        lock = package.Lock()

        async def use(number: int) -> None:
            async with lock:
                log.append(number)
                await asyncio.sleep(0)
                log.append(number)

        await asyncio.gather(*[use(number) for number in range(3)])
        assert not lock.locked()
        return log

    assert rust_loop.run_until_complete(main()) == [0, 0, 1, 1, 2, 2]


def test_cancelled_acquire_passes_the_lock_on(package: Any, rust_loop: Any) -> None:
    async def main() -> None:
        lock = package.Lock()
        assert await lock.acquire()
        first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        lock.release()
        first.cancel()
        assert await second
        assert first.cancelled()
        lock.release()
        assert not lock.locked()

    rust_loop.run_until_complete(main())


def test_release_after_an_exception(package: Any, rust_loop: Any) -> None:
    async def main() -> None:
        lock = package.Lock()
        with pytest.raises(ValueError):
            async with lock:
                raise ValueError
        assert not lock.locked()

    rust_loop.run_until_complete(main())


def test_event_wakes_all(package: Any, rust_loop: Any) -> None:
    async def main() -> list[bool]:
        event = package.Event()
        waiters = [asyncio.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        event.set()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        return [*results[1:], await event.wait()]

    assert rust_loop.run_until_complete(main()) == [True, True, True]
