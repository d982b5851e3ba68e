"""Rings, and rows longer than any stack, of tasks, futures and the like: nothing ends the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import aioxide
import pytest

# More than a stack of 8 MiB has room for, whatever a level takes.
MANY = 100_000


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def make_ring(size: int, tail: int = 0) -> list[asyncio.Task[Any]]:
    """Makes tasks each of which awaits the next, the last one of the ring the first one; the tail comes before."""
    tasks: list[asyncio.Task[Any]] = []

    async def wait(following: int) -> None:
        await asyncio.sleep(0)
        await tasks[following]

    for index in range(tail + size):
        tasks.append(asyncio.create_task(wait(index + 1 if index + 1 < tail + size else tail)))
    await turns(3)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    return tasks


@pytest.mark.parametrize(("size", "tail"), [(2, 0), (3, 0), (2, 1), (5, 9), (64, 3)])
def test_cancel_of_tasks_in_a_ring_raises_recursion_error(loop: Any, size: int, tail: int) -> None:
    async def main() -> None:
        tasks = await make_ring(size, tail)
        with pytest.raises(RecursionError):
            tasks[0].cancel()
        assert not any(task.done() for task in tasks)
        assert tasks[0].cancelling() > 0 if sys.version_info >= (3, 11) else True

    loop.run_until_complete(main())
    loop.close()


def test_cancel_of_a_ring_through_a_gather_raises_recursion_error(loop: Any) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def wait() -> None:
            await asyncio.sleep(0)
            await asyncio.gather(*tasks)

        async def other() -> None:
            await asyncio.sleep(0)
            await tasks[0]

        tasks += [asyncio.create_task(wait()), asyncio.create_task(other())]
        await turns(3)
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        with pytest.raises(RecursionError):
            tasks[0].cancel()

    loop.run_until_complete(main())
    loop.close()


def test_the_time_of_a_ring_is_up_and_the_loop_goes_on(loop: Any, reports: Any) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout")

    async def main() -> None:
        first = (await make_ring(2))[0]

        async def wait() -> None:
            async with asyncio.timeout(0):
                await first

        waiting = asyncio.create_task(wait())
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]
        while not reports:
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    [report] = reports.take("Exception in callback")
    assert isinstance(report["exception"], RecursionError)
    loop.close()


def test_cancel_goes_down_a_long_row_of_tasks() -> None:
    async def wait(before: asyncio.Task[Any] | None) -> None:
        await (before or asyncio.get_running_loop().create_future())

    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []
        for _ in range(MANY):
            tasks.append(asyncio.create_task(wait(tasks[-1] if tasks else None)))
        await asyncio.sleep(0)
        assert tasks[-1].cancel("enough")
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)

    aioxide.run(main())


def test_cancel_of_a_row_whose_end_is_done_cancels_the_task_before_it(loop: Any) -> None:
    async def main() -> None:
        last = asyncio.get_running_loop().create_future()

        async def wait(awaited: Any) -> Any:
            return await awaited

        inner = asyncio.create_task(wait(last))
        outer = asyncio.create_task(wait(inner))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        last.set_result(1)
        assert outer.cancel()
        await asyncio.wait([inner, outer])
        assert inner.cancelled()
        assert outer.cancelled()

    loop.run_until_complete(main())


def test_a_condition_may_be_its_own_lock(run: Any, package: Any) -> None:
    async def main() -> None:
        condition = package.Condition()
        condition.__init__(condition)
        assert not condition.locked()
        assert await condition.acquire()
        assert condition.locked()
        condition.release()
        assert "unlocked" in repr(condition)

    run(main())


def test_a_condition_keeps_what_its_lock_had_when_it_was_made(run: Any, package: Any) -> None:
    async def main() -> None:
        inner = package.Condition()
        outer = package.Condition(inner)
        inner.locked = lambda: True
        assert not outer.locked()
        for _ in range(5000):
            outer = package.Condition(outer)
        assert not outer.locked()

    run(main())


def test_awaitables_inside_of_each_other_raise_recursion_error(run: Any) -> None:
    async def main() -> None:
        awaitable = asyncio.sleep(0)
        made = [awaitable]
        for _ in range(20_000):
            awaitable = aioxide.wait_for(awaitable, None)
            made.append(awaitable)
        with pytest.raises(RecursionError):
            await awaitable
        # From the innermost on: coroutines of Python, which some of these are, end each other by recursion.
        for awaitable in made:
            awaitable.close()
        del awaitable
        made.clear()

    run(main())


def test_the_repr_of_a_long_row_ends_in_recursion_error(loop: Any) -> None:
    async def wait(before: asyncio.Task[Any] | None) -> None:
        await (before or asyncio.get_running_loop().create_future())

    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []
        for _ in range(20_000):
            tasks.append(asyncio.create_task(wait(tasks[-1] if tasks else None)))
        await asyncio.sleep(0)
        with pytest.raises(RecursionError):
            repr(tasks[-1])
        tasks[0].cancel()
        await asyncio.wait(tasks)

    loop.run_until_complete(main())


ROWS = {
    "futures": "following = loop.create_future(); following.set_result(row); row = following",
    "handles": "row = loop.call_soon(ignore, row)",
    "timers": "row = loop.call_later(1000, ignore, row)",
    "contexts of handles": (
        "c = contextvars.copy_context(); c.run(var.set, row); row = loop.call_soon(ignore, context=c)"
    ),
    "callbacks": "f = loop.create_future(); f.add_done_callback(partial(ignore, row)); row = f",
    "contexts of callbacks": (
        "c = contextvars.copy_context(); c.run(var.set, row); f = loop.create_future(); "
        "f.add_done_callback(ignore, context=c); row = f"
    ),
    "messages": "f = loop.create_future(); f.cancel(row); row = f",
    "exceptions": ("f = loop.create_future(); f.set_exception(ValueError(row)); f._log_traceback = False; row = f"),
    "results of tasks": "row = asyncio.create_task(give(row))",
    "sleeps": "row = asyncio.sleep(1, row)",
    "gathers": "row = asyncio.gather(row or loop.create_future())",
    "shields": "row = asyncio.shield(row or loop.create_future())",
    "waits": "row = asyncio.wait([row])",
    "puts": "row = asyncio.Queue().put(row)",
    "queues": "q = asyncio.PriorityQueue(); q.put_nowait(row); row = q",
    "conditions": "row = asyncio.Condition(row)",
    "predicates": "row = asyncio.Condition().wait_for(row or ignore)",
    "iterators": "f = loop.create_future(); f.set_result(row); row = iter(f)",
    "derived futures": "f = Derived(loop=loop); f.set_result(row); row = f",
    "gets": "q = asyncio.Queue(); q.before = row; row = q.get()",
    "scopes": "scope = aioxide.timeout(1); scope.before = row; row = scope",
}
PROGRAM = """
    import asyncio, contextvars, warnings
    from functools import partial
    import aioxide
    warnings.simplefilter("ignore")
    aioxide.install()
    var = contextvars.ContextVar("var")
    def ignore(*_): pass
    async def give(value): return value
    class Derived(aioxide.Future): pass
    async def main():
        loop = asyncio.get_running_loop()
        row = None
        for _ in range({count}):
            {make}
        f = q = c = scope = following = None
        print("made", flush=True)
        await asyncio.sleep(0)
        del row
        print("released", flush=True)
    aioxide.run(main())
