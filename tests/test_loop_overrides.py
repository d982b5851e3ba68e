"""Methods of a loop that a program replaces, in a class or in the instance, are those that asyncio's own code calls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import aioxide
import pytest


@pytest.fixture
def derived(loop_factory: Any) -> Iterator[Any]:
    """A loop that notes what it is asked for."""
    made = loop_factory()
    made.close()

    class Noting(type(made)):  # type: ignore[misc]
        log: list[str]

        def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
            self.log.append("call_at")
            return super().call_at(when, callback, *args, context=context)

        def create_future(self) -> Any:
            self.log.append("create_future")
            return super().create_future()

    loop = Noting()
    loop.log = []
    yield loop
    loop.close()


def test_call_later_asks_call_at(derived: Any) -> None:
    async def main() -> None:
        called = derived.create_future()
        derived.log.clear()
        handle = derived.call_later(0.001, called.set_result, "value")
        assert derived.log == ["call_at"]
        assert handle.when() >= derived.time()
        assert await called == "value"

    derived.run_until_complete(main())


def test_call_later_hands_context_and_arguments_on(loop: Any) -> None:
    with mock.patch.object(loop, "call_at") as call_at:
        loop.call_later(5, print, 1, 2, context=None)
    (when, *rest), keywords = call_at.call_args
    assert when > loop.time()
    assert rest == [print, 1, 2]
    assert keywords == {"context": None}


@pytest.mark.parametrize("module", [asyncio, aioxide])
def test_what_waits_asks_for_its_future(derived: Any, module: Any) -> None:
    async def main() -> None:
        async def noted(awaitable: Any) -> None:
            derived.log.clear()
            task = asyncio.ensure_future(awaitable)
            await real_turn()
            await real_turn()
            assert "create_future" in derived.log, awaitable
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        async def real_turn() -> None:
            await asyncio.sleep(0)

        lock = module.Lock()
        await lock.acquire()
        semaphore = module.Semaphore(0)
        pending = derived.create_future()
        for awaitable in (
            module.sleep(5),
            module.Queue().get(),
            lock.acquire(),
            semaphore.acquire(),
            module.Event().wait(),
            module.wait([pending]),
        ):
            await noted(awaitable)
        pending.cancel()

    derived.run_until_complete(main())


class Ran:
    """Not a context, but with what asyncio asks of one."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def run(self, callback: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(args)
        return callback(*args)


def test_a_context_is_what_has_run(loop: Any, reports: Any) -> None:
    context, log = Ran(), []

    async def main() -> None:
        loop.call_soon(log.append, 1, context=context)
        loop.call_soon(divmod, 1, 0, context=context)
        loop.call_later(0, log.append, 2, context=context)
        loop.call_soon(log.append, 3, context=5)
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert log == [1, 2]
    reported = [arguments for arguments in context.calls if arguments[0] is loop]
    assert [arguments for arguments in context.calls if arguments[0] is not loop] == [(1,), (1, 0), (2,)]
    # From 3.12 on the exception handler runs in the handle's context too.
    assert len(reported) == (sys.version_info >= (3, 12))
    division, missing = reports.take("Exception in callback", "Exception in callback")
    assert isinstance(division["exception"], ZeroDivisionError)
    assert isinstance(missing["exception"], AttributeError)


def test_a_callback_of_a_future_runs_by_what_has_run(loop: Any, reports: Any) -> None:
    context, log = Ran(), []

    async def main() -> None:
        future = loop.create_future()
        future.add_done_callback(log.append, context=context)
        future.add_done_callback(lambda future: divmod(1, 0), context=context)
        future.set_result(1)
        await asyncio.sleep(0)
        future.add_done_callback(log.append, context=context)
        future.add_done_callback(log.append, context=5)
        await asyncio.sleep(0)
        assert log == [future, future]
        assert context.calls.count((future,)) == 3

    loop.run_until_complete(main())
    division, missing = reports.take("Exception in callback", "Exception in callback")
    assert isinstance(division["exception"], ZeroDivisionError)
    assert isinstance(missing["exception"], AttributeError)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks take a context from Python 3.11 on")
def test_a_task_runs_by_what_has_run(loop: Any) -> None:
    context = Ran()

    async def child() -> Any:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_future(), 0.001)
        return before, asyncio.current_task()

    async def cancelled() -> None:
        await loop.create_future()

    async def main() -> None:
        task = loop.create_task(child(), context=context)
        assert await task == (task, task)
        steps = len(context.calls)
        assert steps >= 3
        other = loop.create_task(cancelled(), context=context)
        await asyncio.sleep(0)
        assert asyncio.current_task() is not other
        other.cancel()
        await asyncio.wait([other])
        assert other.cancelled()
        assert len(context.calls) == steps + 2

    loop.run_until_complete(main())


def test_methods_of_the_stores_are_those_of_their_queue() -> None:
    for name in ("Queue", "LifoQueue", "PriorityQueue"):
        ours, stock = getattr(aioxide, name), getattr(asyncio.queues, name)
        for method in ("_get", "_put", "_init", "get", "put", "qsize"):
            assert getattr(ours, method).__qualname__ == getattr(stock, method).__qualname__
