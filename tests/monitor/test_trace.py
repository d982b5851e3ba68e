"""What a loop runs in a stretch of time, as a trace of Chrome's."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aioxide
import pytest
from aioxide import monitor

from .asking import ask

Trace = dict[str, list[dict[str, Any]]]


@pytest.fixture
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of aioxide: asyncio's cannot be recorded."""
    loop = aioxide.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.json"


def read(path: Path) -> Trace:
    """The events of a trace by their phase: `M` names tracks, `X` are runs, `s` and `f` the two ends of an arrow."""
    found: Trace = {"M": [], "X": [], "s": [], "f": []}
    for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]:
        found[event["ph"]].append(event)
    return found


def tracks(trace: Trace) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in trace["M"] if event["name"] == "thread_name"}


def runs(trace: Trace, track: str) -> list[dict[str, Any]]:
    """The runs in the track of that name, in their order."""
    names = tracks(trace)
    return [event for event in trace["X"] if names[event["tid"]] == track]


def wakers(trace: Trace) -> dict[int, str]:
    """By its number in the queue, the track from which each run was queued."""
    names = tracks(trace)
    started = {event["id"]: names[event["tid"]] for event in trace["s"]}
    ends = {(event["tid"], event["ts"]): started[event["id"]] for event in trace["f"]}
    return {
        event["args"]["number"]: ends[event["tid"], event["ts"]]
        for event in trace["X"]
        if (event["tid"], event["ts"]) in ends
    }


