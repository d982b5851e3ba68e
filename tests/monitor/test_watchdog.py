"""The watchdog: what blocks a loop is reported while it does, once, with the task and the place."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aioxide import monitor

from .watching import until

Loop = asyncio.AbstractEventLoop


@contextmanager
def watching(**settings: Any) -> Iterator[list[monitor.Report]]:
    reports: list[monitor.Report] = []
    monitor.watchdog(limit=0.05, deadlocks=False, callback=reports.append, **settings)
    try:
        yield reports
    finally:
        monitor.unwatch()


def blocked_by(reports: list[monitor.Report], function: str) -> list[monitor.Report]:
    """The reports whose stack has a function: a loaded machine makes others."""
    return [one for one in reports if any(name.endswith(function) for _, _, name in one["stack"])]


def block_until(seen: Callable[[], object]) -> None:
    """Keeps the thread, and lets others into the interpreter."""
    until(seen)


def test_blocking_call_is_reported_while_it_blocks(loop: Loop) -> None:
    async def handler(reports: list[monitor.Report]) -> None:
        # The report is made while this does not return, or never.
        block_until(lambda: blocked_by(reports, "block_until"))

    async def main(reports: list[monitor.Report]) -> None:
        # The watchdog has found the loop.
        while not monitor.lag():
            await asyncio.sleep(0.01)
        await loop.create_task(handler(reports), name="the blocker")

    with watching() as reports:
        loop.run_until_complete(main(reports))
    (report, *_) = blocked_by(reports, "block_until")
    assert report["kind"] == "blocked"
    assert report["cause"] in ("call", "held")
    assert report["task"] == "the blocker"
    assert report["seconds"] >= 0.05
    functions = [function.rsplit(".", 1)[-1] for _, _, function in report["stack"]]
    assert "handler" in functions
    assert functions.index("handler") < functions.index("block_until")
    assert re.match(r"loop blocked for [\d.]+ s in task 'the blocker' ", report["text"])
    assert f'  File "{__file__}", line {block_until.__code__.co_firstlineno + 2}, in block_until' in report["text"]


def test_slow_collection_is_told_apart(loop: Loop) -> None:
    class Slow:
        """Its end takes until the report could be made."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            threading.Event().wait(0.3)

    async def main(reports: list[monitor.Report]) -> None:
        while not monitor.lag():
            await asyncio.sleep(0.01)
        # Only what takes longer than the limit is reported: a heartbeat has to be under way.
        while not any(report["cause"] == "gc" for report in reports):
            Slow()
            gc.collect()
            await asyncio.sleep(0)
        collector = monitor.lag()[0]["collector"]
        assert collector["collections"] >= 1
        assert collector["running_us"] == 0
        assert 300_000 <= collector["longest_us"] <= collector["total_us"]

    with watching(every=0.0) as reports:
        loop.run_until_complete(asyncio.wait_for(main(reports), 20))


def test_same_place_is_reported_once_in_a_while(loop: Loop) -> None:
    async def main(reports: list[monitor.Report]) -> None:
        while not monitor.lag():
            await asyncio.sleep(0.01)
        for count in (1, 2, 3):
            block_until(lambda: monitor.lag()[0]["blocked"] >= count)  # noqa: B023 - it is called at once
            # The next heartbeat is sent.
            before = monitor.lag()[0]["beats"]
            while monitor.lag()[0]["beats"] == before:
                await asyncio.sleep(0.01)

    with watching(every=3600.0) as reports:
        loop.run_until_complete(asyncio.wait_for(main(reports), 20))
    places = [report["stack"][-1][:2] for report in blocked_by(reports, "block_until")]
    assert places
    assert len(places) == len(set(places))


def test_loop_that_answers_is_counted(loop: Loop) -> None:
    async def main() -> dict[str, Any]:
        while not (lags := monitor.lag()) or lags[0]["beats"] < 3:
            await asyncio.sleep(0.01)
        return monitor.snapshot()["loops"][0]

    with watching():
        found = loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert found["lag"]["beats"] >= 3
    assert sum(found["lag"]["histogram"]) == found["lag"]["beats"]


def test_report_goes_to_the_log(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        while not monitor.lag():
            await asyncio.sleep(0.01)
        block_until(lambda: any("in block_until" in record.getMessage() for record in caplog.records))

    caplog.set_level(logging.WARNING, "aioxide.monitor")
    monitor.watchdog(limit=0.05)
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        monitor.unwatch()
    assert {record.name for record in caplog.records} == {"aioxide.monitor"}


def test_callback_that_raises_does_not_end_the_watchdog(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: raised.append(unraisable.exc_value))

    def report(found: monitor.Report) -> None:
        raise ValueError("a fault in the program")

    async def main() -> None:
        while not monitor.lag():
            await asyncio.sleep(0.01)
        for count in (1, 2):
            block_until(lambda: len(raised) >= count)  # noqa: B023 - it is called at once
            await asyncio.sleep(0.05)

    monitor.watchdog(limit=0.05, callback=report, every=0.0, deadlocks=False)
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        monitor.unwatch()
    assert {type(error) for error in raised} == {ValueError}
    raised.clear()


def test_code_that_lets_nobody_in_is_reported(loop: Loop) -> None:
    """The watchdog's own thread is kept out as well, and tells afterwards."""

    async def main() -> None:
        while not monitor.lag():
            await asyncio.sleep(0.01)
        count = 1_000_000
        while not [one for one in reports if one["cause"] == "held"] and count < 1 << 32:
            # One call of C: nothing looks whether somebody else waits.
            sum(range(count))
            count *= 2
            await asyncio.sleep(0.01)

    with watching() as reports:
        loop.run_until_complete(main())
    held = [one for one in reports if one["cause"] == "held"]
    assert held, reports
    assert held[0]["seconds"] >= 0.05


def test_loop_that_blocks_in_its_first_step_is_reported(loop: Loop) -> None:
    async def main() -> None:
        block_until(lambda: blocked_by(reports, "block_until"))

    with watching() as reports:
        loop.run_until_complete(main())
    assert blocked_by(reports, "block_until")


def test_callback_may_end_the_watchdog(loop: Loop) -> None:
    ended = threading.Event()

    def report(found: monitor.Report) -> None:
        monitor.unwatch()
        ended.set()

    async def main() -> None:
        while not monitor.lag():
            await asyncio.sleep(0.01)
        block_until(ended.is_set)

    monitor.watchdog(limit=0.05, callback=report, deadlocks=False)
    loop.run_until_complete(asyncio.wait_for(main(), 20))
    monitor.watchdog(limit=0.05)
    monitor.unwatch()


def test_second_watchdog_and_a_limit_of_nothing_are_refused() -> None:
    with watching():
        callbacks = list(gc.callbacks)
        with pytest.raises(RuntimeError, match="runs already"):
            monitor.watchdog()
        assert gc.callbacks == callbacks
    for limit in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"limit|seconds"):
            monitor.watchdog(limit)
    assert not [one for one in gc.callbacks if "Collector" in type(one).__name__]
