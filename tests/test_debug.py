"""Debug mode: slow callbacks, wrong threads, where things were made."""

from __future__ import annotations

import asyncio
import decimal
import fractions
import logging
import socket
import sys
import threading
import time
from typing import Any

import pytest


def test_debug_can_be_switched(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True


def test_debug_takes_what_counts_as_true(loop: asyncio.AbstractEventLoop) -> None:
    for value in (1, "yes", 0, "", None):
        loop.set_debug(value)  # type: ignore[arg-type]
        assert bool(loop.get_debug()) is bool(value)
    loop.run_until_complete(asyncio.sleep(0))


def test_slow_callback_duration_can_be_set(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 5
    assert loop.slow_callback_duration == 5


def test_slow_task_is_reported_by_name(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    async def starves_the_rest() -> None:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(loop.create_task(starves_the_rest(), name="the hungry one"))
    slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert slow
    assert "starves_the_rest" in slow[0]
    assert "the hungry one" in slow[0]
    assert slow[0].startswith("Executing ")


class OnlyAnIndex:
    def __index__(self) -> int:
        return 1


class RefusesToCompare:
    def __le__(self, other: object) -> bool:
        raise ZeroDivisionError("compared")


@pytest.mark.parametrize("kind", ["call_soon", "call_later", "task", "reader"])
@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (decimal.Decimal("NaN"), decimal.InvalidOperation),
        (OnlyAnIndex(), TypeError),
        (None, TypeError),
        ("1", TypeError),
        (RefusesToCompare(), ZeroDivisionError),
    ],
    ids=["nan", "index", "none", "text", "refuses"],
)
def test_limit_that_cannot_be_compared_ends_the_run(
    loop: asyncio.AbstractEventLoop, kind: str, limit: Any, error: type[Exception]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.set_debug(True)
        loop.slow_callback_duration = limit
        if kind == "call_soon":
            loop.call_soon(loop.stop)
        elif kind == "call_later":
            loop.call_later(0.001, loop.stop)
        elif kind == "task":
            loop.create_task(asyncio.sleep(0))
        else:
            theirs.send(b"x")
            loop.add_reader(ours, loop.stop)
        with pytest.raises(error):
            loop.run_forever()
        loop.slow_callback_duration = 60
        loop.remove_reader(ours)
        loop.run_until_complete(asyncio.sleep(0.002))


@pytest.mark.parametrize("limit", [decimal.Decimal(5), fractions.Fraction(5), float("nan"), 10**400, True])
def test_limit_may_be_any_number(loop: asyncio.AbstractEventLoop, limit: Any, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = limit
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(asyncio.sleep(0))
    assert not [record for record in caplog.records if "took" in record.getMessage()]


def test_error_of_the_loops_own_report_leaves_the_loop(loop_factory: Any) -> None:
    """What an overridden `call_exception_handler` raises comes out of `run_forever`, and the loop can go on."""
    loop = loop_factory()

    class Refuses(type(loop)):  # type: ignore[misc]
        def call_exception_handler(self, context: dict[str, Any]) -> None:
            raise LookupError(context["message"][:9])

    loop.close()
    loop = Refuses()
    ran: list[int] = []
    try:
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(ran.append, 1)
        with pytest.raises(LookupError, match="Exception"):
            loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0))
        assert ran == [1]
    finally:
        loop.close()


def test_slow_reader_that_removes_itself_is_reported_by_name(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    ours, theirs = socket.socketpair()

    def slow_reader() -> None:
        loop.remove_reader(ours)
        loop.stop()

    with ours, theirs, caplog.at_level(logging.WARNING, "asyncio"):
        loop.slow_callback_duration = 0
        loop.add_reader(ours, slow_reader)
        theirs.send(b"x")
        loop.run_forever()
    slow = [record.getMessage() for record in caplog.records if "slow_reader" in record.getMessage()]
    assert slow
    assert slow[0].startswith("Executing <Handle cancelled ")


def test_fast_callback_is_not_reported(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(asyncio.sleep(0))
    assert caplog.records == []


def test_call_from_another_thread_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    caught: list[str] = []

    def call() -> None:
        for method, arguments in ((loop.call_soon, ()), (loop.call_later, (1,)), (loop.call_at, (1,))):
            try:
                method(*arguments, print)
            except RuntimeError as error:
                caught.append(str(error))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=call)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert len(caught) == 3
    assert all("Non-thread-safe operation" in text for text in caught)


def test_coroutines_are_no_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)

    async def coroutine() -> None:
        raise AssertionError

    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            call(coroutine)
        with pytest.raises(TypeError, match="callable"):
            call("text")  # type: ignore[arg-type]


def test_report_tells_where_the_callback_was_made(loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    loop.set_debug(True)
    loop.call_soon(lambda: 1 // 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    (report,) = reports.take("Exception in callback")
    assert any(frame.filename == __file__ for frame in report["source_traceback"])


def test_futures_and_tasks_know_where_they_were_made(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    future = loop.create_future()
    assert any(frame.filename == __file__ for frame in future._source_traceback)  # type: ignore[attr-defined]

    async def main() -> Any:
        return asyncio.current_task()._source_traceback  # type: ignore[union-attr]

    traceback = loop.run_until_complete(main())
    assert traceback
    del traceback[-1]
    future.cancel()


def test_origin_of_coroutines_is_tracked_while_running(loop: asyncio.AbstractEventLoop) -> None:
    before = sys.get_coroutine_origin_tracking_depth()

    async def main() -> list[int]:
        depths = [sys.get_coroutine_origin_tracking_depth()]
        loop.set_debug(False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        depths.append(sys.get_coroutine_origin_tracking_depth())
        return depths

    loop.set_debug(True)
    inside, after_switch = loop.run_until_complete(main())
    assert inside > before
    assert after_switch == before
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_environment_switches_debug_on(loop_name: str) -> None:
    import subprocess

    program = (
        "import asyncio\n"
        + ("import aioxide\n" if loop_name == "aioxide" else "")
        + f"loop = {'aioxide' if loop_name == 'aioxide' else 'asyncio'}.new_event_loop()\n"
        "print(loop.get_debug()); loop.close()"
    )
    result = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"
