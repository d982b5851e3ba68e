"""Handles of `call_soon_threadsafe`: cancelled by other threads, at any time."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# A thread that does not wait as it should has gone on after so long.
SECONDS_TO_GO_ON = 0.05
waits = pytest.mark.skipif(sys.version_info < (3, 14), reason="a cancellation waits from 3.14 on")


def drain(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[None]:
    """Runs a function in a thread of its own while the block runs."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_cancelled_before_its_turn_it_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    handles = [loop.call_soon_threadsafe(ran.append, number) for number in range(3)]
    with beside(handles[1].cancel):
        pass
    drain(loop)
    assert ran == [0, 2]
    assert [handle.cancelled() for handle in handles] == [False, True, False]


def test_it_may_cancel_itself(loop: Any) -> None:
    runs: list[int] = []

    def callback() -> None:
        runs.append(len(runs))
        handle.cancel()
        assert handle.cancelled()

    handle = loop.call_soon_threadsafe(callback)
    drain(loop)
    if sys.version_info >= (3, 14):
        handle._run()
    assert runs == [0]
    assert handle._callback is None


def test_what_it_is_called(loop: Any) -> None:
    handle = loop.call_soon_threadsafe(print)
    name = "_ThreadSafeHandle" if sys.version_info >= (3, 14) else "Handle"
    assert handle.__class__.__name__ == name
    assert repr(handle).startswith(f"<{name} print")
    assert isinstance(handle, asyncio.Handle)
    assert loop.call_soon(print).__class__ is asyncio.Handle
    handle.cancel()
    assert repr(handle) == f"<{name} cancelled>"
    drain(loop)


@waits
@pytest.mark.parametrize("method", ["cancel", "cancelled", "_run"])
def test_another_thread_waits_for_the_callback_that_runs(loop: Any, method: str) -> None:
    order: list[str] = []
    runs, comes = threading.Event(), threading.Event()

    def callback() -> None:
        if runs.is_set():
            order.append("runs again")
            return
        runs.set()
        comes.wait()
        time.sleep(SECONDS_TO_GO_ON)
        order.append("callback ends")

    def other() -> None:
        runs.wait()
        comes.set()
        getattr(handle, method)()
        order.append(method)

    handle = loop.call_soon_threadsafe(callback)
    with beside(other):
        drain(loop)
    assert order == ["callback ends", *["runs again"][: method == "_run"], method]
    assert handle.cancelled() is (method == "cancel")


@waits
def test_after_a_cancellation_nothing_runs_any_more(loop: Any) -> None:
    begun: list[int] = []
    ended: list[int] = []
    handles: list[Any] = []
    wrong: list[int] = []

    def callback(number: int) -> None:
        begun.append(number)
        time.sleep(0.001)
        ended.append(number)

    def cancel_all() -> None:
        for number, handle in enumerate(handles):
            handle.cancel()
            if (number in begun) is not (number in ended):
                wrong.append(number)

    handles += [loop.call_soon_threadsafe(callback, number) for number in range(30)]
    with beside(cancel_all), beside(cancel_all), beside(cancel_all):
        drain(loop)
    assert not wrong
    assert begun == ended


@waits
def test_a_signal_reaches_who_waits(loop: Any) -> None:
    runs, go_on = threading.Event(), threading.Event()
    main = threading.get_ident()

    def callback() -> None:
        runs.set()
        go_on.wait()

    def handler(*_: object) -> None:
        raise ZeroDivisionError

    def send() -> None:
        time.sleep(SECONDS_TO_GO_ON)
        signal.pthread_kill(main, signal.SIGUSR1)

    def cancel() -> None:
        with beside(send):
            handle.cancel()

    before = signal.signal(signal.SIGUSR1, handler)
    handle = loop.call_soon_threadsafe(callback)
    try:
        with beside(lambda: drain(loop)):
            runs.wait()
            try:
                with pytest.raises(ZeroDivisionError):
                    cancel()
            finally:
                go_on.set()
    finally:
        signal.signal(signal.SIGUSR1, before)
