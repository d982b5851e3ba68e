"""A Rust future is dropped when its task is cancelled, its awaitable closed or its loop closed."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any

import aioxide
import pytest

from rust_futures import HOUR, Notes, Run, turns


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
