"""Who waits for Rust's queues, beside asyncio's: order, cancellation, `join`, shutdown."""

from __future__ import annotations

import asyncio
from typing import Any

import aioxide
import pytest
from sync_support import Run, begin, outcomes

HAS_SHUTDOWN = hasattr(asyncio, "QueueShutDown")


@pytest.fixture
def shutting(package: Any) -> Any:
    """A package whose queues can be shut down: asyncio's came with Python 3.13."""
    if package is asyncio and not HAS_SHUTDOWN:
        pytest.skip("asyncio has no shutdown here")
    return package


def test_producer_and_consumer_of_a_queue_of_one(package: Any, run: Any) -> None:
    async def main() -> list[int]:
        queue = package.Queue(1)

        async def produce() -> None:
            for number in range(10):
                await queue.put(number)

        task = asyncio.create_task(produce())
        items = [await queue.get() for _ in range(10)]
        await task
        return items

    assert run(main()) == list(range(10))


def test_getters_are_served_in_their_order(package: Any, run: Run) -> None:
    async def main() -> list[Any]:
        queue = package.Queue()
        tasks = await begin(*[queue.get() for _ in range(4)])
        for number in range(4):
            queue.put_nowait(number)
        return await outcomes(tasks)

    assert run(main()) == [0, 1, 2, 3]


def test_putters_are_served_in_their_order(package: Any, run: Run) -> None:
    async def main() -> list[Any]:
        queue = package.Queue(1)
        tasks = await begin(*[queue.put(number) for number in range(4)])
        items = [await queue.get() for _ in range(4)]
        await asyncio.gather(*tasks)
        return items

    assert run(main()) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_each_get_from_a_full_queue_wakes_one_putter(package: Any, run: Run, size: int) -> None:
    async def main() -> list[list[bool]]:
        queue = package.Queue(size)
        for number in range(size):
            queue.put_nowait(number)
        tasks = await begin(queue.put(size), queue.put(size + 1))
        done = [[task.done() for task in tasks]]
        for _ in tasks:
            queue.get_nowait()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            done.append([task.done() for task in tasks])
        return done

    assert run(main()) == [[False, False], [True, False], [True, True]]


def test_item_taken_before_the_woken_getter_runs(package: Any, run: Run) -> None:
    async def main() -> tuple[Any, bool, Any]:
        queue = package.Queue()
        (task,) = await begin(queue.get())
        queue.put_nowait("first")
        taken = queue.get_nowait()
        await asyncio.sleep(0)
        waits_again = not task.done()
        queue.put_nowait("second")
        return taken, waits_again, await task

    assert run(main()) == ("first", True, "second")


def test_get_takes_nothing_before_it_is_awaited(package: Any, run: Run) -> None:
    async def main() -> tuple[int, Any]:
        queue = package.Queue()
        queue.put_nowait(1)
        get, put = queue.get(), queue.put(2)
        before = queue.qsize()
        await put
        return before, await get

    assert run(main()) == (1, 1)


@pytest.mark.parametrize("woken", [False, True])
def test_cancelled_getter_is_forgotten_or_passes_its_turn_on(package: Any, run: Run, woken: bool) -> None:
    async def main() -> tuple[list[Any], int]:
        queue = package.Queue()
        tasks = await begin(queue.get(), queue.get())
        if woken:
            queue.put_nowait("item")
        tasks[0].cancel()
        await asyncio.sleep(0)
        if not woken:
            queue.put_nowait("item")
        return await outcomes(tasks), len(queue._getters)

    assert run(main()) == (["CancelledError", "item"], 0)


@pytest.mark.parametrize("woken", [False, True])
def test_cancelled_putter_is_forgotten_or_passes_its_turn_on(package: Any, run: Run, woken: bool) -> None:
    async def main() -> tuple[list[Any], list[Any], int]:
        queue = package.Queue(1)
        queue.put_nowait(0)
        tasks = await begin(queue.put(1), queue.put(2))
        items = [queue.get_nowait()] if woken else []
        tasks[0].cancel()
        await asyncio.sleep(0)
        items += [await queue.get() for _ in range(2 - len(items))]
        return await outcomes(tasks), items, len(queue._putters)

    assert run(main()) == (["CancelledError", None], [0, 2], 0)


def test_cancelled_get_loses_no_item(package: Any, run: Any) -> None:
    async def main() -> tuple[bool, int]:
        queue = package.Queue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(1)  # granted to the first, which is cancelled before it runs
        first.cancel()
        item = await second
        return first.cancelled(), item

    assert run(main()) == (True, 1)


def test_cancelled_put_puts_nothing(package: Any, run: Any) -> None:
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

    assert run(main()) == [0, 2]


