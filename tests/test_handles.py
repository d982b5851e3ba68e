"""Handles: their surface, their lives, and the order in which they run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import selectors
import socket
import threading
import warnings
import weakref
from typing import Any

import pytest


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Runs what is ready now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def work(*arguments: object) -> None:
    """Something to call."""


def test_attributes(loop: Any) -> None:
    context = contextvars.copy_context()
    handle = loop.call_soon(work, 1, 2, context=context)
    assert handle._callback is work
    assert handle._args == (1, 2)
    assert handle._context is context
    assert handle._loop is loop
    assert handle._cancelled is False
    assert handle._source_traceback is None
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    assert handle._cancelled is True
    assert handle._callback is None
    assert handle._args is None
    drain(loop)


def test_many_arguments(loop: Any) -> None:
    seen: list[tuple[int, ...]] = []
    handles = [loop.call_soon(lambda *given: seen.append(given), *range(count)) for count in range(9)]
    assert [handle._args for handle in handles] == [tuple(range(count)) for count in range(9)]
    drain(loop)
    assert seen == [tuple(range(count)) for count in range(9)]


def test_repr(loop: Any) -> None:
    handle = loop.call_soon(work)
    assert repr(handle).startswith("<Handle work() at ")
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"
    timer = loop.call_later(100, work)
    assert repr(timer).startswith(f"<TimerHandle when={timer.when()} work() at ")
    timer.cancel()
    assert repr(timer) == f"<TimerHandle cancelled when={timer.when()}>"
    drain(loop)


def test_repr_in_debug_mode(loop: Any) -> None:
    loop.set_debug(True)
    for handle in (loop.call_soon(work), loop.call_later(100, work), loop.call_at(loop.time() + 100, work)):
        assert __file__ in repr(handle).partition("created at")[2]
        assert handle._source_traceback[-1].name == "test_repr_in_debug_mode"
        handle.cancel()
        assert " cancelled " in repr(handle)
        assert "work()" in repr(handle)
    drain(loop)


def test_timers_compare_by_time(loop: Any) -> None:
    now = loop.time()
    first, same, last = loop.call_at(now + 50, work), loop.call_at(now + 50, work), loop.call_at(now + 60, work)
    assert first == same
    assert hash(first) == hash(same)
    assert first <= same
    assert first >= same
    assert first < last
    assert last > first
    assert first != last
    assert first != loop.call_at(now + 50, print)
    with pytest.raises(TypeError):
        assert first < 3
    for handle in loop._scheduled:
        handle.cancel()


def test_timer_knows_whether_it_is_scheduled(loop: Any) -> None:
    timer = loop.call_later(0, work)
    assert timer._scheduled
    assert isinstance(timer, asyncio.TimerHandle)
    assert not isinstance(loop.call_soon(work), asyncio.TimerHandle)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert not timer._scheduled


def test_cancel_in_own_callback_keeps_the_call_alive(loop: Any) -> None:
    seen: list[object] = []

    def cancel(*arguments: object) -> None:
        handle.cancel()
        gc.collect()
        seen.extend(arguments)

    handle = loop.call_soon(cancel, object(), object())
    drain(loop)
    assert len(seen) == 2
    assert handle.cancelled()
    assert handle._args is None


def test_handles_can_be_weakly_referenced_and_die(loop: Any) -> None:
    references = [weakref.ref(loop.call_soon(work)), weakref.ref(loop.call_later(0, work))]
    assert None not in [reference() for reference in references]
    loop.run_until_complete(asyncio.sleep(0.001))
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_handle_in_a_cycle_is_collected(loop: Any) -> None:
    class Owner:
        handle: Any

        def method(self) -> None:
            """The callback."""

    for schedule in (loop.call_soon, lambda callback: loop.call_later(0, callback)):
        owner = Owner()
        owner.handle = schedule(owner.method)
        reference = weakref.ref(owner)
        del owner
        loop.run_until_complete(asyncio.sleep(0.001))
        gc.collect()
        assert reference() is None


def test_abandoned_loop_is_collected_with_all_it_holds(loop_factory: Any) -> None:
    class Owner:
        pass

    ours, theirs = socket.socketpair()
    with ours, theirs, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop = loop_factory()
        owner = Owner()
        owner.loop = loop  # type: ignore[attr-defined]
        loop.call_soon(work, owner)
        loop.call_later(100, work, owner)
        owner.handles = [loop.call_soon(work, owner), loop.call_later(100, work, owner)]  # type: ignore[attr-defined]
        loop.add_reader(ours, work, owner)
        loop.itself = loop
        references = [weakref.ref(loop), weakref.ref(owner)]
        del loop, owner
        gc.collect()
        assert [reference() for reference in references] == [None, None]


def test_loop_that_only_a_handle_holds_lives(loop_factory: Any) -> None:
    loop = loop_factory()
    seen: list[int] = []
    handle = loop.call_soon(seen.append, 1)
    timer = loop.call_later(0, seen.append, 2)
    del loop
    for generation in range(3):
        gc.collect(generation)
    loop = handle._loop
    assert timer._loop is loop
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == [1, 2]
    loop.close()


def test_closed_loop_keeps_nothing_open(loop_factory: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    loops = [loop_factory() for _ in range(3)]
    assert len(os.listdir("/proc/self/fd")) > before
    for loop in loops:
        loop.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_threadsafe_call_stands_in_line_with_the_others(loop: Any) -> None:
    order: list[str] = []
    loop.call_soon(order.append, "a")
    loop.call_soon_threadsafe(order.append, "b")
    loop.call_soon(order.append, "c")
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(order.append, "d"))
    thread.start()
    thread.join()
    loop.call_soon(order.append, "e")
    drain(loop)
    assert order == ["a", "b", "c", "d", "e"]


def test_wrong_calls(loop: Any) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'callback'"):
        loop.call_soon()
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        loop.call_soon(work, other=1)
    with pytest.raises(TypeError, match="multiple values for argument 'callback'"):
        loop.call_soon(work, callback=work)
    with pytest.raises(TypeError):
        loop.call_later("soon", work)
    with pytest.raises((TypeError, AssertionError)):
        loop.call_later(None, work)
    with pytest.raises((TypeError, AssertionError)):
        loop.call_at(None, work)


def test_calls_by_keyword(loop: Any) -> None:
    seen: list[str] = []
    context = contextvars.copy_context()
    loop.call_soon(callback=lambda: seen.append("soon"))
    loop.call_later(delay=0, callback=lambda: seen.append("later"), context=context)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == ["soon", "later"]


def test_selector_shows_what_is_watched(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.add_reader(ours, work, 1)
        loop.add_writer(ours, work, 2)
        key = loop._selector.get_key(ours)
        assert key.fd == ours.fileno()
        assert key.events == selectors.EVENT_READ | selectors.EVENT_WRITE
        assert [handle._args for handle in key.data] == [(1,), (2,)]
        assert ours.fileno() in loop._selector.get_map()
        loop.remove_writer(ours)
        assert loop._selector.get_key(ours.fileno()).events == selectors.EVENT_READ
        loop._selector.unregister(ours)
        with pytest.raises(KeyError):
            loop._selector.get_key(ours)
    loop.close()
    assert loop._selector is None


def test_poll_interval_is_a_knob(loop: Any, loop_name: str) -> None:
    if loop_name == "aioxide":
        assert loop.poll_interval > 0
        loop.poll_interval = 0  # as asyncio
        assert loop.poll_interval == 0
    ours, theirs = socket.socketpair()
    with ours, theirs:
        order: list[str] = []
        loop.add_reader(ours, lambda: order.append("read") or loop.remove_reader(ours))
        loop.call_soon(theirs.send, b"x")
        loop.call_soon(loop.call_soon, loop.call_soon, order.append, "third")
        loop.run_until_complete(asyncio.sleep(0.001))
        assert order == ["read", "third"]


def test_numeric_addresses_need_no_thread(loop: Any, loop_name: str) -> None:
    found = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    assert loop.run_until_complete(loop.getaddrinfo("::1", None))
    if loop_name == "aioxide":
        assert loop._default_executor is None
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    assert loop._default_executor is not None
