"""Rust futures that are awaited in other ways than they are meant to be, nest without end, or fail by StopIteration."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import aioxide
import pytest

from rust_futures import HOUR, Notes, Run, turns


def test_the_second_who_awaits_is_refused(probe: Any, run: Run) -> None:
    async def main() -> list[Any]:
        shared = probe.sleeps(0.01, "value")

        async def use() -> Any:
            return await shared

        return await asyncio.gather(use(), use(), return_exceptions=True)

    first, second = run(main())
    assert first == "value"
    assert isinstance(second, RuntimeError)
    assert "being awaited already" in str(second)


def test_the_second_task_of_a_future_is_refused(probe: Any, run: Run) -> None:
    async def main() -> list[Any]:
        shared = probe.sleeps(0.01, "value")
        loop = asyncio.get_running_loop()
        return await asyncio.gather(loop.create_task(shared), loop.create_task(shared), return_exceptions=True)

    first, second = run(main())
    assert first == "value"
    assert isinstance(second, RuntimeError)


@pytest.mark.parametrize("failure", [StopIteration, StopIteration(3)])
def test_failure_by_stop_iteration_is_a_runtime_error(probe: Any, run: Run, failure: Any) -> None:
    def fail() -> None:
        raise failure

    async def main() -> None:
        with pytest.raises(RuntimeError, match="coroutine raised StopIteration") as caught:
            await probe.calls(fail)
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main())
    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        run(probe.calls(fail))


def test_futures_inside_of_each_other_raise_recursion_error(probe: Any) -> None:
    async def main() -> None:
        nested = probe.sleeps(HOUR)
        for _ in range(20_000):
            nested = probe.awaits(nested)
        with pytest.raises(RecursionError):
            await nested

    # In debug mode, and with asyncio's tasks, each begins in a turn of its own.
    aioxide.run(main())


def test_a_long_row_of_futures_is_released(probe: Any) -> None:
    row = probe.unit()
    for _ in range(100_000):
        row = probe.awaits(row)
    del row


def test_what_another_thread_collects_is_dropped_at_home(probe: Any, run: Run, monkeypatch: Any) -> None:
    reports: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)
    notes = Notes()

    async def main() -> None:
        home = threading.get_ident()
        never_begun = [probe.forever(notes.polled, lambda: notes.append(str(threading.get_ident() == home)))]
        thread = threading.Thread(target=never_begun.clear)
        thread.start()
        await asyncio.to_thread(thread.join)
        del thread
        gc.collect()
        await turns(2)

    run(main())
    assert notes == ["True"]
    assert not reports


FIRST = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("probe", sys.argv[1])
probe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(probe)
try:
    {call}
except BaseException as error:
    print(error)
"""


@pytest.mark.parametrize("call", ["probe.watches(0)", "probe.polls_timer()"])
def test_the_first_call_may_be_any(probe: Any, call: str) -> None:
    command = [sys.executable, "-c", FIRST.format(call=call), probe.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert "this thread runs no loop of aioxide's" in done.stdout


def test_a_predicate_that_raises_stop_iteration_ends_its_wait(run: Run) -> None:
    def predicate() -> bool:
        raise StopIteration

    async def main() -> None:
        for package in (asyncio, aioxide):
            condition = package.Condition()
            async with condition:
                with pytest.raises(RuntimeError, match="raised StopIteration"):
                    await condition.wait_for(predicate)

    run(main())


def test_future_of_another_loop_is_refused_as_a_task_refuses_it(probe: Any, run: Run) -> None:
    other = aioxide.new_event_loop()

    async def main(future: Any) -> None:
        with pytest.raises(RuntimeError, match=r"Task .* got Future .* attached to a different loop"):
            await probe.awaits(future)
        assert not future.cancelled()

    for future in (other.create_future(), asyncio.Future(loop=other)):
        run(main(future))
        future.set_result("value")
        assert run(probe.awaits(future)) == "value"
    other.close()


def test_descriptor_of_another_loop_is_refused(probe: Any, run: Run) -> None:
    one, peer = socket.socketpair()

    async def watch() -> tuple[Any, Any]:
        return probe.waits_twice(one.detach())

    async def use(waits: Any, reads: Any) -> None:
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            await waits
        with pytest.raises(OSError, match="attached to a different loop"):
            await reads

    other = aioxide.new_event_loop()
    pair = other.run_until_complete(watch())
    run(use(*pair))
    other.close()
    peer.close()


def test_timers_are_made_and_dropped_while_other_threads_run_python(loop: Any, probe: Any) -> None:
    """The collector looks through a loop's timers, in whichever thread it runs."""
    ended = threading.Event()

    def collect() -> None:
        while not ended.is_set():
            gc.collect(0)

    async def main() -> int:
        thread = threading.Thread(target=collect)
        thread.start()
        try:
            times: int = await probe.sleeps_detached(3000)
        finally:
            ended.set()
            await loop.run_in_executor(None, thread.join)
        return times

    assert loop.run_until_complete(main()) == 3000
