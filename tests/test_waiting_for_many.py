"""`wait`, `as_completed`, `shield`, `wait_for`, `create_task`: asyncio's on its loop, and ours on both loops."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import aioxide
import pytest


@pytest.fixture(params=[asyncio, aioxide], ids=["of_asyncio", "of_aioxide"])
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def finish(loop: Any) -> Any:
    """Runs a coroutine in a task of the loop's own kind, without a timeout around it."""
    return loop.run_until_complete


class Plain:
    """A future that is neither asyncio's nor ours: it has what asyncio asks for."""

    _asyncio_future_blocking = False

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._inner = asyncio.Future(loop=loop)
        self.callbacks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        self.callbacks += 1
        self._inner.add_done_callback(lambda _: callback(self), context=context)

    def remove_done_callback(self, callback: Any) -> int:
        self.callbacks -= 1
        return 0

    def __await__(self) -> Any:
        return self._inner.__await__()


async def give(value: Any, turns: int = 0) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fail(turns: int = 0) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise LookupError("failed")


def callbacks_of(future: Any) -> Any:
    return future._callbacks or []


def test_wait_for_all(package: Any, finish: Any) -> None:
    async def main() -> Any:
        tasks = [asyncio.ensure_future(give(turns, turns)) for turns in (2, 0, 1)]
        done, pending = await package.wait(tasks)
        return done == set(tasks), pending

    assert finish(main()) == (True, set())


