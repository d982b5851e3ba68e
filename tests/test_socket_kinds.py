"""Sockets as programs have them: derived classes, blocking ones, closed ones, of rare kinds."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from support import Recorder

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


class Counting(socket.socket):
    """A socket that notes which of its methods are called."""

    called: ClassVar[set[str]] = set()

    def accept(self) -> Any:
        self.called.add("accept")
        return super().accept()

    def recv(self, *args: Any) -> bytes:
        self.called.add("recv")
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        self.called.add("recv_into")
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.called.add("send")
        return super().send(*args)

    def close(self) -> None:
        self.called.add("close")
        super().close()


def test_methods_of_a_derived_class_are_called(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        Counting.called = set()
        ours, theirs = socket.socketpair()
        derived = Counting(fileno=ours.detach())
        theirs.setblocking(False)
        transport, recorder = await loop.create_connection(Recorder, sock=derived)
        transport.write(b"out")
        theirs.send(b"in")
        assert await recorder.received(2) == b"in"
        assert await loop.sock_recv(theirs, 10) == b"out"
        transport.close()
        await recorder.lost
        theirs.close()
        assert {"recv", "send", "close"} <= Counting.called

    run(main())


def test_server_accepts_through_a_derived_class(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        Counting.called = set()
        listener = Counting()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        made = loop.create_future()
        server = await loop.create_server(lambda: Recorder(made=made.set_result), sock=listener)
        with socket.create_connection(listener.getsockname()):
            recorder = await made
            assert "accept" in Counting.called
        await recorder.lost
        server.close()
        await server.wait_closed()

    run(main())


# What Python's methods say of nothing to receive: they do not ask the system.
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_receiving_nothing_does_not_wait(run: Any, kind: socket.SocketKind) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with ours, theirs:
            ours.setblocking(False)
            assert await loop.sock_recv(ours, 0) == b""
            assert await loop.sock_recv_into(ours, bytearray()) == 0
            if kind == socket.SOCK_STREAM:
                await loop.sock_sendall(ours, b"")

    run(main())


def test_blocking_socket_does_not_stop_other_threads(run: Any) -> None:
    threads: list[threading.Thread] = []

    def later(call: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=call))
        threads[-1].start()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(False)
        ours, theirs = socket.socketpair()
        with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
            later(lambda: theirs.send(b"x"))
            assert await loop.sock_recv(ours, 10) == b"x"
            later(lambda: theirs.send(b"y"))
            memory = bytearray(10)
            assert await loop.sock_recv_into(ours, memory) == 1
            data = bytes(4_000_000)
            later(lambda: [theirs.recv(100_000, socket.MSG_WAITALL) for _ in range(40)])
            await loop.sock_sendall(ours, data)
            later(lambda: socket.create_connection(listener.getsockname()).close())
            accepted, _ = await loop.sock_accept(listener)
            accepted.close()
            for thread in threads:
                thread.join()

    run(main())


def test_transport_of_a_socket_that_was_made_blocking_again(run: Any, pair: Pair) -> None:
    """Whoever shares the open file may clear the flag; neither a full buffer nor an empty one stops the loop then."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = pair
        shared = ours.dup()
        transport, recorder = await loop.create_connection(Recorder, sock=ours)
        if type(loop) is asyncio.SelectorEventLoop:
            transport.abort()
            shared.close()
            return  # asyncio's loop stands still
        os.set_blocking(shared.fileno(), True)
        transport.write(bytes(4_000_000))
        assert transport.get_write_buffer_size() > 0
        received = 0
        while received < 4_000_000:
            received += len(await loop.sock_recv(theirs, 1 << 20))
        theirs.send(b"x")
        assert await recorder.received(1) == b"x"
        transport.close()
        await recorder.lost
        shared.close()

    run(main())


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
@pytest.mark.parametrize("asked_before", [True, False])
def test_what_is_known_of_a_connection_stays_known_after_its_end(
    run: Any, tmp_path: Any, family: socket.AddressFamily, asked_before: bool
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = loop.create_future()
        listener = socket.socket(family)
        listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket"))
        is_unix = family == socket.AF_UNIX
        factory = lambda: Recorder(made=made.set_result)  # noqa: E731 - short
        serve = loop.create_unix_server if is_unix else loop.create_server
        server = await serve(factory, sock=listener)
        ours = socket.socket(family)
        ours.connect(listener.getsockname())
        ours.setblocking(False)
        names = {"peername": ours.getsockname(), "sockname": listener.getsockname()}
        client_names = {"peername": ours.getpeername(), "sockname": ours.getsockname()}
        connect = loop.create_unix_connection if is_unix else loop.create_connection
        transport, client = await connect(Recorder, sock=ours)
        recorder = await made
        for side in (client, recorder):
            if asked_before:
                assert side.transport.get_extra_info("socket").fileno() > 0
        transport.close()
        await client.lost
        await recorder.lost
        for side, known in ((client, client_names), (recorder, names)):
            for name, value in known.items():
                assert side.transport.get_extra_info(name) == value
            shown = side.transport.get_extra_info("socket")
            assert (shown.family, shown.fileno()) == (family, -1)
        server.close()
        await server.wait_closed()

    run(main())


def test_accepted_socket_is_of_its_listeners_kind(run: Any, tmp_path: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            listener.setblocking(False)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
                ours.connect(listener.getsockname())
                accepted, peer = await loop.sock_accept(listener)
                with accepted:
                    assert (accepted.family, accepted.type, peer) == (socket.AF_UNIX, socket.SOCK_SEQPACKET, "")
                    assert accepted.gettimeout() == 0

    run(main())


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="a family that Rust does not know")
def test_connection_of_a_family_that_only_python_knows(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        kind = (socket.AF_VSOCK, socket.SOCK_STREAM)
        with socket.socket(*kind) as listener, socket.socket(*kind) as ours:
            try:
                listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
                listener.listen()
                ours.connect((1, listener.getsockname()[1]))  # the machine itself
            except OSError as error:
                pytest.skip(f"no such connection here: {error}")
            listener.setblocking(False)
            accepted, peer = await loop.sock_accept(listener)
            assert (accepted.family, peer) == (socket.AF_VSOCK, ours.getsockname())
            names = (accepted.getsockname(), accepted.getpeername())
            transport, recorder = await loop.create_connection(Recorder, sock=accepted)
            ours.close()
            await recorder.lost
            assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == names

    run(main())
