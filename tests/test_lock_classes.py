"""What Rust's locks, events, semaphores and conditions have in common: how they look, waits, derived classes."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import deque
from typing import Any
from unittest import mock

import aioxide
import pytest
from sync_support import settle, state

NAMES = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")


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
