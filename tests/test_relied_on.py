"""What real libraries read, set and count on beyond asyncio's documentation; docs/compat.md says who does."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support import Recorder, serve


async def wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


# The loop


def test_private_attributes_of_the_loop(loop: Any) -> None:
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert (loop._closed, loop._stopping, loop._debug) == (False, False, False)
    assert (loop._default_executor, loop._executor_shutdown_called) == (None, False)
    assert loop._clock_resolution > 0
    assert len(loop._asyncgens) == 0
    assert loop._current_handle is None
    for name in ("_run_once", "_check_closed", "_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook"):
        assert callable(getattr(loop, name)), name
    loop._check_closed()
    loop._set_coroutine_origin_tracking(False)
    timer = loop.call_later(100, print)
    assert loop._scheduled[0]._when == timer.when()
    timer.cancel()
    loop.close()
    assert loop._closed
    with pytest.raises(RuntimeError, match="closed"):
        loop._check_closed()


def test_one_iteration_by_hand(loop: Any) -> None:
    order: list[str] = []
    loop.call_soon(order.append, "one")
    loop.call_soon(lambda: loop.call_soon(order.append, "two"))
    loop._run_once()
    assert order == ["one"]
    loop._run_once()
    assert order == ["one", "two"]


def test_stop_that_is_taken_back(loop: Any) -> None:
    loop.stop()
    assert loop._stopping
    loop._stopping = False
    assert loop.run_until_complete(asyncio.sleep(0.001, "result")) == "result"


def test_selector_lets_go_of_a_descriptor(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.add_reader(ours, pytest.fail)
        loop._selector.unregister(ours.fileno())
        with pytest.raises(KeyError):
            loop._selector.unregister(ours.fileno())
        theirs.send(b"x")
        loop.run_until_complete(asyncio.sleep(0.001))


def test_factory_that_asks_the_one_before(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []

    def first(loop: Any, coroutine: Any, **options: Any) -> Any:
        calls.append("first")
        return asyncio.Task(coroutine, loop=loop, **options)

    def second(loop: Any, coroutine: Any, **options: Any) -> Any:
        calls.append("second")
        return before(loop, coroutine, **options)

    async def main() -> None:
        await asyncio.create_task(asyncio.sleep(0), name="name")

    loop.set_task_factory(first)
    before: Any = loop.get_task_factory()
    loop.set_task_factory(second)
    loop.run_until_complete(main())
    loop.set_task_factory(None)
    assert calls == ["second", "first"] * 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_factory_is_recognised_and_gives_its_task_class(loop_name: str, loop: asyncio.AbstractEventLoop) -> None:
    stock = asyncio.eager_task_factory
    if loop_name == "aioxide":
        import aioxide

        aioxide.install()
        try:
            assert asyncio.eager_task_factory is stock
        finally:
            aioxide.uninstall()
    factory = asyncio.create_eager_task_factory(asyncio.Task)
    loop.set_task_factory(factory)
    found: Any = loop.get_task_factory()
    assert found.__code__ is stock.__code__  # type: ignore[attr-defined]
    construct = found.__closure__[0].cell_contents

    async def main() -> str:
        task = construct(asyncio.sleep(0, "result"), loop=loop, name="name")
        assert not task.done()
        return await task  # type: ignore[no-any-return]

    assert loop.run_until_complete(main()) == "result"
    loop.set_task_factory(None)


@pytest.mark.parametrize("method", ["sock_accept", "sock_recv", "sock_connect"])
def test_waiting_on_a_socket_that_is_cancelled_can_be_undone_again(
    run: Any, loop: asyncio.AbstractEventLoop, method: str
) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        with near, far, socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as client:
            for each in (near, listener, client):
                each.setblocking(False)
            fillers = [socket.socket() for _ in range(3)]
            if method == "sock_connect":
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(listener.getsockname())
            sock, call = {
                "sock_accept": (listener, lambda: loop.sock_accept(listener)),
                "sock_recv": (near, lambda: loop.sock_recv(near, 1)),
                "sock_connect": (client, lambda: loop.sock_connect(client, listener.getsockname())),
            }[method]
            task: asyncio.Future[Any] = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert loop.remove_reader(sock) is False
            assert loop.remove_writer(sock) is False
            for filler in fillers:
                filler.close()

    run(main())


# Tasks


@pytest.fixture(params=["asyncio", "of the loop"])
def task_class(request: pytest.FixtureRequest, loop_name: str) -> Any:
    if request.param == "of the loop" and loop_name == "aioxide":
        import aioxide

        return aioxide.Task
    return asyncio.Task


def test_task_that_was_never_initialised(loop: asyncio.AbstractEventLoop, task_class: Any) -> None:
    """A server's scheduler enters itself as the current task without being one."""
    from asyncio.tasks import _enter_task, _leave_task, _register_task  # type: ignore[attr-defined]

    class Scheduler(task_class):  # type: ignore[misc]
        def __init__(self) -> None:
            self.callbacks_run = 0

        def done(self) -> bool:
            return False

        def result(self) -> None:
            return None

        def cancel(self, msg: Any = None) -> bool:
            return False

        def get_loop(self) -> asyncio.AbstractEventLoop:
            return loop

    async def main() -> None:
        scheduler = Scheduler()
        _register_task(scheduler)
        current: Any = asyncio.current_task()
        _leave_task(loop, current)
        _enter_task(loop, scheduler)
        try:
            assert asyncio.current_task() is scheduler
            assert isinstance(scheduler, asyncio.Task)
        finally:
            _leave_task(loop, scheduler)
            _enter_task(loop, current)
        assert asyncio.current_task() is current
        reference = weakref.ref(scheduler)
        del scheduler
        gc.collect()
        assert reference() is None
        assert asyncio.all_tasks() == {current}, "it is in no list any more"

    loop.run_until_complete(main())


