"""What Rust's queues hold and show beside asyncio's: order, limits, attributes, values, cycles."""

from __future__ import annotations

import asyncio
import collections
import gc
import sys
import weakref
from typing import Any

import aioxide
import pytest
from sync_support import Run, begin, outcomes

KINDS = ("Queue", "LifoQueue", "PriorityQueue")


def test_order_of_priority_and_lifo_queues(package: Any, run: Any) -> None:
    async def drain(queue: Any) -> list[int]:
        for number in (2, 3, 1):
            await queue.put(number)
        return [await queue.get() for _ in range(3)]

    assert run(drain(package.PriorityQueue())) == [1, 2, 3]
    assert run(drain(package.LifoQueue())) == [1, 3, 2]


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
