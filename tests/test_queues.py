"""Queues in Rust beside asyncio's: order of waiters, cancellation, shutdown, derived classes, what programs look at."""

from __future__ import annotations

import asyncio
import collections
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

import aioxide
import pytest

Run = Callable[[Coroutine[Any, Any, Any]], Any]
HAS_SHUTDOWN = hasattr(asyncio, "QueueShutDown")
KINDS = ("Queue", "LifoQueue", "PriorityQueue")


@pytest.fixture(params=[asyncio.SelectorEventLoop, aioxide.new_event_loop], ids=["stock loop", "our loop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    loop = request.param()
    yield loop.run_until_complete
    loop.close()


@pytest.fixture(params=[asyncio, aioxide], ids=["asyncio", "aioxide"])
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def shutting(package: Any) -> Any:
    """A package whose queues can be shut down: asyncio's came with Python 3.13."""
    if package is asyncio and not HAS_SHUTDOWN:
        pytest.skip("asyncio has no shutdown here")
    return package


async def begin(*coroutines: Any) -> list[asyncio.Task[Any]]:
    """Starts tasks and lets each come to its first wait."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Returns each task's result, or the type of what it raised."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(result).__name__ if isinstance(result, BaseException) else result for result in results]


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


@pytest.mark.parametrize("kind", KINDS)
def test_base_classes_and_what_they_show(package: Any, kind: str) -> None:
    queue = getattr(package, kind)(3)
    assert isinstance(queue, asyncio.Queue)
    assert isinstance(queue, getattr(asyncio, kind))
    queue.put_nowait(2)
    queue.put_nowait(1)
    items = [1, 2] if kind == "PriorityQueue" else [2, 1]
    assert str(queue) == f"<{kind} maxsize=3 _queue={items} tasks=2>"
    assert repr(queue) == f"<{kind} at {id(queue):#x} maxsize=3 _queue={items} tasks=2>"
    assert (queue.maxsize, queue.qsize(), queue.empty(), queue.full()) == (3, 2, False, False)
    assert type(queue._queue) is (collections.deque if kind == "Queue" else list)
    assert list(queue._queue) == items
    assert queue._unfinished_tasks == 2
    assert queue._loop is None
    assert not queue._finished.is_set()
    assert getattr(package, kind)[int].__origin__ is getattr(package, kind)
    with pytest.raises(AttributeError):
        queue.maxsize = 4


@pytest.mark.parametrize("maxsize", [0, -1, 1, 2, 1.3, 0.5, float("inf"), float("nan"), True, 2**70, -(2**70)])
def test_when_a_queue_is_full(package: Any, maxsize: Any) -> None:
    queue = package.Queue(maxsize)
    filled = []
    for _ in range(3):
        filled.append(queue.full())
        if not queue.full():
            queue.put_nowait(None)
    expected = []
    for count in range(3):
        bounded = not maxsize <= 0
        expected.append(bounded and min(count, queue.qsize()) >= maxsize)
    assert filled == expected
    if filled[-1]:
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(None)


def test_maxsize_that_is_no_number(package: Any) -> None:
    queue = package.Queue("many")
    with pytest.raises(TypeError):
        queue.full()
    with pytest.raises(TypeError):
        queue.put_nowait(1)


def test_empty_queue_refuses(package: Any) -> None:
    for kind in KINDS:
        with pytest.raises(asyncio.QueueEmpty):
            getattr(package, kind)().get_nowait()


def test_changes_of_the_deque_are_the_queues(package: Any, run: Run) -> None:
    async def main() -> list[Any]:
        queue = package.Queue()
        queue.put_nowait(1)
        queue._queue.appendleft(0)
        items = queue._queue
        items.append(2)
        taken = [queue.get_nowait(), await queue.get()]
        await queue.put(3)
        taken += [list(items), queue.qsize()]
        items.clear()
        taken.append(queue.empty())
        del items
        queue.put_nowait(4)
        return [*taken, await queue.get(), queue.empty()]

    assert run(main()) == [0, 1, [2, 3], 2, True, 4, True]


def test_program_that_waits_in_the_row_itself(package: Any, run: Run) -> None:
    """What derived classes do: asyncio's own code, written once more."""

    async def main() -> tuple[Any, int]:
        queue = package.Queue(1)
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        queue._getters.append(waiter)
        (task,) = await begin(queue.get())
        queue.put_nowait("item")
        await waiter
        queue._wakeup_next(queue._getters)
        return await task, len(queue._getters)

    assert run(main()) == ("item", 0)


def test_failed_comparison_leaves_the_heap_as_heapq_does(package: Any) -> None:
    class Item:
        def __init__(self, value: int) -> None:
            self.value = value

        def __lt__(self, other: Any) -> bool:
            if 13 in (self.value, other.value):
                raise ZeroDivisionError
            return bool(self.value < other.value)

    queue = package.PriorityQueue()
    for value in (5, 3, 4, 1):
        queue.put_nowait(Item(value))
    with pytest.raises(ZeroDivisionError):
        queue.put_nowait(Item(13))
    assert [item.value for item in queue._queue] == [1, 3, 4, 5, 13]
    assert queue._unfinished_tasks == 4
    with pytest.raises(ZeroDivisionError):
        [queue.get_nowait() for _ in range(5)]


def test_derived_class_with_a_store_of_its_own(package: Any, run: Run) -> None:
    class Unique(package.Queue):  # type: ignore[misc,name-defined]
        def _init(self, maxsize: int) -> None:
            self._queue = {}
            self.made_for = maxsize

        def _put(self, item: Any) -> None:
            self._queue[item] = None

        def _get(self) -> Any:
            return self._queue.popitem()[0]

    async def main() -> list[Any]:
        queue = Unique(3)
        for item in (1, 1, 2):
            await queue.put(item)
        return [queue.made_for, queue.qsize(), await queue.get(), queue.get_nowait(), queue.empty()]

    assert run(main()) == [3, 2, 2, 1, True]


@pytest.mark.parametrize("kind", KINDS)
def test_derived_class_that_calls_the_methods_it_overrides(package: Any, run: Run, kind: str) -> None:
    log: list[str] = []

    class Loud(getattr(package, kind)):  # type: ignore[misc]
        def _init(self, maxsize: int) -> None:
            log.append("_init")
            super()._init(maxsize)

        def _put(self, item: Any) -> None:
            log.append("_put")
            super()._put(item)

        def _get(self) -> Any:
            log.append("_get")
            return super()._get()

        def put_nowait(self, item: Any) -> None:
            log.append("put_nowait")
            super().put_nowait(item)

        def get_nowait(self) -> Any:
            log.append("get_nowait")
            return super().get_nowait()

        def full(self) -> bool:
            log.append("full")
            return bool(super().full())

        def empty(self) -> bool:
            log.append("empty")
            return bool(super().empty())

        def qsize(self) -> int:
            log.append("qsize")
            return int(super().qsize())

        def _wakeup_next(self, waiters: Any) -> None:
            log.append("_wakeup_next")
            super()._wakeup_next(waiters)

    async def main() -> list[Any]:
        queue = Loud(1)
        tasks = await begin(queue.get(), queue.put(3), queue.put(4))
        items = [await queue.get()]
        return [await tasks[0], *items, queue.qsize()]

    items = run(main())
    assert items == [4, 3, 0]
    calls = collections.Counter(log)
    assert calls["_init"] == 1
    assert calls["_put"] == calls["_get"] == calls["put_nowait"] == calls["get_nowait"] == 2
    assert calls["_wakeup_next"] >= 4
    assert calls["full"] >= 4
    assert calls["empty"] >= 4
    assert calls["qsize"] >= 4


def test_order_of_calls_in_a_derived_class() -> None:
    def traced(package: Any) -> list[str]:
        log: list[str] = []

        def method(name: str) -> Any:
            def call(self: Any, *arguments: Any) -> Any:
                log.append(name)
                return getattr(package.Queue, name)(self, *arguments)

            return call

        names = ("empty", "full", "qsize", "get_nowait", "put_nowait", "_get", "_put", "_wakeup_next", "_get_loop")
        derived = type("Derived", (package.Queue,), {name: method(name) for name in names})

        async def main() -> None:
            queue = derived(1)
            tasks = await begin(queue.get(), queue.get(), queue.put(1), queue.put(2), queue.put(3))
            tasks[1].cancel()
            tasks[4].cancel()
            await outcomes(tasks)

        loop = aioxide.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        return log

    assert traced(aioxide) == traced(asyncio)


def test_method_that_is_replaced_later_is_called(package: Any, run: Run) -> None:
    class Derived(package.Queue):  # type: ignore[misc,name-defined]
        pass

    async def main() -> list[Any]:
        queue = Derived()
        queue.put_nowait(1)
        seen = [await queue.get()]
        with mock.patch.object(Derived, "get_nowait", return_value="patched"):
            queue.put_nowait(2)
            seen.append(await queue.get())
        seen.append(await queue.get())
        with mock.patch.object(package.Queue, "_get", return_value="patched"):
            queue.put_nowait(3)
            seen.append(await queue.get())
        seen.append(await queue.get())
        queue.full = lambda: True
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(4)
        return seen

    assert run(main()) == [1, "patched", 2, "patched", 3]


def test_derived_class_overrides_get_and_put(package: Any, run: Run) -> None:
    class Doubling(package.Queue):  # type: ignore[misc,name-defined]
        async def get(self) -> Any:
            return 2 * await super().get()

        async def put(self, item: Any) -> None:
            await super().put(item + 1)

    async def main() -> Any:
        queue = Doubling()
        await queue.put(1)
        return await queue.get()

    assert run(main()) == 4


def test_initialised_again_it_is_empty(package: Any) -> None:
    queue = package.Queue(1)
    queue.put_nowait(1)
    queue.__init__(2)
    assert (queue.qsize(), queue.maxsize, queue._unfinished_tasks) == (0, 2, 0)
    with pytest.raises(TypeError):
        package.Queue(loop=None)
    with pytest.raises(TypeError):
        package.Queue(1, 2)


def test_item_given_by_name(package: Any, run: Run) -> None:
    async def main() -> list[Any]:
        queue = package.Queue(maxsize=2)
        queue.put_nowait(item=1)
        await queue.put(item=2)
        for put in (queue.put, queue.put_nowait):
            with pytest.raises(TypeError):
                put()
            with pytest.raises(TypeError):
                put(1, 2)
        return [await queue.get(), await queue.get()]

    assert run(main()) == [1, 2]


def test_value_that_stop_iteration_could_mistake(package: Any, run: Run) -> None:
    values = [None, (), (1, 2), ValueError("a value"), StopIteration(3)]

    async def main() -> bool:
        queue = package.Queue()
        for value in values:
            queue.put_nowait(value)
        return all([(await queue.get()) is value for value in values])

    assert run(main())


def test_value_carried_by_hand(package: Any) -> None:
    queue = package.Queue()
    item = object()
    for _ in range(3):
        queue.put_nowait(item)
        with pytest.raises(StopIteration) as raised:
            queue.get().send(None)
        assert raised.value.value is item
        assert raised.value.args == (item,)


def test_cycle_through_an_item_is_collected(package: Any) -> None:
    class Thing:
        pass

    thing: Any = Thing()
    thing.queue = package.Queue()
    thing.queue.put_nowait(thing)
    thing.queue.itself = thing.queue
    gone = [weakref.ref(thing), weakref.ref(thing.queue)]
    del thing
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_cycle_through_a_waiting_task_is_collected() -> None:
    async def main() -> weakref.ref[Any]:
        queue = aioxide.Queue(1)
        queue.put_nowait([queue])
        put: Any = queue.put([queue])
        put.send(None)
        queue.itself = [put, queue.get()]  # type: ignore[attr-defined]
        queue.itself.pop().close()  # type: ignore[attr-defined]
        return weakref.ref(queue)

    loop = aioxide.new_event_loop()
    gone = loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert gone() is None


def test_references_balance(run: Run) -> None:
    item = object()

    async def main() -> None:
        queue = aioxide.Queue(1)
        for other in (aioxide.LifoQueue(), aioxide.PriorityQueue()):
            other.put_nowait((1, item))
            other.get_nowait()
            other.put_nowait((2, item))
        queue.put_nowait(item)
        tasks = await begin(queue.put(item), queue.put(item), queue.get())
        tasks[1].cancel()
        await outcomes(tasks)
        queue.put(item).close()
        (task,) = await begin(queue.put(item))
        assert list(queue._queue) == [item]
        queue.shutdown(immediate=True)
        await outcomes([task])

    run(main())
    before = sys.getrefcount(item)
    for _ in range(10):
        run(main())
    assert sys.getrefcount(item) == before