def test_each_step_has_its_tasks_track_and_who_woke_it(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def producer(queue: asyncio.Queue[int]) -> None:
        for number in range(3):
            await queue.put(number)
            await asyncio.sleep(0)

    async def consumer(queue: asyncio.Queue[int]) -> None:
        for _ in range(3):
            await queue.get()

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        with monitor.trace(path):
            taking = asyncio.create_task(consumer(queue), name="taker")
            await asyncio.sleep(0)
            giving = asyncio.create_task(producer(queue), name="giver")
            await taking
            await giving

    own_loop.run_until_complete(main())
    trace = read(path)
    code = "test_each_step_has_its_tasks_track_and_who_woke_it.<locals>"
    taker, giver = f"taker {code}.consumer", f"giver {code}.producer"
    assert {taker, giver} <= set(tracks(trace).values())
    steps = runs(trace, taker)
    assert [step["cat"] for step in steps] == ["step", "wake-up", "wake-up", "wake-up"]
    by = wakers(trace)
    assert [by[step["args"]["number"]] for step in steps[1:]] == [giver] * 3
    assert all(step["dur"] >= 0 and step["args"]["waited_us"] >= 0 for step in trace["X"])


def test_callbacks_are_named_by_what_they_call(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    class Machine:
        def turn(self) -> None:
            pass

        def __call__(self) -> None:
            pass

    class Hostile:
        def __call__(self) -> None:
            pass

        def __getattribute__(self, name: str) -> object:
            raise AssertionError(f"{name} was asked for")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with monitor.trace(path):
            loop.call_soon(Machine().turn)
            loop.call_soon(functools.partial(Machine().turn))
            loop.call_soon(Machine())
            loop.call_soon(Hostile())
            loop.call_soon(time.perf_counter)
            await asyncio.sleep(0.001)

    own_loop.run_until_complete(main())
    names = Counter(event["name"] for event in runs(read(path), "callback"))
    turn = "test_callbacks_are_named_by_what_they_call.<locals>.Machine.turn"
    expected = {turn: 2, "Machine": 1, "Hostile": 1, "perf_counter": 1}
    assert {name: names[name] for name in expected} == expected


def test_what_other_threads_and_timers_queue_has_no_arrow(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with monitor.trace(path):
            waiter = loop.create_future()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(waiter.set_result, None))
            loop.call_later(0.001, thread.start)
            await waiter
        thread.join()

    own_loop.run_until_complete(main())
    trace = read(path)
    by = wakers(trace)
    start = next(event for event in trace["X"] if event["name"] == "Thread.start")
    assert start["args"]["number"] not in by


def test_long_step_is_as_long_as_it_was(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def slow() -> None:
        time.sleep(0.05)

    async def main() -> None:
        with monitor.trace(path):
            await asyncio.create_task(slow(), name="slow")

    own_loop.run_until_complete(main())
    trace = read(path)
    [step] = [event for event in trace["X"] if event["args"]["task"] == "slow"]
    assert step["dur"] >= 50_000


def test_loop_is_observed_no_longer_than_the_block(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main() -> None:
        with monitor.trace(path):
            with pytest.raises(RuntimeError, match="recorded already"), monitor.trace(path.with_name("other")):
                pass
            await asyncio.sleep(0)
        assert asyncio.get_running_loop()._recorded() is None  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError), monitor.trace(path):
            await fail()
        assert read(path)["X"]

    own_loop.run_until_complete(main())


def test_recording_that_nobody_ends_ends_by_itself(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async def main() -> int:
        with monitor.trace(path, seconds=0.02):
            for _ in range(30):
                await asyncio.sleep(0.002)
        return len(read(path)["X"])

    # About ten of the thirty sleeps, each of some entries.
    assert 1 <= own_loop.run_until_complete(main()) < 60


def test_loop_that_stops_in_the_block_has_its_runs_and_the_block_its_exception(path: Path) -> None:
    loop = aioxide.new_event_loop()
    begun, ended = threading.Event(), threading.Event()

    async def main() -> None:
        begun.set()
        for _ in range(20):
            await asyncio.sleep(0.005)

    thread = threading.Thread(target=lambda: (loop.run_until_complete(main()), ended.set()))
    thread.start()
    begun.wait()

    def fails() -> None:
        with monitor.trace(path):
            ended.wait()
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        fails()
    thread.join()
    assert len(read(path)["X"]) > 10

    async def again() -> None:
        with monitor.trace(path):
            await asyncio.sleep(0)

    loop.run_until_complete(again())
    loop.close()


def test_recording_that_is_over_keeps_nobody_from_the_next(own_loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        assert loop._record(10, 1_000_000)
        assert not loop._record(10, 1_000_000)
        # Without an iteration in between.
        time.sleep(0.005)
        assert loop._record(10, 1_000_000)
        assert loop._recorded() is not None
        assert loop._recorded() is None

    own_loop.run_until_complete(main())


def test_names_are_read_without_the_programs_code_and_cut(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if name in ("__name__", "__qualname__"):
                raise AssertionError("it was asked for its name")
            return super().__getattribute__(name)

    class Odd(metaclass=Meta):
        def __call__(self) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked for")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        odd = Odd()
        with monitor.trace(path):
            loop.call_soon(odd)
            loop.call_soon(weakref.proxy(odd))
            loop.call_soon([].append, 1)
            await asyncio.create_task(asyncio.sleep(0), name="x" * 100_000)

    own_loop.run_until_complete(main())
    trace = read(path)
    names = {event["name"] for event in runs(trace, "callback")}
    assert {"Odd", "CallableProxyType", "append"} <= names, names
    assert path.stat().st_size < 20_000


def test_without_a_loop_and_without_a_place_it_says_so(own_loop: asyncio.AbstractEventLoop, path: Path) -> None:
    with pytest.raises(RuntimeError, match="no loop of aioxide is running"), monitor.trace(path):
        pass

    async def main() -> None:
        with pytest.raises(FileNotFoundError), monitor.trace(path.with_name("no") / "where"):
            pass
        path.write_text("kept")
        with pytest.raises(ValueError, match="number of seconds"), monitor.trace(path, seconds=float("nan")):
            pass
        assert path.read_text() == "kept"
        with monitor.trace(path):
            pass

    own_loop.run_until_complete(main())


def test_it_can_be_asked_for_from_outside(own_loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    socket = monitor.start(tmp_path / "socket")

    def outside() -> dict[str, Any]:
        assert ask(socket, ask="record", ms=60_001)["kind"] == "bad_request"
        assert ask(socket, ask="recorded")["answer"] == "error"
        assert ask(socket, ask="record", ms=1000)["answer"] == "recording"
        assert ask(socket, ask="record", ms=1000)["kind"] == "busy"
        time.sleep(0.05)
        return ask(socket, ask="recorded")["timeline"]  # type: ignore[no-any-return]

    async def busy() -> None:
        while True:
            await asyncio.sleep(0)

    async def main() -> dict[str, Any]:
        task = asyncio.create_task(busy(), name="busy")
        timeline = await asyncio.to_thread(outside)
        task.cancel()
        return timeline

    try:
        timeline = own_loop.run_until_complete(main())
    finally:
        monitor.stop()
    [one] = timeline["loops"]
    steps = [span for span in one["spans"] if span.get("name") == "busy"]
    assert len(steps) > 100
    assert one["length_ns"] >= 50_000_000
    # Each step has queued the next one.
    assert all(after["queued_by"] == before["number"] for before, after in itertools.pairwise(steps))
