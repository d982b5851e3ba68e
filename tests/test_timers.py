"""`call_later`, `call_at` and `time`: order, resolution, cancellation."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import weakref
from typing import Any

import pytest


def test_time_is_the_monotonic_clock(loop: asyncio.AbstractEventLoop) -> None:
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_timers_run_in_the_order_of_their_times(loop: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    base = loop.time()
    delays = list(range(20))
    random.Random(1).shuffle(delays)
    for delay in delays:
        loop.call_at(base + delay / 1000, order.append, delay)
    loop.call_at(base + 0.025, loop.stop)
    loop.run_forever()
    assert order == list(range(20))


def test_timer_never_fires_early(loop: asyncio.AbstractEventLoop) -> None:
    late: list[float] = []
    deadlines = [loop.time() + number / 2000 for number in range(40)]
    for deadline in deadlines:
        loop.call_at(deadline, lambda deadline=deadline: late.append(loop.time() - deadline))
    loop.call_at(deadlines[-1] + 0.001, loop.stop)
    loop.run_forever()
    resolution = getattr(loop, "_clock_resolution", 0.0)
    assert len(late) == len(deadlines)
    assert min(late) >= -resolution


def test_timer_of_no_delay_runs_after_what_is_ready(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []
    for delay in (0, -1):
        handle = loop.call_later(delay, order.append, "timer")
        assert isinstance(handle, asyncio.TimerHandle)
    loop.call_soon(order.append, "ready")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert order == ["ready", "timer", "timer"]


def test_cancelled_timer_does_not_run_and_frees_its_arguments(loop: asyncio.AbstractEventLoop) -> None:
    class Argument:
        pass

    order: list[Any] = []
    argument = Argument()
    reference = weakref.ref(argument)
    handle = loop.call_later(1000, order.append, argument)
    del argument
    handle.cancel()
    gc.collect()
    assert reference() is None
    assert handle.cancelled()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert order == []


def test_many_cancelled_timers_leave_the_live_one(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []
    handles = [loop.call_later(1000 + number, order.append, "cancelled") for number in range(2000)]
    loop.call_later(0.002, order.append, "live")
    loop.call_later(0.003, loop.stop)
    for handle in handles:
        handle.cancel()
    loop.run_forever()
    assert order == ["live"]


def test_timer_handle_tells_its_time_and_compares_by_it(loop: asyncio.AbstractEventLoop) -> None:
    when = loop.time() + 500
    first, second, twin = (loop.call_at(moment, print) for moment in (when, when + 1, when))
    assert first.when() == when
    assert first < second
    assert second > first
    assert first <= twin
    assert first >= twin
    assert isinstance(hash(first), int)
    for handle in (first, second, twin):
        handle.cancel()


def test_timer_set_by_a_timer_runs_in_a_later_iteration(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []

    def first() -> None:
        loop.call_soon(order.append, "soon")
        loop.call_at(loop.time(), last)
        order.append("first")

    def last() -> None:
        order.append("timer")
        loop.stop()

    loop.call_later(0.001, first)
    loop.run_forever()
    assert order == ["first", "soon", "timer"]


def test_patched_time_does_not_break_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.time = time.monotonic  # type: ignore[method-assign]
    loop.call_later(0.001, loop.stop)
    loop.run_forever()


def test_closed_loop_takes_no_timer(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    for call in (loop.call_later, loop.call_at):
        with pytest.raises(RuntimeError, match="closed"):
            call(1, print)


def test_sleep_returns_its_result(run: Any) -> None:
    assert run(asyncio.sleep(0.001, "result")) == "result"
    assert run(asyncio.sleep(0, "result")) == "result"
