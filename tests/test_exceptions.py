"""Exception handlers and the reports that they are called with."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from types import ModuleType
from typing import Any

import pytest


def drain(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_default_handler_logs(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.call_exception_handler({"message": "the message", "exception": LookupError("why"), "extra": "value"})
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.getMessage() == "the message\nextra: 'value'"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_default_handler_without_a_message(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.default_exception_handler({})
    assert caplog.records[0].getMessage() == "Unhandled exception in event loop"


def test_handler_is_called_with_the_loop_and_the_context(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[Any] = []

    def handler(which: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        calls.append((which, context))

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    context = {"message": "m"}
    loop.call_exception_handler(context)
    assert calls == [(loop, context)]


def test_handler_must_be_callable(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="callable"):
        loop.set_exception_handler("text")  # type: ignore[arg-type]


def test_handler_that_fails_is_logged(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    def handler(which: Any, context: Any) -> None:
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.call_exception_handler({"message": "m"})
    assert "Unhandled error in exception handler" in caplog.records[0].getMessage()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_handler_may_leave_the_loop(loop: asyncio.AbstractEventLoop, kind: type[BaseException]) -> None:
    def handler(which: Any, context: Any) -> None:
        raise kind

    loop.set_exception_handler(handler)
    with pytest.raises(kind):
        loop.call_exception_handler({"message": "m"})
    loop.set_exception_handler(None)


def test_exception_of_a_task_that_nobody_asked_for(loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    async def fail() -> None:
        raise LookupError("unseen")

    task = loop.create_task(fail())
    drain(loop)
    drain(loop)
    del task
    gc.collect()
    (report,) = reports.take("Task exception was never retrieved")
    assert isinstance(report["exception"], LookupError)
    assert "future" in report


def test_exception_of_a_future_that_nobody_asked_for(loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    future = loop.create_future()
    future.set_exception(LookupError("unseen"))
    del future
    gc.collect()
    reports.take("Future exception was never retrieved")


def test_pending_task_that_is_dropped(loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    async def forever() -> None:
        await loop.create_future()

    task = loop.create_task(forever())
    drain(loop)
    drain(loop)
    loop.close()
    task._coro.close() if hasattr(task, "_coro") else None  # type: ignore[attr-defined]
    del task
    gc.collect()
    reports.take("Task was destroyed but it is pending!")


def test_exception_in_a_shielded_future_after_cancel(loop: asyncio.AbstractEventLoop, run: Any, reports: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()
        outer = asyncio.shield(inner)
        outer.cancel()
        await asyncio.sleep(0)
        inner.set_exception(LookupError("unseen"))
        await asyncio.sleep(0)
        del inner

    run(main())
    gc.collect()
    assert len(reports) <= 1  # versions differ in whether it is reported
    reports.clear()


def test_exception_in_a_done_callback_of_a_future(loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    future = loop.create_future()
    order: list[str] = []
    future.add_done_callback(lambda _: 1 // 0)
    future.add_done_callback(lambda _: order.append("second"))
    future.set_result(None)
    drain(loop)
    assert order == ["second"]
    (report,) = reports.take("Exception in callback")
    assert isinstance(report["exception"], ZeroDivisionError)


def test_keyboard_interrupt_in_a_task_is_stored_and_leaves_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    task = loop.create_task(interrupt())
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert isinstance(task.exception(), KeyboardInterrupt)


def test_an_exception_derived_from_stop_iteration_is_taken_or_wrapped(loop: asyncio.AbstractEventLoop) -> None:
    class Stop(StopIteration):
        pass

    future, stop = loop.create_future(), Stop(1)
    future.set_exception(stop)
    exception = future.exception()
    wraps = isinstance(exception, RuntimeError)
    assert wraps == (sys.version_info >= (3, 13)) or sys.version_info[:2] == (3, 12)
    assert (exception.__cause__ if wraps else exception) is stop
    assert isinstance(exception, RuntimeError if wraps else Stop)
    with pytest.raises(RuntimeError if wraps else Stop):
        future.result()
    refused = loop.create_future()
    if wraps:
        refused.set_exception(StopIteration())
        assert isinstance(refused.exception(), RuntimeError)
    else:
        with pytest.raises(TypeError, match="StopIteration interacts badly with generators"):
            refused.set_exception(StopIteration())
        refused.cancel()


@pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="Python 3.11 has the first task groups")
def test_what_a_group_cannot_cancel_is_reported_in_asyncios_words(run: Any, package: ModuleType) -> None:
    messages: list[str] = []

    async def fail() -> None:
        raise LookupError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, details: messages.append(details["message"]))
        gate = loop.create_future()

        class Task(package.Task):  # type: ignore[name-defined, misc]
            def cancel(self, msg: Any = None) -> bool:
                raise ValueError("not now")

        async def wait() -> None:
            async with package.TaskGroup() as group:
                group.create_task(fail())
                await gate

        waiting = Task(wait(), loop=loop)
        for _ in range(5):
            await asyncio.sleep(0)
        gate.set_result(None)
        await asyncio.wait([waiting])
        assert type(waiting.exception()).__name__ == "ExceptionGroup"

    run(main())
    (message,) = messages
    assert message.startswith("Exception in callback TaskGroup._on_task_done(")
