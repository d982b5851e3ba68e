"""Locks, events, conditions, semaphores and barriers in Rust beside asyncio's, on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref
from collections import deque
from typing import Any
from unittest import mock

import aioxide
import pytest

NAMES = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")


@pytest.fixture(params=["asyncio", "aioxide"])
def package(request: pytest.FixtureRequest) -> Any:
    return {"asyncio": asyncio, "aioxide": aioxide}[request.param]


def barrier(package: Any, parties: int) -> Any:
    if not hasattr(package, "Barrier"):
        pytest.skip("asyncio has no Barrier before Python 3.11")
    return package.Barrier(parties)


def needs_fixes(package: Any) -> None:
    """Skips what asyncio's own semaphores and conditions do wrong before 3.13 (late 3.11 and 3.12 apart)."""
    if package is asyncio and not hasattr(asyncio.Condition, "_notify"):
        pytest.skip("fixed in Python 3.13")


async def settle() -> None:
    """Lets every task that is ready run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def state(thing: Any) -> str:
    return repr(thing).rpartition("[")[2].rstrip("]>")


def test_each_is_an_instance_of_asyncios_class() -> None:
    for name in NAMES:
        ours = getattr(aioxide, name)
        thing = ours(2) if name == "Barrier" else ours()
        if hasattr(asyncio, name):
            assert isinstance(thing, getattr(asyncio, name))
        assert thing._loop is None
        assert repr(thing).startswith(f"<aioxide.locks.{name} object at 0x")
    assert issubclass(aioxide.BoundedSemaphore, aioxide.Semaphore)


def test_each_method_has_a_docstring_and_a_signature() -> None:
    import inspect

    for name in NAMES:
        ours = getattr(aioxide, name)
        for method in ("acquire", "release", "locked", "wait", "notify", "wait_for", "set", "abort", "reset"):
            found = getattr(ours, method, None)
            if callable(found):
                assert found.__doc__, f"{name}.{method}"
                assert "self" in inspect.signature(found).parameters


def test_repr_tells_state_and_waiters(package: Any, run: Any) -> None:
    async def main() -> None:
        lock, event, semaphore = package.Lock(), package.Event(), package.Semaphore(2)
        condition = package.Condition()
        assert [state(thing) for thing in (lock, event, semaphore, condition)] == [
            "unlocked",
            "unset",
            "unlocked, value:2",
            "unlocked",
        ]
        await lock.acquire()
        tasks = [asyncio.create_task(lock.acquire()), asyncio.create_task(event.wait())]
        await condition.acquire()
        await semaphore.acquire()
        await semaphore.acquire()
        tasks.append(asyncio.create_task(semaphore.acquire()))
        await settle()
        assert [state(thing) for thing in (lock, event, semaphore, condition)] == [
            "locked, waiters:1",
            "unset, waiters:1",
            "locked, waiters:1",
            "locked",
        ]
        lock.release()
        event.set()
        semaphore.release()
        assert await asyncio.gather(*tasks) == [True, True, True]
        assert state(event) == "set"

    run(main())


def test_uncontended_acquire_ends_at_its_first_step(package: Any) -> None:
    for thing in (package.Lock(), package.Semaphore(), package.Condition()):
        with pytest.raises(StopIteration) as caught:
            thing.acquire().send(None)
        assert caught.value.value is True
        assert thing.locked()
        with pytest.raises(StopIteration) as caught:
            thing.__aexit__(None, None, None).send(None)
        assert caught.value.value is None
        with pytest.raises(StopIteration) as caught:
            thing.__aenter__().send(None)
        assert caught.value.value is None


def test_nothing_is_acquired_before_the_await(package: Any) -> None:
    for thing in (package.Lock(), package.Semaphore(), package.Condition()):
        waits = [thing.acquire(), thing.__aenter__()]
        assert not thing.locked()
        for wait in waits:
            wait.close()
        assert not thing.locked()


def test_awaiting_twice_is_refused(package: Any, run: Any) -> None:
    async def main() -> None:
        for thing in (package.Lock(), package.Semaphore()):
            wait = thing.acquire()
            await wait
            with pytest.raises(RuntimeError):
                await wait

    run(main())


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


def test_release_of_a_free_lock_is_an_error(package: Any) -> None:
    with pytest.raises(RuntimeError, match=r"Lock is not acquired\."):
        package.Lock().release()


def test_waiters_are_a_deque_that_may_be_changed(package: Any, run: Any) -> None:
    async def main() -> None:
        lock, event, semaphore = package.Lock(), package.Event(), package.Semaphore(0)
        assert lock._waiters is None
        assert semaphore._waiters is None
        assert event._waiters == deque()
        await lock.acquire()
        waits = [asyncio.create_task(thing()) for thing in (lock.acquire, event.wait, semaphore.acquire)]
        await settle()
        for thing in (lock, event, semaphore):
            assert isinstance(thing._waiters, deque)
            assert thing._waiters is thing._waiters
            assert [future.done() for future in thing._waiters] == [False]
        late = asyncio.get_running_loop().create_future()
        event._waiters.append(late)
        event.set()
        assert late.result() is True
        lock.release()
        semaphore.release()
        await asyncio.gather(*waits)
        assert not lock._waiters
        assert not semaphore._waiters
        assert list(event._waiters) == [late]

    run(main())


def test_subclass_that_replaces_acquire_and_release_is_obeyed(package: Any, run: Any) -> None:
    for name in ("Lock", "Semaphore", "BoundedSemaphore"):
        log: list[str] = []

        class Loud(getattr(package, name)):  # type: ignore[misc]
            async def acquire(self) -> Any:
                log.append("acquire")  # noqa: B023 - it runs before the loop goes on
                return await super().acquire()

            def release(self) -> None:
                log.append("release")  # noqa: B023
                super().release()

        async def main(kind: Any) -> None:
            thing = kind()
            async with thing:
                assert thing.locked()
            assert not thing.locked()

        run(main(Loud))
        assert log == ["acquire", "release"]


def test_subclass_that_replaces_the_waking_is_obeyed(package: Any, run: Any) -> None:
    log: list[str] = []

    class Lock(package.Lock):  # type: ignore[misc, name-defined]
        def _wake_up_first(self) -> None:
            log.append("lock")
            super()._wake_up_first()

    class Semaphore(package.Semaphore):  # type: ignore[misc, name-defined]
        def _wake_up_next(self) -> Any:
            log.append("semaphore")
            return super()._wake_up_next()

    async def main() -> None:
        for thing in (Lock(), Semaphore()):
            async with thing:
                waiter = asyncio.create_task(thing.acquire())
                await settle()
            await waiter

    run(main())
    assert log[:2] == ["lock", "semaphore"]


def test_replaced_on_the_instance_or_later_on_the_class(package: Any, run: Any) -> None:
    class Lock(package.Lock):  # type: ignore[misc, name-defined]
        pass

    async def main() -> None:
        lock, other = Lock(), Lock()
        async with lock, other:
            pass
        lock.release = mock.Mock()
        async with lock:
            pass
        lock.release.assert_called_once_with()
        with mock.patch.object(Lock, "acquire", mock.AsyncMock()) as acquire, pytest.raises(RuntimeError):
            async with other:
                pass
        acquire.assert_called_once_with()
        async with other:
            assert other.locked()
        assert not other.locked()

    run(main())


def test_other_loop_is_refused(package: Any, loop_factory: Any) -> None:
    async def wait(awaitable: Any) -> None:
        task = asyncio.ensure_future(awaitable)
        await settle()
        task.cancel()
        await asyncio.wait([task])

    lock, event, semaphore = package.Lock(), package.Event(), package.Semaphore(0)
    loop = loop_factory()
    loop.run_until_complete(lock.acquire())
    waits = (lock.acquire, event.wait, semaphore.acquire)
    for make in waits:
        loop.run_until_complete(wait(make()))
    assert lock._loop is event._loop is semaphore._loop is loop
    loop.close()
    other = loop_factory()
    for make in waits:
        with pytest.raises(RuntimeError, match=r"is bound to a different event loop"):
            other.run_until_complete(make())
    other.close()


def test_cycles_and_weak_references(package: Any, run: Any) -> None:
    async def main() -> list[Any]:
        references = []
        for make in (package.Lock, package.Event, package.Condition, package.Semaphore):
            thing = make()
            thing.itself = thing
            references.append(weakref.ref(thing))
        lock = package.Lock()
        await lock.acquire()
        task = asyncio.create_task(lock.acquire())
        await settle()
        lock.task = task
        references.append(weakref.ref(lock))
        task.cancel()
        await asyncio.wait([task])
        return references

    references = run(main())
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


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


def test_stop_of_a_wait_by_any_exception(package: Any, run: Any) -> None:
    async def main() -> None:
        lock = package.Lock()
        await lock.acquire()
        for make in (lock.acquire, package.Event().wait, package.Semaphore(0).acquire):
            wait = make()
            wait.send(None)
            with pytest.raises(LookupError):
                wait.throw(LookupError())
            assert not make.__self__._waiters

    run(main())
