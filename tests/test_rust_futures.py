"""Rust futures awaited from Python, and Python awaited from Rust, by an extension that uses aioxide-pyo3."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import aioxide
import pytest
from extensions import build

Run = Callable[[Awaitable[Any]], Any]
HOUR = 3600.0


@pytest.fixture(scope="module")
def probe() -> Any:
    return build("probe")


@pytest.fixture(params=["plain", "debug", "stock tasks"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = aioxide.EventLoop(tasks=request.param != "stock tasks")
    loop.set_debug(request.param == "debug")
    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    yield loop
    if not loop.is_closed():
        loop.close()
    gc.collect()
    assert not reports


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Run:
    return lambda awaitable: loop.run_until_complete(asyncio.wait_for(awaitable, 20))


class Notes(list[str]):
    """What happened, in order."""

    def __getattr__(self, event: str) -> Callable[[], None]:
        return lambda: self.append(event)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_ready_future_does_not_suspend(probe: Any, run: Run) -> None:
    async def main() -> object:
        seen = []
        asyncio.get_running_loop().call_soon(seen.append, 1)
        value = await probe.ready("value")
        assert seen == []
        return value

    assert run(main()) == "value"


@pytest.mark.parametrize("value", [None, 0, (1, 2), ValueError("a value"), StopIteration(3)])
def test_every_value_arrives(probe: Any, run: Run, value: object) -> None:
    async def main() -> object:
        return await probe.ready(value)

    assert run(main()) is value
    assert run(probe.ready(value)) is value


def test_unit_is_none(probe: Any, run: Run) -> None:
    assert run(probe.unit()) is None


def test_panic_of_a_destructor_is_an_exception(probe: Any, run: Run, capfd: Any) -> None:
    with pytest.raises(aioxide.RustPanic, match="in drop"):
        run(probe.panics_in_drop())
    assert "in drop" in capfd.readouterr().err


def test_pending_future_lets_others_run(probe: Any, run: Run) -> None:
    async def main() -> list[str]:
        notes = Notes()

        async def other() -> None:
            for _ in range(3):
                notes.append("other")
                await asyncio.sleep(0)

        async def rust() -> None:
            notes.append("before")
            assert await probe.yields(3) == 3
            notes.append("after")

        await asyncio.gather(rust(), other())
        return notes

    assert run(main()) == ["before", "other", "other", "other", "after"]


def test_sleep_takes_its_time(probe: Any, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await asyncio.gather(probe.sleeps(0.03, "a"), probe.sleeps(0.01, "b"), probe.sleeps(0)) == [
            "a",
            "b",
            None,
        ]
        assert loop.time() - start >= 0.03

    run(main())


def test_error_is_raised_at_the_await(probe: Any, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="invalid digit"):
            await probe.fail()

    run(main())
    with pytest.raises(ValueError, match="invalid digit"):
        run(probe.fail())


def test_panic_is_an_exception_and_drops_the_future(probe: Any, run: Run, capfd: Any) -> None:
    notes = Notes()
    with pytest.raises(aioxide.RustPanic, match="on purpose") as caught:
        run(probe.panics(notes.dropped))
    assert isinstance(caught.value, RuntimeError)
    assert notes == ["dropped"]
    assert "on purpose" in capfd.readouterr().err


def test_cancelling_the_task_drops_the_future_before_the_error_goes_on(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> None:
        async def awaiting() -> None:
            try:
                await probe.forever(notes.polled, notes.dropped)
            except asyncio.CancelledError as error:
                notes.append(f"cancelled {error.args}")
                raise

        task = asyncio.ensure_future(awaiting())
        await turns(1)
        assert notes == ["polled"]
        assert task.cancel("why")
        assert notes == ["polled"]
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())
    assert notes == ["polled", "dropped", "cancelled ('why',)"]


def test_task_may_swallow_the_cancellation(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> object:
        async def awaiting() -> str:
            try:
                await probe.forever(notes.polled, notes.dropped)
            except asyncio.CancelledError:
                return await probe.ready("went on")
            return "not reached"

        task = asyncio.ensure_future(awaiting())
        await turns(1)
        task.cancel()
        return await task

    assert run(main()) == "went on"
    assert notes == ["polled", "dropped"]


def test_cancelling_before_the_first_poll_drops_the_future(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> None:
        task = asyncio.ensure_future(probe.forever(notes.polled, notes.dropped))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert notes == ["dropped"]


def test_guards_are_dropped_in_reverse_order(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(probe.two_guards(notes.first, notes.second), 0.001)

    run(main())
    assert notes == ["second", "first"]


def test_timeout_shield_gather_and_wait_take_it(probe: Any, run: Run) -> None:
    async def main() -> None:
        notes = Notes()
        inner = asyncio.ensure_future(probe.forever(notes.polled, notes.dropped))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 0.001)
        assert notes == ["polled"]
        inner.cancel()
        done, pending = await asyncio.wait([inner, asyncio.ensure_future(probe.ready(1))])
        assert (len(done), pending, notes) == (2, set(), ["polled", "dropped"])
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await probe.sleeps(HOUR)
        failed = await asyncio.gather(probe.fail(), probe.ready(1), return_exceptions=True)
        assert [type(outcome) for outcome in failed] == [ValueError, int]

    run(main())


def test_thrown_exception_drops_and_goes_on(probe: Any) -> None:
    notes = Notes()
    awaitable = probe.forever(notes.polled, notes.dropped)
    assert isinstance(awaitable, Coroutine)
    with pytest.raises(KeyError):
        awaitable.throw(KeyError("k"))
    assert notes == ["dropped"]
    with pytest.raises(RuntimeError, match="cannot reuse"):
        awaitable.send(None)


def test_closed_or_forgotten_awaitable_is_dropped(probe: Any) -> None:
    notes = Notes()
    awaitable = probe.forever(notes.polled, notes.dropped)
    awaitable.close()
    awaitable.close()
    assert notes == ["dropped"]
    del awaitable
    probe.forever(notes.polled, notes.dropped)
    assert notes == ["dropped", "dropped"]


def test_awaitable_is_awaited_once(probe: Any, run: Run) -> None:
    async def main() -> None:
        awaitable = probe.ready(1)
        assert await awaitable == 1
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await awaitable

    run(main())


def test_name_is_the_function_in_rust(probe: Any, run: Run) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(probe.sleeps(HOUR))
        await turns(1)
        assert "probe::sleeps()" in repr(task)
        assert task in asyncio.all_tasks()
        assert task.get_coro().__name__ == "sleeps"
        assert not task.get_coro().cr_running
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_spawned_future_is_a_task(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> None:
        task = probe.spawns_sleep(0.001, notes.dropped)
        assert isinstance(task, asyncio.Task)
        assert task in asyncio.all_tasks()
        assert await task == "slept"
        assert notes == ["dropped"]
        task = probe.spawns_sleep(HOUR, notes.dropped)
        await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert notes == ["dropped", "dropped"]

    run(main())


def test_spawn_without_a_loop_drops_and_raises(probe: Any) -> None:
    notes = Notes()
    with pytest.raises(RuntimeError, match="runs no loop of aioxide's"):
        probe.spawns_sleep(1, notes.dropped)
    assert notes == ["dropped"]


def test_local_state_without_locks(probe: Any, run: Run) -> None:
    async def main() -> None:
        slot = probe.Slot()
        tasks = [asyncio.ensure_future(slot.get()) for _ in range(3)]
        await turns(2)
        assert slot.polls == 3
        slot.set("value")
        assert await asyncio.gather(*tasks) == ["value"] * 3
        assert slot.polls == 6

    run(main())


def test_wakeup_without_progress_polls_once_more(probe: Any, run: Run) -> None:
    async def main() -> None:
        slot = probe.Slot()
        task = asyncio.ensure_future(slot.get())
        await turns(2)
        slot.disturb()
        slot.disturb()
        await turns(4)
        assert slot.polls == 2
        slot.set(1)
        assert await task == 1

    run(main())


def test_wakeup_keeps_the_queue_in_order(probe: Any, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slot = probe.Slot()
        notes = Notes()

        async def waiting() -> None:
            await slot.get()
            notes.append("woken")

        task = asyncio.ensure_future(waiting())
        await turns(2)
        loop.call_soon(notes.append, "before")
        slot.set(1)
        loop.call_soon(notes.append, "after")
        await task
        assert notes[:2] == ["before", "woken"] or loop.get_debug()
        assert set(notes) == {"before", "woken", "after"}

    run(main())


def test_wakeup_while_detached(probe: Any, run: Run) -> None:
    async def main() -> object:
        slot = probe.Slot()
        task = asyncio.ensure_future(slot.get())
        await turns(2)
        slot.set_detached("value")
        return await task

    assert run(main()) == "value"


def test_wakeup_from_a_thread_ends_the_wait(probe: Any, run: Run) -> None:
    assert run(probe.woken_by_thread(1)) == 1
    assert run(probe.woken_by_thread(200)) == 200


def test_waker_used_by_threads_within_the_poll(probe: Any, run: Run) -> None:
    assert run(probe.woken_within_poll()) is True


def test_two_loops_in_two_threads(probe: Any) -> None:
    def work(results: list[object]) -> None:
        async def main() -> None:
            slot = probe.Slot()
            tasks = [asyncio.ensure_future(slot.get()), asyncio.ensure_future(probe.woken_by_thread(50))]
            await probe.sleeps(0.001)
            slot.set("value")
            results.extend(await asyncio.gather(*tasks))

        aioxide.run(main())

    results: list[list[object]] = [[], []]
    threads = [threading.Thread(target=work, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["value", 50]] * 2


def test_future_of_another_thread_is_refused_and_dropped_at_home(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> None:
        dropped_in: list[int] = []
        awaitable = probe.forever(notes.polled, lambda: dropped_in.append(threading.get_ident()))
        errors = []

        def elsewhere(awaitable: Any) -> None:
            try:
                aioxide.run(awaitable)
            except RuntimeError as error:
                errors.append(str(error))

        await asyncio.get_running_loop().run_in_executor(None, elsewhere, awaitable)
        assert errors == ["a Rust future is awaited in another thread than the one that made it"]
        # The task over there is in a cycle with its exception.
        gc.collect()
        # One that waits on this loop and is collected elsewhere comes back to be dropped.
        iterator = awaitable.__await__()
        assert iterator.send(None) is not None
        holder = [awaitable]
        del awaitable, iterator
        await asyncio.get_running_loop().run_in_executor(None, holder.clear)
        while not dropped_in:
            await asyncio.sleep(0)
        assert dropped_in == [threading.get_ident()]

    run(main())


@pytest.mark.parametrize("runner", [asyncio.run, lambda main: asyncio.new_event_loop().run_until_complete(main)])
def test_other_loops_are_refused(probe: Any, runner: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="not aioxide's"):
            await probe.ready(1)

    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_closing_the_loop_drops_what_waits(probe: Any) -> None:
    notes = Notes()
    loop = aioxide.new_event_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    task = loop.create_task(probe.forever(notes.polled, notes.dropped))
    sleeping = loop.create_task(probe.sleeps(HOUR))
    loop.run_until_complete(turns(2))
    assert notes == ["polled"]
    loop.close()
    assert notes == ["polled", "dropped"]
    assert not task.done()
    del task, sleeping
    gc.collect()
    assert reports == ["Task was destroyed but it is pending!"] * 2


def test_awaiting_python_from_rust(probe: Any, run: Run) -> None:
    async def waits(value: object) -> object:
        await asyncio.sleep(0.001)
        return value

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("from Python")

    class Custom:
        def __await__(self) -> Iterator[Any]:
            yield from asyncio.sleep(0).__await__()
            return "custom"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await probe.awaits(waits(1)) == 1
        with pytest.raises(KeyError, match="from Python"):
            await probe.awaits(fails())
        assert await probe.awaits(Custom()) == "custom"
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        assert await probe.awaits(future) == "future"
        assert await probe.awaits(future) == "future"
        stock = asyncio.Future()
        loop.call_soon(stock.set_result, "stock")
        assert await probe.awaits(stock) == "stock"
        assert await probe.awaits(asyncio.ensure_future(waits(2))) == 2
        with pytest.raises(TypeError):
            await probe.awaits(7)
        assert await probe.joins(waits(1), waits(2)) == (1, 2)
        assert await probe.joins_all([waits(number) for number in range(50)]) == list(range(50))

    run(main())


def test_python_in_rust_in_python_in_rust(probe: Any, run: Run) -> None:
    async def nested(depth: int) -> int:
        if depth == 0:
            return await probe.sleeps(0.001, 0)
        return 1 + await probe.awaits(nested(depth - 1))

    assert run(nested(20)) == 20
    assert run(probe.awaits(probe.awaits(probe.awaits(probe.ready(1))))) == 1


def test_coroutine_that_never_waits_ends_within_the_poll(probe: Any, run: Run) -> None:
    async def immediate() -> str:
        return "value"

    async def main() -> None:
        seen = []
        asyncio.get_running_loop().call_soon(seen.append, 1)
        assert await probe.awaits(immediate()) == "value"
        assert seen == [] or not isinstance(asyncio.current_task(), aioxide.Task)

    run(main())


def test_cancelling_goes_through_rust_into_python(probe: Any, run: Run) -> None:
    notes = Notes()

    async def inner() -> None:
        try:
            await asyncio.sleep(HOUR)
        except asyncio.CancelledError:
            notes.append("inner")
            await asyncio.sleep(0)
            notes.append("cleaned up")
            raise

    async def main() -> None:
        outer = asyncio.ensure_future(probe.awaits(inner()))
        await turns(3)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        await turns(3)
        assert notes == ["inner", "cleaned up"]

    run(main())


def test_dropping_the_wait_cancels_the_python_task(probe: Any, run: Run) -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def inner() -> None:
            try:
                await asyncio.sleep(HOUR)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        assert await probe.awaits_for(inner(), 0.001) is None
        await cancelled.wait()
        future = asyncio.get_running_loop().create_future()
        assert await probe.awaits_for(future, 0.001) is None
        assert future.cancelled()
        assert await probe.awaits_for(asyncio.sleep(0, "in time"), HOUR) == "in time"

    run(main())


def test_cancellation_of_the_awaited_is_an_error_in_rust(probe: Any, run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(probe.awaits(future))
        await turns(2)
        future.cancel("inside")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_context_is_that_of_the_awaiting_task(probe: Any, loop: asyncio.AbstractEventLoop, run: Run) -> None:
    seen = []

    async def callee() -> None:
        seen.append(variable.get())
        await asyncio.sleep(0)
        seen.append(variable.get())
        variable.set("callee")

    async def main() -> None:
        variable.set("caller")
        await probe.calls(lambda: seen.append(variable.get()))
        await probe.awaits(callee())
        if type(asyncio.current_task()) is aioxide.Task:
            assert variable.get() == "callee"

    run(main())
    assert seen == ["caller"] * 3
    assert variable.get() == "unset"


def test_current_task_inside_of_rust_is_the_awaiting_one(probe: Any, run: Run) -> None:
    async def current() -> object:
        return asyncio.current_task()

    async def main() -> None:
        seen = []
        mine = asyncio.current_task()
        await probe.calls(lambda: seen.append(asyncio.current_task()))
        assert seen == [mine]
        assert await probe.awaits(current()) is not mine
        assert asyncio.current_task() is mine

    run(main())


def test_readiness_of_a_socket(probe: Any, run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(probe.echo(theirs.detach(), 6))
        await asyncio.sleep(0.02)
        await loop.sock_sendall(ours, b"abc")
        await turns(3)
        await loop.sock_sendall(ours, b"def")
        filled, ticks = await task
        assert filled == 6
        assert ticks > 0
        assert await loop.sock_recv(ours, 10) == b"abcdef"
        ours.close()

    run(main())


def test_reference_counts_balance(probe: Any, run: Run) -> None:
    class Value:
        pass

    async def main() -> None:
        value = Value()
        slot_value = Value()

        async def gives() -> Value:
            await asyncio.sleep(0)
            return value

        async def round_() -> None:
            await probe.ready(value)
            await probe.sleeps(0, value)
            await probe.awaits(gives())
            await probe.joins(probe.ready(value), gives())
            await probe.awaits_for(asyncio.sleep(HOUR, value), 0)
            slot = probe.Slot()
            task = asyncio.ensure_future(slot.get())
            await turns(2)
            slot.set(slot_value)
            await task
            task = asyncio.ensure_future(probe.sleeps(HOUR, value))
            await turns(2)
            task.cancel()
            await asyncio.wait([task])

        async def settled() -> tuple[int, int, int]:
            await round_()
            await turns(5)
            gc.collect()
            return sys.getrefcount(value), sys.getrefcount(slot_value), len(asyncio.all_tasks())

        first = await settled()
        assert [await settled() for _ in range(5)] == [first] * 5

    run(main())


def test_cycle_through_a_waiting_task_is_collected(probe: Any) -> None:
    loop = aioxide.new_event_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    notes = Notes()

    class Holder:
        task: Any

    async def main() -> weakref.ref[Holder]:
        holder = Holder()

        async def waiting(holder: Holder) -> None:
            await probe.forever(notes.polled, notes.dropped)
            del holder

        # Made by calling the class: nobody but the cycle holds it.
        holder.task = aioxide.Task(waiting(holder), loop=loop)
        await turns(2)
        return weakref.ref(holder)

    reference = loop.run_until_complete(main())
    gc.collect()
    assert reference() is None
    assert notes == ["polled", "dropped"]
    assert reports == ["Task was destroyed but it is pending!"]
    loop.close()
