"""Transports when something goes wrong: no descriptors left, exceptions of protocols, forgotten connections."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import resource
import socket
import struct
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import Recorder, serve

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Lowers the limit to what is open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_accepting_without_descriptors_is_tried_again(
    run: Any, loop: asyncio.AbstractEventLoop, reports: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.01)

    async def main() -> None:
        refused = loop.create_future()

        def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            reports.append(context)
            if not refused.done():
                refused.set_result(None)

        loop.set_exception_handler(report)
        async with serve(loop) as (address, peers):
            with socket.socket() as client:
                client.setblocking(False)
                with no_descriptor_left():
                    client.connect_ex(address)
                    await refused
                peer = await peers.get()
                client.send(b"late")
                assert await peer.received(4) == b"late"
            # asyncio sets a timer for each of its hundred attempts, and none of them may find the server closed.
            await asyncio.sleep(0.02)
        loop.set_exception_handler(None)

    run(main())
    assert reports
    for context in reports:
        assert context["message"] == "socket.accept() out of system resource"
        assert isinstance(context["exception"], OSError)
    reports.clear()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_factory_that_fails_drops_the_connection(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        def factory() -> asyncio.Protocol:
            raise RuntimeError("no protocol today")

        server = await loop.create_server(factory, "127.0.0.1", 0)
        _, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await protocol.lost
        server.close()
        await server.wait_closed()

    run(main())
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("made", [None, 5])
def test_factory_that_makes_no_protocol(run: Any, loop: asyncio.AbstractEventLoop, made: Any) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            ours = socket.create_connection(address)
            ours.setblocking(False)
            peer = await peers.get()
            with ours, pytest.raises(AttributeError, match="has no attribute 'connection_made'"):
                await loop.create_connection(lambda: made, sock=ours)
            await peer.lost

    run(main())
    gc.collect()


def test_closing_a_transport_of_a_closed_loop(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()

    async def main() -> asyncio.Transport:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        return transport

    transport = run(main())
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    assert transport.is_closing()
    transport.close()
    transport.abort()
    theirs.close()
    kept = [transport]
    del transport

    def forget() -> None:
        kept.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed transport"):
        forget()
    ours.close()


def test_memory_that_nothing_can_be_received_into(run: Any, loop: asyncio.AbstractEventLoop, reports: Any) -> None:
    class ReadOnly(Recorder, asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> Any:
            return b"read only"

        def buffer_updated(self, nbytes: int) -> None:
            raise AssertionError

    text = "recv_into() argument 1 must be read-write bytes-like object, not bytes"

    async def main() -> None:
        async with serve(loop) as (address, peers):
            _, protocol = await loop.create_connection(ReadOnly, *address)
            (await peers.get()).transport.write(b"x")
            assert str(await protocol.lost) == text
        [report] = reports.take("Fatal read error on socket transport")
        assert type(report["exception"]) is TypeError
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            for memory in (b"read only", None, 5, memoryview(bytearray(4))[::2]):
                with pytest.raises(TypeError, match="must be read-write bytes-like object, not"):
                    await loop.sock_recv_into(ours, memory)  # type: ignore[arg-type]

    run(main())


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_factory_may_close_its_server(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            server.close()
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            while not made:
                await asyncio.sleep(0)
            assert not server.is_serving()

    run(main())
    gc.collect()


@pytest.mark.parametrize("method", ["connection_made", "connection_lost", "eof_received"])
def test_exception_of_a_protocol_is_reported(
    run: Any, loop: asyncio.AbstractEventLoop, reports: Any, method: str
) -> None:
    class Failing(Recorder):
        pass

    def fail(self: Recorder, *args: Any) -> None:
        getattr(Recorder, method)(self, *args)
        raise ZeroDivisionError(method)

    setattr(Failing, method, fail)

    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, protocol = await loop.create_connection(Failing, *address)
            peer = await peers.get()
            assert transport.get_protocol() is protocol
            # The connection works all the same.
            transport.write(b"hello")
            assert await peer.received(5) == b"hello"
            peer.transport.close()
            await protocol.lost

    run(main())
    (report,) = reports
    assert isinstance(report["exception"], ZeroDivisionError)
    if method == "eof_received":
        assert report["message"] == "Fatal error: protocol.eof_received() call failed."
        assert set(report) == {"message", "exception", "transport", "protocol"}
    else:
        assert report["message"].startswith("Exception in callback ")
        assert isinstance(report["handle"], asyncio.Handle)
    reports.clear()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_forgotten_transport_is_closed_with_a_warning(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, protocol = await loop.create_connection(Recorder, *address)
            peer = await peers.get()
            transport.pause_reading()
            protocol.transport = None
            with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031 - nothing but these two refers to them
                del transport, protocol
                gc.collect()
            await peer.ended.wait()

    run(main())


def test_closed_transport_is_freed(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Tracked(Recorder):
        pass

    async def main() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        async with serve(loop) as (address, _):
            transport, protocol = await loop.create_connection(Tracked, *address)
            references = weakref.ref(transport), weakref.ref(protocol)
            transport.close()
            await protocol.lost
            return references

    transport, protocol = run(main())
    gc.collect()
    assert transport() is None
    assert protocol() is None


def test_context_of_the_callbacks(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    class Looking(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(variable.get())
            variable.set("made")
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())
            variable.set("data")
            super().data_received(data)

    async def main() -> None:
        variable.set("main")
        async with serve(loop) as (address, peers):
            transport, protocol = await loop.create_connection(Looking, *address)
            peer = await peers.get()
            peer.transport.write(b"1")
            await protocol.received(1)
            peer.transport.write(b"2")
            await protocol.received(2)
            transport.close()
            await protocol.lost

    run(main())
    # connection_made has a context of its own up to Python 3.14; those of data_received share theirs.
    assert seen == ["main", "made" if sys.version_info >= (3, 15) else "main", "data"]


def test_pieces_of_every_kind_arrive_in_order(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    pieces = [bytes([number % 256]) * (number * 37 % 5000) for number in range(1500)]

    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, _ = await loop.create_connection(Recorder, *address)
            peer = await peers.get()
            transport.writelines(pieces)
            transport.writelines([bytearray(piece) for piece in pieces])
            for kind in (bytes, bytearray, memoryview):
                for piece in pieces:
                    transport.write(kind(piece))
            expected = b"".join(pieces) * 5
            assert await peer.received(len(expected)) == expected

    run(main())


@pytest.mark.parametrize("aborts", [False, True])
def test_writing_after_the_end_reaches_no_other_connection(
    run: Any, loop: asyncio.AbstractEventLoop, reports: Any, loop_name: str, aborts: bool
) -> None:
    class Aborting(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if aborts:
                self.transport.abort()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, protocol = await loop.create_connection(Aborting, sock=ours)
        number = ours.fileno()
        transport.write(bytes(3_000_000))
        transport.close()
        while not protocol.lost.done():
            await loop.sock_recv(theirs, 1_000_000)
        assert protocol.lost.result() is None
        other, peer = socket.socketpair()
        peer.setblocking(False)
        with theirs, other, peer:
            assert other.fileno() == number
            if loop_name == "asyncio":
                return  # its late writes fail on attributes that it has cleared
            transport.write(b"late")
            transport.write(bytearray(b"late"))
            transport.writelines([b"late", b"late"])
            transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(BlockingIOError):
                peer.recv(100)

    run(main())
    if loop_name == "asyncio":
        run(asyncio.sleep(0))
        reports.clear()  # it calls the protocol a second time


@pytest.mark.parametrize("end", ["close", "abort"])
def test_ended_while_writing_is_resumed(
    run: Any, loop: asyncio.AbstractEventLoop, reports: Any, loop_name: str, end: str
) -> None:
    class Ending(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            getattr(self.transport, end)()

    async def main() -> None:
        async with serve(loop) as (address, peers):
            transport, protocol = await loop.create_connection(Ending, *address)
            transport.set_write_buffer_limits(1)
            transport.write(bytes(10_000_000))
            assert protocol.paused
            peer = await peers.get()
            assert await protocol.lost is None
            assert len(await peer.received(10_000_000)) == 10_000_000
            await peer.lost
            await asyncio.sleep(0)

    run(main())
    if loop_name == "asyncio":
        reports.clear()  # it calls the protocol a second time


def test_reset_while_much_is_kept(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
            peer, _ = listener.accept()
            transport.write(b"x" * 10_000_000)
            assert protocol.paused
            assert transport.get_write_buffer_size() > 0
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            assert isinstance(await protocol.lost, ConnectionError)
            assert transport.get_write_buffer_size() == 0

    run(main())


def test_reader_of_a_derived_class_is_fed(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Counting(asyncio.StreamReader):
        fed = 0

        def feed_data(self, data: bytes) -> None:
            self.fed += len(data)
            super().feed_data(data)

    async def main() -> None:
        async with serve(loop) as (address, peers):
            reader = Counting(loop=loop)
            transport, protocol = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader, loop=loop), *address
            )
            peer = await peers.get()
            peer.transport.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert reader.fed == 5
            transport.close()
            await protocol._get_close_waiter(None)  # type: ignore[attr-defined]

    run(main())


def test_reader_stops_at_twice_its_limit(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            reader, writer = await asyncio.open_connection(*address, limit=1000)
            peer = await peers.get()
            peer.transport.write(b"x" * 3_000_000)
            while writer.transport.is_reading():  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            assert len(reader._buffer) > 2000  # type: ignore[attr-defined]
            assert len(await reader.readexactly(3_000_000)) == 3_000_000
            writer.close()
            await writer.wait_closed()

    run(main())


def test_what_is_open_when_the_interpreter_ends(loop_name: str) -> None:
    program = """
