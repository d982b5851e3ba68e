"""A program closes its socket under an open transport: the descriptor's number may be another connection's at once."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import Recorder, serve


@contextmanager
def reused(closed: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Closes a socket; gives a pair of which the first has its number."""
    number = closed.fileno()
    first, second = socket.socketpair()
    with first, second:
        closed.close()
        with socket.socket(fileno=os.dup2(first.fileno(), number)) as again:
            again.setblocking(False)
            second.setblocking(False)
            yield again, second


def got_nothing(peer: socket.socket) -> bool:
    try:
        return not peer.recv(100)
    except BlockingIOError:
        return True


def is_bad_descriptor(error: Any) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EBADF


async def connect(loop: asyncio.AbstractEventLoop, protocol: Any = Recorder) -> tuple[socket.socket, Any, Any, Any]:
    """A socket of the program's, its transport and protocol, and the other end."""
    ours, peer = socket.socketpair()
    transport, made = await loop.create_connection(protocol, sock=ours)
    return ours, transport, made, peer


@pytest.mark.parametrize("way", ["bytes", "bytearray", "writelines"])
def test_what_is_written_reaches_nobody_else(run: Any, loop: asyncio.AbstractEventLoop, way: str) -> None:
    async def main() -> None:
        ours, transport, protocol, peer = await connect(loop)
        with peer, reused(ours) as (_, other):
            if way == "writelines":
                transport.writelines([b"stray", b"lines"])
            else:
                transport.write(b"stray" if way == "bytes" else bytearray(b"stray"))
            assert is_bad_descriptor(await protocol.lost)
            assert protocol.events == ["made", "lost"]
            assert transport.is_closing()
            assert got_nothing(other)

    run(main())


