"""What a Rust future gives to `await`: values, errors, panics; what it is called, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import Any

import aioxide
import pytest

from rust_futures import HOUR, Notes, Run, turns


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


def test_panic_of_a_destructor_is_an_exception(probe: Any, run: Run, capfd: Any) -> None:
    with pytest.raises(aioxide.RustPanic, match="in drop"):
        run(probe.panics_in_drop())
    assert "in drop" in capfd.readouterr().err


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