def test_message_of_a_cancellation_goes_through_everybody_who_waits(run: Any) -> None:
    async def inner() -> None:
        await wait_for_ever()

    async def middle() -> None:
        await asyncio.ensure_future(inner())

    async def outer() -> None:
        await middle()

    async def main() -> None:
        task = asyncio.ensure_future(outer())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel("Cancelled via the scope")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        messages = []
        error: BaseException | None = caught.value
        while error is not None:
            messages += error.args
            error = error.__context__
        assert "Cancelled via the scope" in messages

    run(main())


def test_source_of_a_task_can_be_shortened(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        task: Any = loop.create_task(asyncio.sleep(0))
        if task._source_traceback is not None:
            length = len(task._source_traceback)
            del task._source_traceback[-1]
            assert len(task._source_traceback) == length - 1
        await task

    run(main())
    loop.set_debug(True)
    run(main())


def test_report_of_a_lost_task_can_be_switched_off(loop: asyncio.AbstractEventLoop, task_class: Any) -> None:
    coroutine = wait_for_ever()
    task = task_class(coroutine, loop=loop)
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False
    del task
    loop.close()
    gc.collect()
    coroutine.close()


def test_started_and_waiting_coroutines_can_be_told_apart(run: Any) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(wait_for_ever())
        coroutine: Any = task.get_coro()
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
        task.cancel()
        await asyncio.wait([task])
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="came with 3.14")
def test_who_awaits_whom_can_be_set(run: Any) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(wait_for_ever())
        host = asyncio.current_task()
        asyncio.future_add_to_awaited_by(task, host)  # type: ignore[attr-defined]
        assert task._asyncio_awaited_by == {host}  # type: ignore[attr-defined]
        asyncio.future_discard_from_awaited_by(task, host)  # type: ignore[attr-defined]
        assert not task._asyncio_awaited_by  # type: ignore[attr-defined]
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_handles_can_be_looked_into_and_run(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []
    handle: Any = loop.call_soon(seen.append, 1)
    timer: Any = loop.call_later(0, seen.append, 2)
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert (handle._callback, handle._args) == (seen.append, (1,))
    assert timer.when() <= loop.time()
    handle._run()
    assert seen == [1]
    handle.cancel()
    assert handle.cancelled()
    timer.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [1]


# Transports


def test_protocol_set_while_data_waits_gets_all_of_it(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, first = await loop.create_connection(Recorder, *address)
            peer = await peers.get()
            transport.pause_reading()
            peer.transport.write(b"x" * 100_000)
            for _ in range(5):
                await asyncio.sleep(0)
            second = Recorder()
            transport.set_protocol(second)
            transport.resume_reading()
            assert len(await second.received(100_000)) == 100_000
            assert not first.data
            transport.close()
            await second.lost

    run(main())


def test_protocol_set_by_the_one_before_in_the_middle_of_the_data(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.set_protocol(second)
            second.connection_made(self.transport)
            second.data_received(data[7:])

    async def main() -> None:
        async with serve(loop) as (address, peers):
            nonlocal second
            second = Recorder()
            await loop.create_connection(Upgrading, *address)
            peer = await peers.get()
            peer.transport.write(b"upgradefirst")
            assert await second.received(5) == b"first"
            peer.transport.write(b"second")
            assert await second.received(11) == b"firstsecond"
            second.transport.close()
            await second.lost
            assert second.events == ["made", "data", "lost"]

    second: Recorder
    run(main())


def test_writing_to_a_lost_connection_is_logged_from_the_fifth_time(
    run: Any, loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serve(loop) as (address, _):
            transport, client = await loop.create_connection(Recorder, *address)
            transport.abort()
            await client.lost
            for _ in range(4):
                transport.write(b"x")
            assert not caplog.records
            transport.write(b"x")

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main())
    assert [record.message for record in caplog.records] == ["socket.send() raised exception."]


def test_ending_the_sending_half_of_a_lost_connection(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, client = await loop.create_connection(Recorder, *address)
            (await peers.get()).transport.abort()
            await client.lost
            assert transport.is_closing()
            transport.write_eof()
            transport.pause_reading()
            transport.close()
            transport.abort()

    run(main())


def test_accepted_unix_connection_tells_what_a_server_asks(
    run: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main() -> None:
        async with serve(loop, path=str(tmp_path / "socket")) as (path, peers):
            transport, _ = await loop.create_unix_connection(Recorder, path)
            peer = await peers.get()
            info = peer.transport.get_extra_info
            assert info("socket").getpeername() == ""
            assert info("socket").getsockname() == info("sockname") == path
            assert info("peername") == ""
            assert not info("sslcontext")
            transport.close()

    run(main())


def test_marks_by_which_helpers_tell_transports(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, client = await loop.create_connection(Recorder, *address)
            peer = (await peers.get()).transport
            for each in (transport, peer):
                assert each._start_tls_compatible is True  # type: ignore[attr-defined]
                assert each._sendfile_compatible.name == "TRY_NATIVE"  # type: ignore[attr-defined]
                assert each._sock.fileno() == each.get_extra_info("socket").fileno()  # type: ignore[attr-defined]
                assert not type(each).__module__.startswith("uvloop")
            transport.close()
            await client.lost

    run(main())


def test_streams_of_a_child_show_their_protocol_and_transport(run: Any) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        writer: Any = process.stdin
        assert writer._protocol._paused is False
        writer._transport.close()
        assert await process.wait() == 0

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="came to wait with 3.12")
def test_server_waits_for_its_connections(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        transport, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        while not server._active_count if sys.version_info < (3, 13) else not server._clients:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        transport.close()
        await client.lost
        await waiting

    run(main())


def silent_tls_server(context: ssl.SSLContext, listener: socket.socket, over: threading.Event) -> None:
    """Sends more than anybody reads, and never answers the end of the connection."""
    connection, _ = listener.accept()
    with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
        secure.sendall(b"x" * 100_000)
        over.wait(30)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio's TLS of Python 3.10 waits for the peer")
@pytest.mark.parametrize("how", ["close", "abort"])
def test_tls_with_unread_data_does_not_wait_for_the_peer(
    run: Any,
    loop: asyncio.AbstractEventLoop,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    how: str,
) -> None:
    async def main() -> None:
        over = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            arguments = (server_context, listener, over)
            thread = threading.Thread(target=silent_tls_server, args=arguments)
            thread.start()
            try:
                transport, client = await loop.create_connection(
                    Recorder, *listener.getsockname(), ssl=client_context, server_hostname="localhost"
                )
                transport.pause_reading()
                started = loop.time()
                getattr(transport, how)()
                await client.lost
                assert loop.time() - started < 5
            finally:
                over.set()
                thread.join()

    run(main())


# Signals


def test_call_from_a_handler_of_the_program_wakes_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    """As `asyncio.Runner` does on an interrupt."""
    stopped = loop.create_future()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopped.set_result(number)
        loop.call_soon_threadsafe(lambda: None)

    before = signal.signal(signal.SIGUSR2, on_signal)
    sender = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR2))
    sender.start()
    try:
        assert loop.run_until_complete(asyncio.wait_for(stopped, 10)) == signal.SIGUSR2
    finally:
        sender.join()
        signal.signal(signal.SIGUSR2, before)
