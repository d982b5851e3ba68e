"""Datagram endpoints."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest


class Datagrams(asyncio.DatagramProtocol):
    """Queues what arrives."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.arrived.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_datagrams_go_both_ways(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, received = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, replies = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        assert isinstance(client, asyncio.BaseTransport)
        assert client.get_extra_info("peername") == address
        client.sendto(b"one")
        client.sendto(bytearray(b"two"), address)
        assert await received.arrived.get() == (b"one", client.get_extra_info("sockname"))
        data, sender = await received.arrived.get()
        assert data == b"two"
        server.sendto(b"", sender)
        server.sendto(b"back", sender)
        last, _ = await replies.arrived.get()
        assert last in (b"", b"back")  # stock asyncio sends no empty datagram on every version
        for transport, protocol in ((client, replies), (server, received)):
            transport.close()
            assert transport.is_closing()
            assert await protocol.lost is None

    run(main())


def test_many_datagrams_arrive_in_order(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, received = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        client, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=server.get_extra_info("sockname"))
        for number in range(100):
            client.sendto(b"%d" % number)
            assert (await received.arrived.get())[0] == b"%d" % number
        client.abort()
        server.abort()
        await asyncio.sleep(0)

    run(main())


def test_refusal_by_the_peer_is_an_error_of_the_protocol(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        client, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        client.sendto(b"x")
        assert isinstance(await protocol.errors.get(), ConnectionRefusedError)
        client.close()
        await protocol.lost

    run(main())


def test_connected_endpoint_refuses_another_address(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        client, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=("127.0.0.1", 9))
        with pytest.raises(ValueError, match="address"):
            client.sendto(b"x", ("127.0.0.1", 10))
        client.close()
        await protocol.lost

    run(main())


def test_ready_socket_and_wrong_arguments(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ready = socket.socket(type=socket.SOCK_DGRAM)
        ready.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="sock"):
            await loop.create_datagram_endpoint(Datagrams, sock=ready, local_addr=("127.0.0.1", 0))
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=ready)
        assert transport.get_extra_info("socket").fileno() == ready.fileno()
        transport.close()
        await protocol.lost
        with pytest.raises(ValueError, match="family"):
            await loop.create_datagram_endpoint(Datagrams)

    run(main())


def test_unix_datagrams(run: Any, loop: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        server, received = await loop.create_datagram_endpoint(Datagrams, path, family=socket.AF_UNIX)
        client, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=path, family=socket.AF_UNIX)
        client.sendto(b"hello")
        assert (await received.arrived.get())[0] == b"hello"
        client.close()
        server.close()
        await received.lost

    run(main())