@pytest.mark.parametrize("when", ["FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_wait_ends_early_and_leaves_no_callbacks(package: Any, finish: Any, when: str) -> None:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        quick = asyncio.ensure_future(fail(1))
        done, pending = await package.wait({quick, future}, return_when=when)
        assert isinstance(quick.exception(), LookupError)
        return done == {quick}, pending == {future}, len(callbacks_of(future))

    assert finish(main()) == (True, True, 0)


def test_wait_first_exception_goes_on_after_a_result_and_a_cancellation(package: Any, finish: Any) -> None:
    async def main() -> Any:
        futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
        waiting = asyncio.ensure_future(package.wait(futures, return_when="FIRST_EXCEPTION"))
        await asyncio.sleep(0)
        futures[0].set_result(None)
        futures[1].cancel()
        for _ in range(4):
            await asyncio.sleep(0)
        assert not waiting.done()
        futures[2].set_exception(LookupError())
        done, pending = await waiting
        assert isinstance(futures[2].exception(), LookupError)
        return len(done), len(pending)

    assert finish(main()) == (3, 0)


def test_wait_timeout_and_cancellation_leave_no_callbacks(package: Any, finish: Any) -> None:
    async def main() -> Any:
        futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
        done, pending = await package.wait(futures, timeout=0.001)
        counts = [len(callbacks_of(future)) for future in futures]
        waiting = asyncio.ensure_future(package.wait(futures, timeout=1000))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return done, len(pending), counts + [len(callbacks_of(future)) for future in futures]

    assert finish(main()) == (set(), 2, [0, 0, 0, 0])


def test_wait_ends_in_the_iteration_in_which_it_does_in_asyncio(package: Any, finish: Any) -> None:
    async def main() -> Any:
        turns = 0
        waiting = asyncio.ensure_future(package.wait([asyncio.ensure_future(give(None, n)) for n in (1, 3, 2)]))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert finish(main()) == 6


def test_wait_refuses_what_is_no_collection_of_futures(package: Any, finish: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="empty"):
            await package.wait([])
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="expect"):
            await package.wait(future)
        with pytest.raises(ValueError, match="return_when"):
            await package.wait([future], return_when="never")
        if sys.version_info >= (3, 11):
            coroutine = give(1)
            with pytest.raises(TypeError, match="forbidden"):
                await package.wait([coroutine])
            coroutine.close()

    finish(main())


def test_wait_takes_futures_of_every_kind(package: Any, loop: Any) -> None:
    async def main() -> Any:
        plain = Plain(loop)
        futures = [asyncio.Future(loop=loop), aioxide.Future(loop=loop), plain]
        for future in futures:
            loop.call_soon(future.set_result, None)
        done, pending = await package.wait(futures)
        return len(done), len(pending), plain.callbacks

    assert loop.run_until_complete(main()) == (3, 0, 0)


def test_as_completed_gives_results_in_the_order_of_their_ends(package: Any, finish: Any) -> None:
    async def main() -> Any:
        return [await each for each in package.as_completed([give(turns, turns) for turns in (5, 1, 3)])]

    assert finish(main()) == [1, 3, 5]


def test_as_completed_takes_one_awaitable_once(package: Any, finish: Any) -> None:
    async def main() -> Any:
        task = asyncio.ensure_future(give(1))
        return [await each for each in package.as_completed([task, task])]

    assert finish(main()) == [1]


def test_as_completed_raises_and_goes_on(package: Any, finish: Any) -> None:
    async def main() -> Any:
        found = []
        for each in package.as_completed([fail(1), give("late", 3)]):
            try:
                found.append(await each)
            except LookupError as error:
                found.append(str(error))
        return found

    assert finish(main()) == ["failed", "late"]


def test_as_completed_timeout_raises_for_each_that_is_late(package: Any, finish: Any) -> None:
    async def main() -> Any:
        early, late = (asyncio.get_running_loop().create_future() for _ in range(2))
        # Done already: however slow the machine, that is told before the time is up.
        early.set_result(1)
        found = []
        for each in package.as_completed([early, late], timeout=0.001):
            try:
                found.append(await each)
            except asyncio.TimeoutError:
                found.append("late")
        return found, len(callbacks_of(late))

    assert finish(main()) == ([1, "late"], 0)


def test_as_completed_asked_in_advance_is_first_come_first_served(package: Any, finish: Any) -> None:
    async def main() -> Any:
        asked = [asyncio.ensure_future(each) for each in package.as_completed([give(n, n) for n in (3, 1, 2)])]
        await asyncio.sleep(0)
        asked[0].cancel()  # what it would have been given goes to the next
        return await asyncio.gather(*asked[1:])

    assert finish(main()) == [1, 2]


@pytest.mark.parametrize("asked", [True, False], ids=["async_for", "for"])
def test_as_completed_of_aioxide_is_both_iterators_on_every_version(finish: Any, asked: bool) -> None:
    async def main() -> Any:
        tasks = [asyncio.ensure_future(give(turns, turns)) for turns in (4, 1, 2)]
        if asked:
            return [tasks.index(task) async for task in aioxide.as_completed(tasks)]
        return [[4, 1, 2].index(await each) for each in aioxide.as_completed(tasks)]

    assert finish(main()) == [1, 2, 0]


def test_as_completed_takes_futures_of_every_kind(package: Any, loop: Any) -> None:
    async def main() -> Any:
        futures = [asyncio.Future(loop=loop), aioxide.Future(loop=loop), Plain(loop)]
        iterator = iter(package.as_completed(futures))
        asked = [next(iterator) for _ in futures]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_result, number)
        return [await each for each in asked], list(iterator)

    assert loop.run_until_complete(main()) == ([0, 1, 2], [])


def test_as_completed_refuses_a_single_awaitable(package: Any, finish: Any) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="iterable of"):
            list(package.as_completed(future))

    finish(main())


def test_shield_goes_on_after_the_wait_is_cancelled(package: Any, finish: Any) -> None:
    async def main() -> Any:
        inner = asyncio.ensure_future(give("inner", 4))
        outer = asyncio.ensure_future(package.wait_for(package.shield(inner), 1000))
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        return await inner

    assert finish(main()) == "inner"


def test_shield_passes_result_failure_and_cancellation_on(package: Any, finish: Any) -> None:
    async def main() -> Any:
        futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
        shields = [package.shield(future) for future in futures]
        futures[0].set_result(1)
        futures[1].set_exception(LookupError())
        futures[2].cancel()
        await asyncio.wait(shields)
        done = package.shield(futures[0])
        return shields[0].result(), type(shields[1].exception()), shields[2].cancelled(), done is futures[0]

    assert finish(main()) == (1, LookupError, True, True)