def test_the_end_of_writing_is_nobody_elses(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, transport, protocol, peer = await connect(loop)
        with peer, reused(ours) as (number, other):
            with pytest.raises(OSError, match="Bad file descriptor"):
                transport.write_eof()
            transport.abort()
            assert await protocol.lost is None
            number.send(b"open")
            assert other.recv(10) == b"open"

    run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_closing_closes_nobody_else(run: Any, loop: asyncio.AbstractEventLoop, end: str) -> None:
    async def main() -> None:
        ours, transport, protocol, peer = await connect(loop)
        with peer, reused(ours) as (number, other):
            getattr(transport, end)()
            assert await protocol.lost is None
            number.send(b"open")
            assert other.recv(10) == b"open"

    run(main())


class Buffered(Recorder, asyncio.BufferedProtocol):
    """Notes what it gets into a buffer of its own."""

    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(100)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


@pytest.mark.parametrize("kind", ["data", "buffered", "streams"])
def test_what_is_received_is_nobody_elses(run: Any, loop: asyncio.AbstractEventLoop, kind: str) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        reader = asyncio.StreamReader()
        lost = loop.create_future()

        class Streams(asyncio.StreamReaderProtocol):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                lost.set_result(exc)

        factory: Any = {"data": Recorder, "buffered": Buffered, "streams": lambda: Streams(reader)}[kind]
        transport: Any
        transport, protocol = await loop.create_connection(factory, sock=ours)
        # A duplicate keeps the connection, and with it the selector's interest in the number, alive.
        with peer, socket.socket(fileno=socket.dup(ours.fileno())), reused(ours) as (number, other):
            other.send(b"private")
            peer.send(b"wakes")
            transport._read_ready()
            if kind == "streams":
                assert is_bad_descriptor(await lost)
                assert not reader._buffer  # type: ignore[attr-defined]
            else:
                assert is_bad_descriptor(await protocol.lost)
                assert not protocol.data
            assert number.recv(100) == b"private"

    run(main())


def test_an_accepted_connection_whose_socket_was_asked_for(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            with reused(peer.transport.get_extra_info("socket")._sock) as (_, other):
                peer.transport.write(b"stray")
                assert is_bad_descriptor(await peer.lost)
                assert got_nothing(other)
            assert await client.lost is None
            transport.close()

    run(main())


def test_resuming_watches_nobody_else(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, transport, protocol, peer = await connect(loop)
        transport.pause_reading()
        with peer:
            ours.close()
            with pytest.raises(OSError, match="file descriptor"):
                transport.resume_reading()
            transport.abort()
            assert await protocol.lost is None

    run(main())


def test_a_socket_of_a_class_of_its_own(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Noted(socket.socket):
        """Has more fields than the class it derives from."""

        __slots__ = ("note",)

    async def main() -> None:
        plain, peer = socket.socketpair()
        ours = Noted(fileno=plain.detach())
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        peer.send(b"in")
        assert await protocol.received(2) == b"in"
        with peer, reused(ours) as (_, other):
            transport.write(b"stray")
            assert is_bad_descriptor(await protocol.lost)
            assert got_nothing(other)

    run(main())


def test_an_object_that_is_no_socket(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Wrapped:
        """Has a socket, which does everything."""

        def __init__(self, inner: socket.socket) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    async def main() -> None:
        inner, peer = socket.socketpair()
        inner.setblocking(False)
        wrapped: Any = Wrapped(inner)
        transport, protocol = await loop.create_connection(Recorder, sock=wrapped)
        peer.send(b"in")
        assert await protocol.received(2) == b"in"
        transport.write(b"out")
        assert peer.recv(10) == b"out"
        with peer, reused(inner) as (_, other):
            transport.write(b"stray")
            assert is_bad_descriptor(await protocol.lost)
            assert got_nothing(other)

    run(main())


def test_a_detached_socket(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, transport, protocol, peer = await connect(loop)
        with peer, socket.socket(fileno=ours.detach()) as again:
            transport.write(b"stray")
            assert is_bad_descriptor(await protocol.lost)
            again.send(b"open")
            peer.setblocking(False)
            assert peer.recv(100) == b"open"

    run(main())


class Errors(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.arrived: list[bytes] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.arrived.append(data)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.mark.parametrize("connected", [False, True])
def test_datagrams(run: Any, loop: asyncio.AbstractEventLoop, connected: bool) -> None:
    async def main() -> None:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            target.setblocking(False)
            address = None if connected else target.getsockname()
            if connected:
                ours.connect(target.getsockname())
            transport: Any
            transport, protocol = await loop.create_datagram_endpoint(Errors, sock=ours)
            transport.sendto(b"first", address)
            transport.sendto(b"second", address)
            assert [target.recv(100) for _ in range(2)] == [b"first", b"second"]
            with reused(ours) as (number, other):
                transport.sendto(b"stray", address)
                transport.sendto(b"stray", ("127.0.0.1", 9) if not connected else None)
                other.send(b"private")
                transport._read_ready()
                assert [is_bad_descriptor(error) for error in protocol.errors] == [True] * 3
                assert number.recv(100) == b"private"
                assert got_nothing(other)
                assert got_nothing(target)
                assert not protocol.arrived
                transport.close()
                assert await protocol.lost is None
                number.send(b"open")
                assert other.recv(10) == b"open"

    run(main())


def test_a_datagram_socket_with_the_same_number(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, others = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with others, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            target.setblocking(False)
            ours.bind(("127.0.0.1", 0))
            transport, protocol = await loop.create_datagram_endpoint(Errors, sock=ours)
            number = ours.fileno()
            ours.close()
            with socket.socket(fileno=os.dup2(others.fileno(), number)):
                for _ in range(2):
                    transport.sendto(b"stray", target.getsockname())
                assert [is_bad_descriptor(error) for error in protocol.errors] == [True] * 2
                assert got_nothing(target)
                transport.abort()
                assert await protocol.lost is None

    run(main())


def test_sock_methods_that_wait(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        waiting = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await asyncio.sleep(0)
        # A duplicate keeps the connection, and with it the selector's interest in the number, alive.
        with peer, socket.socket(fileno=socket.dup(ours.fileno())), reused(ours) as (number, other):
            other.send(b"private")
            peer.send(b"wakes")
            with pytest.raises(OSError, match="Bad file descriptor"):
                await waiting
            assert number.recv(100) == b"private"

    run(main())


def test_nothing_is_left_behind(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Known(socket.socket):
        """Can be counted."""

    def left() -> int:
        gc.collect()
        return sum(type(thing) is Known for thing in gc.get_objects())

    async def main() -> None:
        kept: list[Any] = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            ours, peer = socket.socketpair(socket.AF_UNIX, kind)
            known = Known(fileno=ours.detach())
            transport: Any
            protocol: Any
            if kind == socket.SOCK_STREAM:
                transport, protocol = await loop.create_connection(Recorder, sock=known)
            else:
                transport, protocol = await loop.create_datagram_endpoint(Errors, sock=known)
            known.close()
            del known
            transport.abort()
            await protocol.lost
            await asyncio.sleep(0)
            assert transport._sock is None
            transport._extra.clear()
            kept.append(transport)
            peer.close()

    run(main())
    assert left() == 0
