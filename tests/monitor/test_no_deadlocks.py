"""Programs that look like a circle for a while and can go on: nothing is told of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from aioxide import monitor

from .test_deadlocks import task


async def condition_of_another_task(package: ModuleType) -> None:
    condition = package.Condition()

    async def produce() -> None:
        await asyncio.sleep(0.2)
        async with condition:
            condition.notify_all()

    producer = task(produce(), "producer")
    async with condition:
        # The task inside has given the lock back.
        await asyncio.shield(condition.wait())
    await producer


async def condition_waited_for_by_a_predicate(package: ModuleType) -> None:
    condition, seen = package.Condition(), list[int]()

    async def produce() -> None:
        await asyncio.sleep(0.2)
        async with condition:
            seen.append(1)
            condition.notify_all()

    producer = task(produce(), "producer")
    async with condition:
        await condition.wait_for(lambda: seen)
    await producer


async def lock_of_a_context_manager(package: ModuleType) -> None:
    lock = package.Lock()

    @contextlib.asynccontextmanager
    async def managed() -> AsyncIterator[None]:
        async with lock:
            yield

    async def use() -> None:
        async with managed():
            pass

    await lock.acquire()
    user = task(use(), "user")
    await asyncio.sleep(0.2)
    lock.release()
    await user


async def take_both(package: ModuleType, one: Any, other: Any) -> None:
    async with one:
        await package.sleep(0)
        async with other:
            raise AssertionError("it was a deadlock")


async def timeout_of_the_parent(package: ModuleType) -> None:
    first, second = package.Lock(), package.Lock()

    with contextlib.suppress(asyncio.TimeoutError):
        await package.wait_for(
            package.gather(take_both(package, first, second), take_both(package, second, first)), 0.2
        )


async def timer_that_cancels_by_another_function(package: ModuleType) -> None:
    first, second = package.Lock(), package.Lock()

    class Timer:
        def __init__(self, task: asyncio.Task[None]) -> None:
            self.task = task

        def on_timeout(self) -> None:
            self.task.cancel()

    one, other = task(take_both(package, first, second), "a"), task(take_both(package, second, first), "b")
    loop = asyncio.get_running_loop()
    loop.call_later(0.2, lambda: one.cancel("late"))
    loop.call_later(0.2, Timer(other).on_timeout)
    await asyncio.wait([one, other])


@pytest.mark.parametrize(
    "program",
    [
        condition_of_another_task,
        condition_waited_for_by_a_predicate,
        lock_of_a_context_manager,
        timeout_of_the_parent,
        timer_that_cancels_by_another_function,
    ],
)
def test_what_looks_like_a_circle_and_can_go_on_is_none(
    loop: asyncio.AbstractEventLoop, package: ModuleType, program: Callable[[ModuleType], Awaitable[None]]
) -> None:
    found: list[dict[str, Any]] = []

    def look() -> None:
        for _ in range(5):
            found.extend(monitor.deadlocks())

    async def main() -> None:
        loop.call_later(0.05, lambda: loop.run_in_executor(None, look))
        await program(package)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert found == []
