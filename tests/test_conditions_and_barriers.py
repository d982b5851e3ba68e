"""Rust's `Condition` and `Barrier` beside asyncio's: notification, cancellation, replaced locks and methods."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import aioxide
import pytest
from sync_support import needs_fixes, settle, state

LOCKS = [
    pytest.param(lambda package: None, id="none"),
    pytest.param(lambda package: asyncio.Lock(), id="asyncio"),
    pytest.param(lambda package: aioxide.Lock(), id="aioxide"),
]


@pytest.mark.parametrize("make_lock", LOCKS)
def test_condition_with_any_lock(package: Any, run: Any, make_lock: Any) -> None:
    async def main() -> list[Any]:
        given = make_lock(package)
        condition = package.Condition(given)
        assert given is None or condition._lock is given
        level = 0

        async def wait_for(needed: int) -> Any:
            async with condition:
                result = await condition.wait_for(lambda: level >= needed and level)
                assert condition.locked()
                return result

        tasks = [asyncio.create_task(wait_for(needed)) for needed in (2, 1)]
        for _ in range(2):
            await settle()
            async with condition:
                level += 1
                condition.notify_all()
        found = await asyncio.gather(*tasks)
        assert not condition.locked()
        assert not condition._waiters
        return found

    assert run(main()) == [2, 1]


def test_condition_without_its_lock_is_an_error(package: Any, run: Any) -> None:
    async def main() -> None:
        condition = package.Condition()
        with pytest.raises(RuntimeError, match=r"cannot wait on un-acquired lock"):
            await condition.wait()
        for notify in (condition.notify, condition.notify_all):
            with pytest.raises(RuntimeError, match=r"cannot notify on un-acquired lock"):
                notify()
        with pytest.raises(AttributeError):
            package.Condition(object())

    run(main())


def test_notify_wakes_as_many_as_asked_in_their_order(package: Any, run: Any) -> None:
    async def main() -> list[int]:
        order = []
        condition = package.Condition()

        async def wait(number: int) -> None:
            async with condition:
                assert await condition.wait() is True
                order.append(number)

        tasks = [asyncio.create_task(wait(number)) for number in range(4)]
        await settle()
        async with condition:
            condition.notify(2)
        await settle()
        assert order == [0, 1]
        async with condition:
            condition.notify(n=5)
        await asyncio.gather(*tasks)
        return order

    assert run(main()) == [0, 1, 2, 3]


def test_cancelled_wait_gives_its_notification_on(package: Any, run: Any) -> None:
    needs_fixes(package)

    async def main() -> None:
        condition = package.Condition()

        async def wait() -> None:
            async with condition:
                await condition.wait()

        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await settle()
        async with condition:
            condition.notify()
            await settle()  # the first waits for the lock
            first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not condition.locked()

    run(main())


def test_cancelled_wait_holds_the_lock_again(package: Any, run: Any) -> None:
    async def main() -> list[str]:
        log = []
        condition = package.Condition()

        async def wait() -> None:
            async with condition:
                try:
                    await condition.wait()
                except asyncio.CancelledError:
                    log.append(f"cancelled, locked={condition.locked()}")
                    raise

        task = asyncio.create_task(wait())
        await settle()
        async with condition:
            task.cancel()
            await settle()
            task.cancel()  # again, while it waits for the lock
            await settle()
            assert not task.done()
            log.append("release")
        await asyncio.wait([task])
        assert task.cancelled()
        return log

    assert run(main()) == ["release", "cancelled, locked=True"]


def test_closed_wait_leaves_no_waiter(package: Any, run: Any) -> None:
    async def main() -> None:
        condition = package.Condition()

        async def wait() -> None:
            async with condition:
                await condition.wait()

        coroutine = wait()
        coroutine.send(None)
        coroutine.close()
        assert not condition._waiters
        assert not condition.locked()

    run(main())


def test_condition_subclass_that_replaces_wait_is_obeyed(package: Any, run: Any) -> None:
    class Polling(package.Condition):  # type: ignore[misc, name-defined]
        waits = 0

        async def wait(self) -> bool:
            self.waits += 1
            return True

    async def main() -> None:
        condition = Polling()
        async with condition:
            assert await condition.wait_for(lambda: condition.waits >= 3) is True

    run(main())


def test_condition_uses_what_is_assigned_to_it(package: Any, run: Any) -> None:
    async def main() -> None:
        condition = package.Condition()
        condition.release = mock.Mock(side_effect=condition.release)
        async with condition:
            pass
        condition.release.assert_called_once_with()
        assert not condition.locked()

    run(main())


def barrier(package: Any, parties: int) -> Any:
    if not hasattr(package, "Barrier"):
        pytest.skip("asyncio has no Barrier before Python 3.11")
    return package.Barrier(parties)


def test_barrier_gives_each_its_number(package: Any, run: Any) -> None:
    async def main() -> None:
        gate = barrier(package, 3)
        assert (gate.parties, gate.n_waiting, gate.broken) == (3, 0, False)
        for _ in range(2):
            tasks = [asyncio.create_task(gate.wait()) for _ in range(2)]
            await settle()
            assert gate.n_waiting == 2
            assert state(gate) == "filling, waiters:2/3"
            async with gate as number:
                assert number == 2
            assert await asyncio.gather(*tasks) == [0, 1]
            assert gate.n_waiting == 0

    run(main())


def test_barrier_of_more_tasks_than_parties(package: Any, run: Any) -> None:
    async def main() -> list[int]:
        gate = barrier(package, 2)
        return await asyncio.gather(*[gate.wait() for _ in range(6)])

    assert sorted(run(main())) == [0, 0, 0, 1, 1, 1]


def test_barrier_aborted_and_reset(package: Any, run: Any) -> None:
    async def main() -> None:
        gate = barrier(package, 2)
        error = asyncio.BrokenBarrierError if package is asyncio else aioxide.BrokenBarrierError
        for end in (gate.reset, gate.abort):
            task = asyncio.create_task(gate.wait())
            await settle()
            await end()
            with pytest.raises(error, match=r"Abort or reset of barrier"):
                await task
        assert gate.broken
        assert state(gate) == "broken"
        with pytest.raises(error, match=r"Barrier aborted"):
            await gate.wait()
        await gate.reset()
        assert not gate.broken
        assert sorted(await asyncio.gather(gate.wait(), gate.wait())) == [0, 1]

    run(main())


def test_cancelled_party_is_taken_off_the_count(package: Any, run: Any) -> None:
    async def main() -> None:
        gate = barrier(package, 2)
        task = asyncio.create_task(gate.wait())
        await settle()
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), gate.n_waiting, gate._cond.locked()) == (True, 0, False)
        assert sorted(await asyncio.gather(gate.wait(), gate.wait())) == [0, 1]

    run(main())


def test_barrier_for_nobody_is_refused(package: Any) -> None:
    with pytest.raises(ValueError, match=r"parties must be"):
        barrier(package, 0)


def test_wait_that_is_closed_leaves_the_barrier(package: Any, run: Any) -> None:
    async def main() -> None:
        gate = barrier(package, 2)
        wait = gate.wait()
        wait.send(None)
        assert gate.n_waiting == 1
        wait.close()
        assert (gate.n_waiting, gate._cond.locked(), len(gate._cond._waiters)) == (0, False, 0)

    run(main())
