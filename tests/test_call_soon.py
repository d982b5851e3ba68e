"""`call_soon` and `call_soon_threadsafe`: order, contexts, handles, threads."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import gc
import threading
import weakref
from typing import Any

import pytest

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Runs what is ready, and what that makes ready, until `stop` comes round."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_callbacks_run_in_the_order_of_the_calls(loop: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    for number in range(10):
        loop.call_soon(order.append, number)
    drain(loop)
    assert order == list(range(10))


def test_arguments_arrive_as_given(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[tuple[Any, ...]] = []
    for count in range(8):
        loop.call_soon(lambda *arguments: seen.append(arguments), *range(count))
    drain(loop)
    assert seen == [tuple(range(count)) for count in range(8)]


def test_what_a_callback_adds_waits_for_the_next_iteration(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        loop.call_soon(order.append, "added")

    loop.call_soon(first)
    loop.call_soon(order.append, "second")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert order == ["first", "second"]
    drain(loop)
    assert order == ["first", "second", "added"]


def test_cancelled_callback_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []
    handle = loop.call_soon(order.append, "cancelled")
    loop.call_soon(order.append, "kept")
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    drain(loop)
    assert order == ["kept"]


def test_callback_may_cancel_a_later_one_and_itself(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []
    handles: list[asyncio.Handle] = []

    def first() -> None:
        order.append("first")
        for handle in handles:
            handle.cancel()

    handles.append(loop.call_soon(first))
    handles.append(loop.call_soon(order.append, "second"))
    drain(loop)
    assert order == ["first"]


def test_handle_is_asyncios_and_shows_what_it_calls(loop: asyncio.AbstractEventLoop) -> None:
    order: list[int] = []
    handle = loop.call_soon(order.append, 1)
    assert isinstance(handle, asyncio.Handle)
    assert handle._args == (1,)
    handle._callback(7)
    assert order == [7]
    handle._run()
    assert order == [7, 1]
    assert repr(handle).startswith("<")
    handle.cancel()
    drain(loop)
    assert order == [7, 1]


def test_callback_and_arguments_die_after_the_call(loop: asyncio.AbstractEventLoop) -> None:
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    loop.call_soon(lambda _: None, argument)
    handle = loop.call_soon(lambda _: None, argument)
    handle.cancel()
    del argument
    drain(loop)
    gc.collect()
    assert reference() is None


def test_callback_runs_in_the_context_of_the_call(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    token = VARIABLE.set("at the call")
    loop.call_soon(lambda: seen.append(VARIABLE.get()))
    VARIABLE.set("later")
    drain(loop)
    VARIABLE.reset(token)
    assert seen == ["at the call"]


def test_callback_runs_in_the_context_given_and_changes_it(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    loop.call_soon(VARIABLE.set, "changed", context=context)
    loop.call_soon(lambda: None, context=context)
    drain(loop)
    assert context[VARIABLE] == "changed"
    assert VARIABLE.get() == "unset"


def test_exception_is_reported_and_the_rest_runs(loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    order: list[str] = []

    def fail() -> None:
        raise LookupError("here")

    handle = loop.call_soon(fail)
    loop.call_soon(order.append, "after")
    drain(loop)
    assert order == ["after"]
    (report,) = reports.take("Exception in callback")
    assert isinstance(report["exception"], LookupError)
    assert report["handle"] is handle
    assert "fail" in report["message"]


def test_system_exit_leaves_the_loop_and_the_loop_goes_on_later(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []

    def leave() -> None:
        raise SystemExit(3)

    loop.call_soon(leave)
    loop.call_soon(order.append, "after")
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert not loop.is_running()
    drain(loop)
    assert order == ["after"]


def test_closed_loop_takes_no_callback(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(RuntimeError, match="closed"):
            call(print)


def test_threadsafe_calls_wake_a_waiting_loop(loop: asyncio.AbstractEventLoop) -> None:
    def stop_it() -> None:
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=stop_it)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_threadsafe_calls_of_many_threads_keep_each_threads_order(loop: asyncio.AbstractEventLoop) -> None:
    threads, calls = 8, 500
    seen: list[tuple[int, int]] = []
    left = threads * calls

    def arrive(thread: int, number: int) -> None:
        nonlocal left
        seen.append((thread, number))
        left -= 1
        if not left:
            loop.stop()

    def hammer(thread: int) -> None:
        for number in range(calls):
            loop.call_soon_threadsafe(arrive, thread, number)

    workers = [threading.Thread(target=hammer, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    for thread in range(threads):
        assert [number for owner, number in seen if owner == thread] == list(range(calls))


def test_threads_that_call_while_the_loop_closes_get_an_error(loop: asyncio.AbstractEventLoop) -> None:
    ended: list[str] = []

    def hammer() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(int)
        except RuntimeError as error:
            ended.append(str(error))

    workers = [threading.Thread(target=hammer) for _ in range(4)]
    for worker in workers:
        worker.start()
    drain(loop)
    loop.close()
    for worker in workers:
        worker.join(20)
    assert len(ended) == 4
    assert all("closed" in text for text in ended)
    if isinstance(loop._ready, collections.deque):  # type: ignore[attr-defined]
        loop._ready.clear()  # type: ignore[attr-defined] - asyncio checks first and adds later: one may slip in


def test_subclass_that_overrides_call_soon_is_obeyed(loop_factory: Any) -> None:
    kind = type(probe := loop_factory())
    probe.close()
    calls: list[str] = []

    class Loop(kind):  # type: ignore[misc, valid-type]
        def call_soon(self, callback: Any, *arguments: Any, context: Any = None) -> Any:
            calls.append(getattr(callback, "__name__", ""))
            return super().call_soon(callback, *arguments, context=context)

    loop = Loop()
    try:
        future = loop.create_future()
        future.add_done_callback(lambda future: loop.stop())
        future.set_result(None)
        loop.run_forever()
    finally:
        loop.close()
    assert calls