"""


@pytest.mark.parametrize("make", ROWS.values(), ids=ROWS.keys())
def test_a_long_row_is_released(make: str) -> None:
    program = textwrap.dedent(PROGRAM).format(count=MANY, make=make)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["made", "released"]


def queue_in_itself(package: Any) -> Any:
    queue = package.Queue()
    queue.put_nowait(queue)
    return partial(repr, queue)


def derived(base: Any, **methods: Any) -> Any:
    return type("Derived", (base,), methods)


def put_that_puts(package: Any) -> Any:
    return partial(derived(package.Queue, _put=package.Queue.put_nowait)().put_nowait, 1)


def get_that_gets(package: Any) -> Any:
    queue = derived(package.Queue, _get=package.Queue.get_nowait)()
    queue.put_nowait(1)
    return queue.get_nowait


def init_that_inits(package: Any) -> Any:
    return derived(package.Queue, _init=package.Queue.__init__)


def size_that_asks(package: Any) -> Any:
    return derived(package.Queue, qsize=package.Queue.full)(1).full


def text_that_shows(package: Any) -> Any:
    return partial(repr, derived(package.LifoQueue, _format=package.Queue.__repr__)())


def comparison_that_puts(package: Any) -> Any:
    queue = package.PriorityQueue()
    item = type("Item", (), {"__lt__": queue.put_nowait})
    queue.put_nowait(item())
    return partial(queue.put_nowait, item())


def waking_that_releases(package: Any) -> Any:
    return derived(package.Semaphore, _wake_up_next=package.Semaphore.release)().release


def time_that_is_set_again(package: Any) -> Any:
    base = aioxide.EventLoop if package is aioxide else asyncio.SelectorEventLoop
    loop = derived(base, call_at=base.call_later)()
    return partial(loop.call_later, 0.0, print)


def full_that_pauses_by_feeding(package: Any) -> Any:
    reader = package.StreamReader(limit=1, loop=SimpleNamespace(get_debug=lambda: False))
    reader.set_transport(SimpleNamespace(pause_reading=partial(reader.feed_data, b"more")))
    return partial(reader.feed_data, b"more")


RINGS = [
    queue_in_itself, put_that_puts, get_that_gets, init_that_inits, size_that_asks,
    text_that_shows, comparison_that_puts, waking_that_releases, time_that_is_set_again, full_that_pauses_by_feeding,
]  # fmt: skip


@pytest.mark.parametrize("make", RINGS)
@pytest.mark.filterwarnings("ignore")
def test_a_method_that_comes_back_to_itself_raises_recursion_error(package: Any, make: Any) -> None:
    call = make(package)
    with pytest.raises(RecursionError):
        call()
    close = getattr(getattr(getattr(call, "func", None), "__self__", None), "close", None)
    if close is not None:
        close()


def test_a_small_stack_is_not_used_up_either(package: Any) -> None:
    ends: list[Any] = []

    def run() -> None:
        for make in (queue_in_itself, put_that_puts, comparison_that_puts, queue_in_itself):
            try:
                make(package)()
            except RecursionError as error:
                ends.append(type(error))

    before = threading.stack_size(512 * 1024)
    try:
        # The second of them may get the place of the first one's stack.
        for _ in range(2):
            thread = threading.Thread(target=run)
            thread.start()
            run()
            thread.join()
    finally:
        threading.stack_size(before)
    assert ends == [RecursionError] * 16
