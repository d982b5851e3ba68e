"""Numbers of every kind where asyncio takes one: what it compares and adds decides, not what fits a machine's word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aioxide
import pytest

INFINITE = float("inf")


@pytest.fixture(params=["asyncio", "aioxide"])
def module(request: pytest.FixtureRequest) -> Any:
    return asyncio if request.param == "asyncio" else aioxide


@pytest.mark.parametrize(
    ("count", "woken"),
    [(1.5, 2), (INFINITE, 3), (-INFINITE, 0), (2**70, 3), (-(2**70), 0), (True, 1), (Decimal("0.5"), 1)],
)
def test_condition_wakes_as_many_as_are_below_the_count(run: Any, module: Any, count: Any, woken: int) -> None:
    async def main() -> None:
        condition = module.Condition()
        async with condition:
            condition.notify(count)

        async def wait() -> None:
            async with condition:
                await condition.wait()

        tasks = [asyncio.ensure_future(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        async with condition:
            condition.notify(count)
        for _ in range(10):
            await asyncio.sleep(0)
        assert sum(task.done() for task in tasks) == woken
        async with condition:
            condition.notify_all()
        await asyncio.wait(tasks)

    run(main())


def test_condition_refuses_what_is_no_count_only_when_somebody_waits(run: Any, module: Any) -> None:
    async def main() -> None:
        condition = module.Condition()
        async with condition:
            condition.notify("1")

        async def wait() -> None:
            async with condition:
                await condition.wait()

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        async with condition:
            with pytest.raises(TypeError, match=r"'>=' not supported between instances of 'int' and 'str'"):
                condition.notify("1")
            condition.notify()
        await task

    run(main())


@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
@pytest.mark.parametrize("value", [True, 2**63 - 1, 2**63, 2**70, 1.5, Decimal("1.5")])
def test_semaphore_keeps_its_value(run: Any, module: Any, kind: str, value: Any) -> None:
    async def main() -> None:
        semaphore = getattr(module, kind)(value)
        assert semaphore._value == value
        assert f"value:{value}]" in repr(semaphore)
        assert await semaphore.acquire()
        assert semaphore._value == value - 1
        semaphore.release()
        assert semaphore._value == value
        if kind == "BoundedSemaphore":
            with pytest.raises(ValueError, match="released too many times"):
                semaphore.release()

    run(main())


@pytest.mark.parametrize(
    ("parties", "opens"), [(True, 1), (2.0, 2), (Decimal(2), 2), (1.5, None), (2**63, None), (INFINITE, None)]
)
def test_barrier_opens_when_as_many_have_come_as_equal_its_parties(
    run: Any, module: Any, parties: Any, opens: int | None
) -> None:
    if not hasattr(module, "Barrier"):
        pytest.skip("asyncio has none before Python 3.11")

    async def main() -> None:
        barrier = module.Barrier(parties)
        assert barrier.parties is parties
        assert f"waiters:0/{parties}]" in repr(barrier)
        tasks = [asyncio.ensure_future(barrier.wait()) for _ in range(opens or 3)]
        _, pending = await asyncio.wait(tasks, timeout=None if opens else 0.01)
        assert bool(pending) == (opens is None)
        await barrier.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


@pytest.mark.parametrize("given", ["5", b"5", [], object()])
@pytest.mark.parametrize(
    "use",
    [
        lambda module, given: module.sleep(given),
        lambda module, given: module.wait([asyncio.ensure_future(asyncio.sleep(0))], timeout=given),
        lambda _, given: asyncio.get_running_loop().call_later(given, print),
    ],
    ids=["sleep", "wait", "call_later"],
)
def test_what_is_no_number_is_refused_in_asyncios_words(
    run: Any, module: Any, use: Callable[[Any, Any], Any], given: Any
) -> None:
    async def main() -> None:
        name = type(given).__name__
        words = f"'<=' not supported between .* '{name}' and 'int'|for \\+: 'float' and '{name}'"
        with pytest.raises(TypeError, match=words):
            await use(module, given)

    run(main())
