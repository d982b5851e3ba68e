"""Rust's `Lock`, `Semaphore`, `BoundedSemaphore` and `Event` beside asyncio's: order, cancellation, values."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from sync_support import needs_fixes, settle


def test_lock_is_given_in_order(package: Any, run: Any) -> None:
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

    assert run(main()) == [0, 0, 1, 1, 2, 2]


def test_lock_is_fair_to_a_waiter_that_was_woken(package: Any, run: Any) -> None:
    async def main() -> list[str]:
        log = []
        lock = package.Lock()
        await lock.acquire()

        async def use(name: str) -> None:
            async with lock:
                log.append(name)

        first = asyncio.create_task(use("first"))
        await settle()
        lock.release()
        assert not lock.locked()
        await use("late")  # the first was woken and has not run yet
        await first
        return log

    assert run(main()) == ["first", "late"]


def test_cancelled_acquire_passes_the_lock_on(package: Any, run: Any) -> None:
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

    run(main())


def test_release_of_a_free_lock_is_an_error(package: Any) -> None:
    with pytest.raises(RuntimeError, match=r"Lock is not acquired\."):
        package.Lock().release()


def test_release_after_an_exception(package: Any, run: Any) -> None:
    async def main() -> None:
        lock = package.Lock()
        with pytest.raises(ValueError):
            async with lock:
                raise ValueError
        assert not lock.locked()

    run(main())


def test_semaphore_lets_nobody_pass_a_waiter(package: Any, run: Any) -> None:
    needs_fixes(package)

    async def main() -> list[int]:
        order = []
        semaphore = package.Semaphore(1)

        async def use(number: int) -> None:
            async with semaphore:
                order.append(number)
                await asyncio.sleep(0)

        await semaphore.acquire()
        tasks = [asyncio.create_task(use(number)) for number in range(4)]
        await settle()
        tasks[1].cancel()
        semaphore.release()
        assert semaphore.locked()
        assert semaphore._value == 0
        await use(4)
        await asyncio.wait(tasks)
        assert semaphore._value == 1
        return order

    assert run(main()) == [0, 2, 3, 4]


def test_cancelled_acquire_gives_its_permit_on(package: Any, run: Any) -> None:
    needs_fixes(package)

    async def main() -> None:
        semaphore = package.Semaphore(0)
        first, second = (asyncio.create_task(semaphore.acquire()) for _ in range(2))
        await settle()
        semaphore.release()
        first.cancel()  # it was given the permit
        assert await second
        assert first.cancelled()
        assert semaphore._value == 0

    run(main())


def test_semaphore_values_of_other_kinds(package: Any, run: Any) -> None:
    async def main() -> None:
        endless = package.Semaphore(math.inf)
        huge = package.Semaphore(10**30)
        for semaphore, value in ((endless, math.inf), (huge, 10**30)):
            async with semaphore:
                assert not semaphore.locked()
            assert semaphore._value == value
        huge._value = 0
        assert huge.locked()
        huge._value += 1
        await huge.acquire()
        assert huge._value == 0

    run(main())
    with pytest.raises(ValueError, match=r"Semaphore initial value must be >= 0"):
        package.Semaphore(-1)
    with pytest.raises(TypeError):
        package.Semaphore(None)


def test_bounded_semaphore_refuses_excess(package: Any, run: Any) -> None:
    async def main() -> None:
        semaphore = package.BoundedSemaphore(value=2)
        assert semaphore._bound_value == 2
        with pytest.raises(ValueError, match=r"BoundedSemaphore released too many times"):
            semaphore.release()
        async with semaphore:
            assert semaphore._value == 1
        await semaphore.acquire()
        semaphore.release()
        assert semaphore._value == 2

    run(main())


def test_event_wakes_all(package: Any, run: Any) -> None:
    async def main() -> list[bool]:
        event = package.Event()
        waiters = [asyncio.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        event.set()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        return [*results[1:], await event.wait()]

    assert run(main()) == [True, True, True]


def test_event_may_be_cleared_before_those_woken_run(package: Any, run: Any) -> None:
    async def main() -> None:
        event = package.Event()
        waiter = asyncio.create_task(event.wait())
        await settle()
        event.set()
        event.clear()
        assert await waiter is True
        assert not event.is_set()

    run(main())
