"""TCP: transports, flow control, protocols, servers and what libraries read off them."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import struct
import sys
from asyncio import trsock
from pathlib import Path
from typing import Any

import pytest
from support import Recorder, serve


def test_echo_through_protocols(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            transport.write(b"hello")
            peer = await peers.get()
            assert await peer.received(5) == b"hello"
            peer.transport.write(b"back")
            assert await client.received(4) == b"back"
            transport.close()
            assert await peer.lost is None
            assert await client.lost is None
            assert client.events == ["made", "data", "lost"]
            assert peer.events == ["made", "data", "eof", "lost"]

    run(main())


def test_transport_is_asyncios_and_tells_about_the_socket(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_protocol() is client
            wrapped = transport.get_extra_info("socket")
            assert isinstance(wrapped, trsock.TransportSocket)
            assert wrapped.getpeername() == server
            assert wrapped.family == socket.AF_INET
            wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert transport.get_extra_info("peername") == server
            assert transport.get_extra_info("sockname") == peer.transport.get_extra_info("peername")
            assert transport.get_extra_info("sslcontext") is None
            assert transport.get_extra_info("nonsense", "default") == "default"
            assert wrapped.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert transport._sock.fileno() == wrapped.fileno()  # type: ignore[attr-defined]
            transport.close()

    run(main())


def test_write_of_a_buffer_that_changes_afterwards(run: Any, loop: asyncio.AbstractEventLoop, loop_name: str) -> None:
    if loop_name == "asyncio" and sys.version_info >= (3, 12):
        pytest.skip("asyncio keeps the caller's own buffer since 3.12")

    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, _ = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            peer.transport.pause_reading()
            filler = b"." * 4_000_000  # more than the kernel takes: what follows is kept by the transport
            buffer = bytearray(b"before")
            transport.write(filler)
            transport.write(memoryview(buffer))
            transport.write(buffer)
            buffer[:] = b"AFTER!"
            peer.transport.resume_reading()
            received = await peer.received(len(filler) + 12)
            assert received[-12:] == b"beforebefore"
            transport.close()

    run(main())


@pytest.mark.parametrize("kind", [list, iter])
def test_writelines_joins_its_buffers(run: Any, loop: asyncio.AbstractEventLoop, kind: Any) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            transport.writelines(kind([b"one", bytearray(b"two"), memoryview(b"three")]))
            assert await (await peers.get()).received(11) == b"onetwothree"
            transport.close()
            await client.lost

    run(main())


def test_write_refuses_text(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, _):
            transport, _ = await loop.create_connection(Recorder, *server)
            with pytest.raises(TypeError):
                transport.write("text")  # type: ignore[arg-type]
            transport.close()

    run(main())


def test_slow_reader_pauses_and_resumes_the_writer(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            peer.transport.pause_reading()
            peer.transport.pause_reading()
            assert not peer.transport.is_reading()
            transport.set_write_buffer_limits(high=100_000, low=10_000)
            assert transport.get_write_buffer_limits() == (10_000, 100_000)
            written = 0
            while not client.paused:
                transport.write(b"x" * 50_000)
                written += 50_000
                await asyncio.sleep(0)
            assert transport.get_write_buffer_size() > 100_000
            peer.transport.resume_reading()
            peer.transport.resume_reading()
            await client.resumed.wait()
            assert transport.get_write_buffer_size() <= 10_000
            assert len(await peer.received(written)) == written
            transport.close()

    run(main())


def test_limit_of_zero_pauses_while_anything_is_kept(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            transport.set_write_buffer_limits(0)
            transport.write(b"small")
            assert not client.paused
            transport.write(b"x" * 8_000_000)
            assert client.paused
            await client.resumed.wait()
            assert transport.get_write_buffer_size() == 0
            transport.close()
            assert len(await (await peers.get()).received(8_000_005)) == 8_000_005

    run(main())


def test_close_sends_what_is_kept(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            transport.write(b"x" * 8_000_000)
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert len(await (await peers.get()).received(8_000_000)) == 8_000_000
            assert await client.lost is None

    run(main())


def test_abort_drops_what_is_kept(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            peer.transport.pause_reading()
            transport.write(b"x" * 8_000_000)
            transport.abort()
            assert await client.lost is None
            assert transport.get_write_buffer_size() == 0
            peer.transport.resume_reading()
            await peer.lost
            assert len(peer.data) < 8_000_000

    run(main())


def test_write_after_close_is_dropped_in_silence(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            transport.close()
            transport.write(b"dropped")
            await client.lost
            transport.write(b"dropped")
            await peer.lost
            assert bytes(peer.data) == b""

    run(main())


def test_half_close_by_write_eof(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop, keep_open=True) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            assert transport.can_write_eof()
            transport.write(b"question")
            transport.write_eof()
            transport.write_eof()
            with pytest.raises(RuntimeError):
                transport.write(b"more")
            assert await peer.received(8) == b"question"
            await peer.ended.wait()
            peer.transport.write(b"answer")
            peer.transport.close()
            assert await client.received(6) == b"answer"
            await client.lost

    run(main())


def test_reset_by_the_peer_is_given_to_the_protocol(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            with socket.create_connection(server) as raw:
                peer = await peers.get()
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert isinstance(await peer.lost, ConnectionResetError)

    run(main())


def test_set_protocol_in_the_middle(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, first = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            peer.transport.write(b"one")
            assert await first.received(3) == b"one"
            second = Recorder()
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            peer.transport.write(b"two")
            assert await second.received(3) == b"two"
            transport.close()
            await second.lost
            assert not first.lost.done()

    run(main())


class Buffered(asyncio.BufferedProtocol):
    """Receives into one small buffer of its own."""

    def __init__(self) -> None:
        self.buffer = bytearray(7)
        self.data = bytearray()
        self.asked: list[int] = []
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        self.asked.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_buffered_protocol_receives_into_its_buffer(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    data = os.urandom(1000)

    async def main() -> None:
        async with serve(loop) as (server, peers):
            _, protocol = await loop.create_connection(Buffered, *server)
            peer = await peers.get()
            peer.transport.write(data)
            peer.transport.close()
            assert await protocol.lost is None
            assert bytes(protocol.data) == data
            assert protocol.asked

    run(main())


def test_exception_in_data_received_closes_the_transport(
    run: Any, loop: asyncio.AbstractEventLoop, reports: Any
) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise LookupError("in data_received")

    async def main() -> None:
        async with serve(loop) as (server, peers):
            _, client = await loop.create_connection(Failing, *server)
            (await peers.get()).transport.write(b"x")
            assert isinstance(await client.lost, LookupError)

    run(main())
    (report,) = reports.take("Fatal error")
    assert isinstance(report["exception"], LookupError)
    assert {"transport", "protocol"} <= set(report)


def test_server_object(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is loop
        assert not server.is_serving()
        await server.start_serving()
        assert server.is_serving()
        assert isinstance(server.sockets, tuple)
        assert server.sockets[0].getsockname()[1] > 0
        async with server:
            serving = asyncio.ensure_future(server.serve_forever())
            await asyncio.sleep(0)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
        assert not server.is_serving()
        assert server.sockets == ()
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.parametrize("backlog", [-(2**40), -1, 0, 2**31 - 1, 2**40])
def test_backlogs_that_listen_takes(run: Any, loop: asyncio.AbstractEventLoop, backlog: int) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            try:
                sock.listen(backlog)
            except OverflowError as error:
                expected = str(error)
            else:
                server = await loop.create_server(asyncio.Protocol, sock=sock, backlog=backlog)
                assert server.is_serving()
                server.close()
                return
            with pytest.raises(OverflowError, match=expected):
                await loop.create_server(asyncio.Protocol, sock=sock, backlog=backlog)

    run(main())


@pytest.mark.parametrize("backlog", [-1, 0])
def test_server_without_a_backlog_accepts(
    run: Any, loop: asyncio.AbstractEventLoop, loop_name: str, backlog: int
) -> None:
    if loop_name == "asyncio" and (sys.version_info < (3, 14) or backlog < 0):
        pytest.skip("asyncio accepts none, and does not wait any more")

    async def main() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0, backlog=backlog)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(b"data")
            client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
            assert await loop.sock_recv(client, 1) == b""
        server.close()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="came with 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_server_ends_its_clients(run: Any, loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            _, client = await loop.create_connection(Recorder, *address)
            await peers.get()
            getattr(peers.server, method)()
            await client.lost

    run(main())


def test_port_in_use_is_an_os_error(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(OSError, match="address already in use"),
        ):
            await loop.create_server(Recorder, *taken.getsockname())

    run(main())


def test_connection_refused_and_wrong_arguments(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Recorder, *unused.getsockname())
            with pytest.raises(ValueError, match="sock"):
                await loop.create_connection(Recorder)
            with pytest.raises(ValueError, match="sock"):
                await loop.create_connection(Recorder, "127.0.0.1", 1, sock=unused)
        with pytest.raises(ValueError, match="server_hostname"):
            await loop.create_connection(Recorder, "127.0.0.1", 1, server_hostname="name")

    run(main())


def test_cancelled_connection_leaves_no_descriptor(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for turns in range(12):
                connecting = asyncio.ensure_future(loop.create_connection(Recorder, *listener.getsockname()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if connecting.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await connecting
                else:
                    (await connecting)[0].abort()
                    await asyncio.sleep(0)

    run(main())


def test_connect_accepted_socket(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as raw,
        ):
            accepted, _ = listener.accept()
            transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
            raw.sendall(b"hello")
            assert await protocol.received(5) == b"hello"
            transport.close()
            await protocol.lost

    run(main())


def test_sendfile_through_a_transport(run: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(500_000))

    async def main() -> None:
        async with serve(loop) as (server, peers):
            transport, _ = await loop.create_connection(Recorder, *server)
            transport.write(b"head")
            with path.open("rb") as file:
                assert await loop.sendfile(transport, file) == 500_000
            transport.write(b"tail")
            received = await (await peers.get()).received(500_008)
            assert received == b"head" + path.read_bytes() + b"tail"
            transport.close()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 15), reason="from Python 3.15 on")
def test_protocol_runs_in_one_context(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)

    class Counter(asyncio.Protocol):
        def __init__(self) -> None:
            self.seen: list[int] = []
            self.lost = loop.create_future()

        def note(self) -> None:
            self.seen.append(number.get())
            number.set(number.get() + 1)

        def connection_made(self, transport: Any) -> None:
            self.note()
            transport.write(b"x")

        def data_received(self, data: bytes) -> None:
            self.note()

        def eof_received(self) -> None:
            self.note()

        def connection_lost(self, exc: Exception | None) -> None:
            self.note()
            self.lost.set_result(None)

    async def main() -> None:
        number.set(10)
        served: list[Counter] = []

        def factory() -> Counter:
            served.append(Counter())
            return served[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        number.set(20)
        for _ in range(2):
            transport, client = await loop.create_connection(Counter, *server.sockets[0].getsockname())
            transport.write_eof()
            await client.lost
            assert client.seen[:2] == [20, 21]
        for protocol in served:
            await protocol.lost
            assert protocol.seen == [10, 11, 12, 13]
        assert number.get() == 20
        server.close()

    run(main())


def test_many_small_pieces_are_written_in_order(run: Any) -> None:
    """More than the system takes at once, and more than the socket does: of several types, some of them empty."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, recorder = await loop.create_connection(Recorder, sock=ours)
        pieces: list[Any] = []
        for number in range(20_000):
            text = b"%d," % number * (number % 7)
            pieces.append((bytes, bytearray, memoryview)[number % 3](text))
        transport.writelines(pieces)
        transport.write(b"end")
        expected = b"".join(pieces) + b"end"
        received = bytearray()
        while len(received) < len(expected):
            received += await loop.sock_recv(theirs, 1 << 16)
        assert received == expected
        transport.close()
        await recorder.lost
        theirs.close()

    run(main())
