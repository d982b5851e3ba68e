"""What `sleep`, `Queue.get` and the like give to `await` looks like a coroutine, and is reported like one."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import types
import warnings
import weakref
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from conftest import Run

Make = Callable[[ModuleType], Awaitable[Any]]

# Full name -> what makes one that has to wait.
WAITING: dict[str, Make] = {
    "sleep": lambda package: package.sleep(60),
    "Queue.get": lambda package: package.Queue().get(),
    "Queue.put": lambda package: full(package).put(1),
    "Lock.acquire": lambda package: locked(package.Lock()).acquire(),
    "Semaphore.acquire": lambda package: package.Semaphore(0).acquire(),
    "Event.wait": lambda package: package.Event().wait(),
}


def full(package: ModuleType) -> Any:
    queue = package.Queue(1)
    queue.put_nowait(0)
    return queue


def locked(lock: Any) -> Any:
    try:
        lock.acquire().send(None)
    except StopIteration:
        return lock
    raise AssertionError


def unawaited(make: Callable[[], Any]) -> list[str]:
    """Returns the warnings about what is made and dropped."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        make()
        gc.collect()
    assert all(warning.category is RuntimeWarning for warning in seen)
    return [str(warning.message) for warning in seen]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", WAITING)
def test_a_waiting_one_shows_what_a_coroutine_shows(name: str, package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        waiting: Any = WAITING[name](package)
        assert inspect.iscoroutine(waiting)
        assert isinstance(waiting, types.CoroutineType)
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_CREATED
        task = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        assert (waiting.__qualname__, waiting.__name__) == (name, name.rpartition(".")[2])
        assert waiting.cr_code.co_name == waiting.__name__
        assert waiting.cr_frame.f_code is waiting.cr_code
        assert waiting.cr_await is not None
        if sys.version_info >= (3, 11):  # before, inspect asks the frame, and no frame of ours has run
            assert inspect.getcoroutinestate(waiting) == inspect.CORO_SUSPENDED
        assert f"<coroutine object {name} at" in repr(waiting)
        assert f"coro=<{name}() running at " in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == [waiting.__name__]
        task.cancel()
        await asyncio.wait([task])
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED
        assert waiting.cr_frame is None
        assert waiting.cr_await is None
        assert hasattr(waiting, "cr_state") is (sys.version_info >= (3, 15))

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", WAITING)
def test_one_that_is_dropped_is_reported(name: str, package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        found = unawaited(lambda: WAITING[name](package))
        assert f"coroutine '{name}' was never awaited" in found

    run(main())


def test_one_that_was_closed_or_awaited_is_not_reported(package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        queue = package.Queue()
        await queue.put(1)

        def close() -> None:
            for waiting in (queue.get(), queue.put(1), package.sleep(1), package.Event().wait()):
                waiting.close()

        assert unawaited(close) == []
        task = asyncio.ensure_future(package.sleep(60))
        task.cancel()
        await asyncio.wait([task])
        del task
        assert unawaited(lambda: None) == []

    run(main())


def test_in_debug_mode_the_report_tells_where_it_was_made(package: ModuleType, loop_factory: Any) -> None:
    async def main() -> None:
        queue = package.Queue()

        def forget_me() -> None:
            queue.get()

        if "aioxide" in str(type(asyncio.get_running_loop())) or package is asyncio:
            (report,) = unawaited(forget_me)
            assert report.startswith("coroutine 'Queue.get' was never awaited\nCoroutine created at ")
            assert "in forget_me" in report

    loop = loop_factory()
    loop.set_debug(True)
    loop.run_until_complete(main())
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before, a task of its own runs what wait_for is given")
def test_what_is_awaited_below_wait_for_is_shown(package: ModuleType, run: Run[Any]) -> None:
    async def leaf() -> None:
        await package.sleep(60)

    async def outer() -> None:
        await package.wait_for(leaf(), 50)

    async def main() -> None:
        task = asyncio.ensure_future(outer())
        await asyncio.sleep(0)
        names, coroutine = [], task.get_coro()
        while coroutine is not None:
            names.append(getattr(coroutine, "__name__", ""))
            coroutine = getattr(coroutine, "cr_await", None)
        assert names[:4] == ["outer", "wait_for", "leaf", "sleep"]
        if sys.version_info >= (3, 14):
            assert "leaf" in asyncio.format_call_graph(task)
        task.cancel()
        await asyncio.wait([task])

    run(main())


class Owner:
    """Something that a cycle goes through."""


def hold_get(package: ModuleType, owner: Any) -> None:
    owner.queue = package.Queue()
    owner.queue.put_nowait(owner)
    owner.waiting = owner.queue.get()


def hold_put(package: ModuleType, owner: Any) -> None:
    owner.queue = package.Queue(1)
    owner.queue.owner = owner
    owner.waiting = owner.queue.put("item")


def hold_event(package: ModuleType, owner: Any) -> None:
    owner.event = package.Event()
    owner.event.owner = owner
    owner.waiting = owner.event.wait()


def hold_stop(package: ModuleType, owner: Any) -> None:
    queue = package.Queue()
    queue.put_nowait(owner)
    with pytest.raises(StopIteration) as caught:
        queue.get().send(None)
    owner.stop = caught.value


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("hold", [hold_get, hold_put, hold_event, hold_stop])
def test_a_cycle_through_one_is_freed(hold: Any, package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        queue = package.Queue()
        queue.put_nowait(1)
        await queue.get()
        for _ in range(2):
            gc.collect()
        owner = Owner()
        known = weakref.ref(owner)
        hold(package, owner)
        del owner
        gc.collect()
        assert known() is None

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_several_that_were_not_begun_are_all_freed(package: ModuleType, run: Run[Any]) -> None:
    async def main() -> None:
        owners = [Owner() for _ in range(5)]
        known = [weakref.ref(owner) for owner in owners]
        for owner in owners:
            hold_get(package, owner)
            del owner
        owners.clear()
        gc.collect()
        assert [reference() for reference in known] == [None] * 5

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", WAITING)
def test_one_is_referred_to_weakly(name: str, package: ModuleType, run: Run[Any]) -> None:
    """The callback makes others and calls the collector, while the one that it is about is being taken apart."""

    async def main() -> None:
        ended: list[str] = []

        def end(reference: weakref.ref[Any]) -> None:
            assert reference() is None
            unawaited(lambda: WAITING[name](package))
            ended.append(name)

        made = WAITING[name](package)
        reference = weakref.ref(made, end)
        assert reference() is made
        del made
        assert ended == [name]
        made = WAITING[name](package)
        reference = weakref.ref(made, end)
        task = asyncio.ensure_future(made)
        await asyncio.sleep(0)
        assert reference() is made
        task.cancel()
        await asyncio.wait([task])
        del made, task
        gc.collect()
        assert ended == [name, name]
        # The memory of the one before may be used again: it has no weak references yet.
        for _ in range(3):
            assert weakref.getweakrefcount(WAITING[name](package)) == 0

    run(main())