import asyncio, sys
from conftest import factory

class Echo(asyncio.Protocol):
    def data_received(self, data):
        pass

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    return server, await loop.create_connection(Echo, *server.sockets[0].getsockname())

loop = factory(sys.argv[1])()
kept = loop.run_until_complete(main())
if sys.argv[2] == "closed":
    loop.close()
"""
    for state in ("open", "closed"):
        command = [sys.executable, "-W", "ignore", "-c", program, loop_name, state]
        folder = os.path.dirname(__file__)
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([folder, *sys.path]))
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        assert "panicked" not in ended.stderr


@pytest.mark.parametrize("kept", ["by a name", "by asyncio", "by itself"])
@pytest.mark.parametrize("holding", ["nothing", "a task", "connections", "a signal handler", "an executor"])
def test_loop_that_is_open_when_the_interpreter_ends_only_warns(loop_name: str, kept: str, holding: str) -> None:
    program = """
import asyncio, signal, sys
from conftest import factory

async def connect():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    return server, await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())

_, name, kept, holding = sys.argv
loop = factory(name)()
what = {
    "nothing": lambda: None,
    "a task": lambda: loop.create_task(asyncio.sleep(100)),
    "connections": lambda: loop.run_until_complete(connect()),
    "a signal handler": lambda: loop.add_signal_handler(signal.SIGUSR1, print),
    "an executor": lambda: loop.run_until_complete(loop.run_in_executor(None, int)),
}[holding]()
loop.run_until_complete(asyncio.sleep(0))
if kept == "by asyncio":
    asyncio.set_event_loop(loop)
    del loop
elif kept == "by itself":
    loop.itself, loop.what = loop, what
    del loop, what
"""
    folder = os.path.dirname(__file__)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([folder, *sys.path]))
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", program, loop_name, kept, holding]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0
    assert "Error" not in ended.stderr, ended.stderr
    assert "Exception" not in ended.stderr, ended.stderr
    if kept == "by a name":
        assert "unclosed event loop" in ended.stderr
