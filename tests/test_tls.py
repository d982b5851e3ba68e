"""TLS over the interpreter's own OpenSSL, on both ends."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from typing import Any

import pytest
from support import Recorder, serve


def client_options(context: ssl.SSLContext) -> dict[str, Any]:
    return {"ssl": context, "server_hostname": "localhost"}


def test_echo_and_extra_info(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server, **client_options(client_context))
            peer = await peers.get()
            assert isinstance(transport, asyncio.Transport)
            assert not transport.can_write_eof()
            transport.write(b"hello")
            assert await peer.received(5) == b"hello"
            peer.transport.writelines([b"ba", bytearray(b"ck")])
            assert await client.received(4) == b"back"
            assert transport.get_extra_info("sslcontext") is client_context
            assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            assert transport.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
            assert transport.get_extra_info("cipher")[1] == "TLSv1.3"
            assert transport.get_extra_info("compression") is None
            assert transport.get_extra_info("peername") == server
            assert transport.get_extra_info("socket").getpeername() == server
            transport.close()
            await client.lost
            await peer.lost

    run(main())


def test_much_data_both_ways(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    data = os.urandom(2_000_000)

    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server, **client_options(client_context))
            peer = await peers.get()
            transport.write(data)
            peer.transport.write(data[::-1])
            received = await asyncio.gather(peer.received(len(data)), client.received(len(data)))
            assert received == [data, data[::-1]]
            transport.close()
            await client.lost

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(
    run: Any,
    loop: asyncio.AbstractEventLoop,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    version: ssl.TLSVersion,
) -> None:
    client_context.maximum_version = client_context.minimum_version = version

    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server, **client_options(client_context))
            transport.write(b"hello")
            assert await (await peers.get()).received(5) == b"hello"
            transport.close()
            await client.lost

    run(main())


def test_certificate_of_nobody_is_refused(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, _):
            with pytest.raises(ssl.SSLCertVerificationError):
                await loop.create_connection(Recorder, *server, ssl=True, server_hostname="localhost")

    run(main())


def test_wrong_name_is_refused(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, _):
            with pytest.raises(ssl.SSLCertVerificationError, match="other"):
                await loop.create_connection(Recorder, *server, ssl=client_context, server_hostname="other")

    run(main())


def test_handshake_that_takes_too_long(
    run: Any, loop: asyncio.AbstractEventLoop, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            pytest.raises(ConnectionAbortedError, match="handshake"),
        ):
            await loop.create_connection(
                Recorder, *silent.getsockname(), **client_options(client_context), ssl_handshake_timeout=0.02
            )

    run(main())


def test_peer_that_goes_away_during_the_handshake(
    run: Any, loop: asyncio.AbstractEventLoop, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            connecting = asyncio.ensure_future(
                loop.create_connection(Recorder, *server, **client_options(client_context))
            )
            (await peers.get()).transport.abort()
            with pytest.raises(OSError):
                await connecting

    run(main())


def test_start_tls(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop) as (server, peers):
            plain, client = await loop.create_connection(Recorder, *server)
            peer = await peers.get()
            plain.write(b"plain")
            await peer.received(5)
            upgrade = asyncio.ensure_future(loop.start_tls(peer.transport, peer, server_context, server_side=True))
            secure = await loop.start_tls(plain, client, client_context, server_hostname="localhost")
            assert isinstance(secure, asyncio.Transport)
            peer.transport = await upgrade
            secure.write(b"secret")
            assert await peer.received(11) == b"plainsecret"
            secure.close()
            await client.lost

    run(main())


def test_wrong_arguments(run: Any, loop: asyncio.AbstractEventLoop, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serve(loop) as (server, _):
            transport, client = await loop.create_connection(Recorder, *server)
            with pytest.raises(TypeError, match="SSLContext"):
                await loop.start_tls(transport, client, True)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="ssl_handshake_timeout"):
                await loop.create_connection(Recorder, *server, ssl_handshake_timeout=1)
            with pytest.raises(TypeError, match="ssl"):
                await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)  # type: ignore[call-overload]
            transport.close()
            await client.lost

    run(main())


def test_close_with_unread_data_ends_at_once(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server, **client_options(client_context))
            peer = await peers.get()
            transport.pause_reading()
            peer.transport.write(b"x" * 300_000)
            for _ in range(10):
                await asyncio.sleep(0)
            transport.abort()
            await client.lost
            await peer.lost

    run(main())


def test_slow_reader_pauses_and_resumes_the_writer(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            transport, client = await loop.create_connection(Recorder, *server, **client_options(client_context))
            peer = await peers.get()
            peer.transport.pause_reading()
            written = 0
            while not client.paused:
                transport.write(b"x" * 200_000)
                written += 200_000
                await asyncio.sleep(0)
            peer.transport.resume_reading()
            await client.resumed.wait()
            assert len(await peer.received(written)) == written
            transport.close()
            await client.lost

    run(main())


class Keeper(Recorder):
    """Keeps every message as it came, and pauses after some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []
        self.copies: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.kept.append(data)
        self.copies.append(bytes(bytearray(data)))
        if len(self.kept) % 3 == 0:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)
        super().data_received(data)


@pytest.mark.parametrize("size", [1, 1000, 16_384, 16_385, 100_000, 700_000])
def test_messages_stay_what_they_were(
    run: Any,
    loop: asyncio.AbstractEventLoop,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    size: int,
) -> None:
    """The memory of a message is used again only once nobody has the message any more."""
    messages = [os.urandom(size) for _ in range(8)]

    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            transport, client = await loop.create_connection(Keeper, *server, **client_options(client_context))
            peer = await peers.get()
            for number, message in enumerate(messages, 1):
                peer.transport.write(message)
                if number % 2:
                    await client.received(number * size)
            assert await client.received(len(messages) * size) == b"".join(messages)
            assert all(type(data) is bytes for data in client.kept)
            assert client.kept == client.copies
            transport.close()
            await client.lost

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls came with 3.11")
def test_streams(run: Any, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await writer.start_tls(server_context)
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            ended.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(client_context, server_hostname="localhost")
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        await ended.wait()
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TLS in TLS came with 3.11")
def test_tls_in_tls(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(loop, ssl=server_context) as (server, peers):
            outer, client = await loop.create_connection(Recorder, *server, **client_options(client_context))
            peer = await peers.get()
            upgrade = asyncio.ensure_future(loop.start_tls(peer.transport, peer, server_context, server_side=True))
            inner = await loop.start_tls(outer, client, client_context, server_hostname="localhost")
            assert inner is not None
            peer.transport = await upgrade
            inner.write(b"hidden twice")
            assert await peer.received(12) == b"hidden twice"
            inner.close()
            await client.lost

    run(main())