def test_shield_leaves_the_inner_future_when_it_is_cancelled(package: Any, finish: Any) -> None:
    async def main() -> Any:
        inner = asyncio.get_running_loop().create_future()
        outer = package.shield(inner)
        outer.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return len(callbacks_of(inner)), inner.done()

    count, done = finish(main())
    assert not done
    assert count == (1 if hasattr(asyncio.tasks, "_log_on_exception") else 0)


def test_shield_dies_without_the_collector(package: Any, finish: Any) -> None:
    async def main() -> Any:
        inner = asyncio.get_running_loop().create_future()
        outer = package.shield(inner)
        inner.set_result(None)
        await outer
        await asyncio.sleep(0)
        died = weakref.ref(outer)
        del outer, inner
        return died()

    gc.disable()
    try:
        assert finish(main()) is None
    finally:
        gc.enable()


def test_wait_for_gives_and_raises_what_the_awaitable_does(package: Any, finish: Any) -> None:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        with pytest.raises(LookupError):
            await package.wait_for(fail(2), 1000)
        return await package.wait_for(give("coroutine", 2), 1000), await package.wait_for(future, None)

    assert finish(main()) == ("coroutine", "future")


@pytest.mark.parametrize("limit", [0, -1, 0.001])
def test_wait_for_cancels_what_takes_too_long(package: Any, finish: Any, limit: float) -> None:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(asyncio.TimeoutError) as caught:
            await package.wait_for(future, limit)
        task: Any = asyncio.current_task()
        return future.cancelled(), type(caught.value.__cause__), getattr(task, "cancelling", int)()

    assert finish(main()) == (True, asyncio.CancelledError, 0)


def test_wait_for_that_is_cancelled_cancels_the_awaitable(package: Any, finish: Any) -> None:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(package.wait_for(future, 1000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return future.cancelled()

    assert finish(main())


def test_wait_for_awaitable_that_swallows_the_cancellation(package: Any, finish: Any) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "all the same"
        return "never"

    async def main() -> Any:
        found = await package.wait_for(stubborn(), 0.001)
        task: Any = asyncio.current_task()
        return found, getattr(task, "cancelling", int)()

    assert finish(main()) == ("all the same", 0)


def test_wait_for_refuses_what_cannot_be_awaited(package: Any, finish: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await package.wait_for(1, 10)

    finish(main())


def test_wait_for_takes_every_kind_of_awaitable(package: Any, loop: Any) -> None:
    class Awaitable:
        def __await__(self) -> Iterator[Any]:
            yield from asyncio.sleep(0).__await__()
            return "object"

    async def main() -> Any:
        plain = Plain(loop)
        loop.call_soon(plain.set_result, "plain")
        foreign = asyncio.Future(loop=loop)
        loop.call_soon(foreign.set_result, "foreign")
        # One after the other: Python 3.10 and 3.11 make a task of the object, which takes a turn.
        return [await package.wait_for(each, 1000) for each in (Awaitable(), plain, foreign)]

    assert loop.run_until_complete(main()) == ["object", "plain", "foreign"]


def test_wait_for_can_be_a_task(package: Any, finish: Any) -> None:
    async def main() -> Any:
        return await asyncio.create_task(package.wait_for(give(1, 3), 1000))

    assert finish(main()) == 1


def test_create_task_with_name_and_context(package: Any, finish: Any) -> None:
    async def main() -> Any:
        task = package.create_task(give(1), name="named")
        return await task, task.get_name(), package.ensure_future(task) is task

    assert finish(main()) == (1, "named", True)


def test_create_task_needs_a_coroutine_and_a_running_loop(package: Any, finish: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            package.create_task(1)
        with pytest.raises(TypeError):
            package.ensure_future(1)

    finish(main())
    coroutine = give(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        package.create_task(coroutine)
    coroutine.close()


def test_create_task_obeys_a_task_factory(package: Any, loop: Any) -> None:
    made = []

    def make(loop: Any, coro: Any, **options: Any) -> Any:
        made.append(coro.__name__)
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        loop.set_task_factory(make)
        await package.create_task(give(1))
        await package.ensure_future(give(2))
        await asyncio.gather(*map(asyncio.ensure_future, package.as_completed([give(3)])))
        loop.set_task_factory(None)

    loop.run_until_complete(main())
    assert made.count("give") == 3