def test_task_cancelled_before_its_get_began(package: Any, run: Run) -> None:
    async def main() -> tuple[list[Any], int]:
        queue = package.Queue()
        queue.put_nowait(1)
        task = asyncio.ensure_future(queue.get())
        task.cancel()
        return await outcomes([task]), queue.qsize()

    assert run(main()) == (["CancelledError"], 1)


def test_future_of_a_getter_that_somebody_cancels(package: Any, run: Run) -> None:
    async def main() -> tuple[list[Any], Any]:
        queue = package.Queue()
        tasks = await begin(queue.get(), queue.get())
        queue._getters[0].cancel()
        await asyncio.sleep(0)
        queue.put_nowait("item")
        return await outcomes(tasks), len(queue._getters)

    assert run(main()) == (["CancelledError", "item"], 0)


@pytest.mark.parametrize("end", ["close", "throw", "drop"])
def test_wait_that_ends_outside_a_task_leaves_no_waiter(package: Any, run: Run, end: str) -> None:
    async def main() -> tuple[int, int, Any]:
        queue = package.Queue()
        get = queue.get()
        get.send(None)
        during = len(queue._getters)
        if end == "close":
            get.close()
        elif end == "throw":
            with pytest.raises(ZeroDivisionError):
                get.throw(ZeroDivisionError())
        del get
        after = len(queue._getters)
        (task,) = await begin(queue.get())
        queue.put_nowait(1)
        return during, after, await task

    assert run(main()) == (1, 0, 1)


def test_finished_get_cannot_be_awaited_again(package: Any, run: Run) -> None:
    async def main() -> None:
        queue = package.Queue()
        queue.put_nowait(1)
        get = queue.get()
        await get
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await get

    run(main())


def test_join_waits_for_every_item(package: Any, run: Any) -> None:
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

    assert run(main()) == ["item", "item", "item", "joined"]


def test_join_waits_again_for_what_is_put_later(package: Any, run: Run) -> None:
    async def main() -> list[bool]:
        queue = package.Queue()
        await queue.join()
        seen = []
        for _ in range(2):
            await queue.put(1)
            (task,) = await begin(queue.join())
            seen.append(task.done())
            queue.get_nowait()
            queue.task_done()
            await task
            seen.append(queue._finished.is_set())
        with pytest.raises(ValueError, match="called too many times"):
            queue.task_done()
        return seen

    assert run(main()) == [False, True, False, True]


def test_shutdown_ends_getters_and_putters(run: Any) -> None:
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

    run(main())


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_while_getters_wait(shutting: Any, run: Run, immediate: bool) -> None:
    async def main() -> list[Any]:
        queue = shutting.Queue()
        tasks = await begin(queue.get(), queue.get(), queue.get())
        queue.put_nowait("item")
        queue.shutdown(immediate)
        return await outcomes(tasks)

    expected = "QueueShutDown" if immediate else "item"
    assert run(main()) == [expected, "QueueShutDown", "QueueShutDown"]


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_while_putters_wait(shutting: Any, run: Run, immediate: bool) -> None:
    async def main() -> tuple[list[Any], list[Any], str]:
        queue = shutting.Queue(1)
        queue.put_nowait(0)
        tasks = await begin(queue.put(1), queue.put(2))
        queue.shutdown(immediate)
        left = []
        while not queue.empty():
            left.append(queue.get_nowait())
        ended = await outcomes(tasks)
        with pytest.raises(shutting.QueueShutDown):
            queue.put_nowait(3)
        with pytest.raises(shutting.QueueShutDown):
            await queue.get()
        return ended, left, queue._format()

    ended, left, shown = run(main())
    assert ended == ["QueueShutDown", "QueueShutDown"]
    assert left == ([] if immediate else [0])
    assert shown == ("maxsize=1 shutdown" if immediate else "maxsize=1 tasks=1 shutdown")


def test_immediate_shutdown_ends_join(shutting: Any, run: Run) -> None:
    async def main() -> list[Any]:
        queue = shutting.Queue()
        queue.put_nowait(1)
        queue.put_nowait(2)
        queue.get_nowait()
        tasks = await begin(queue.join())
        queue.shutdown(immediate=True)
        await asyncio.sleep(0)
        before = tasks[0].done()
        queue.task_done()
        return [before, *await outcomes(tasks)]

    assert run(main()) == [False, None]


def test_queue_of_one_loop_is_refused_by_another(package: Any) -> None:
    queue = package.Queue()

    async def wait() -> None:
        await asyncio.wait_for(queue.get(), 0.001)

    for loop, expected in ((aioxide.new_event_loop(), "TimeoutError"), (aioxide.new_event_loop(), "RuntimeError")):
        with pytest.raises(Exception) as raised:
            loop.run_until_complete(wait())
        loop.close()
        assert type(raised.value).__name__ == expected
    assert "is bound to a different event loop" in str(raised.value)
