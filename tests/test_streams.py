"""asyncio's stream classes over our transports, and what libraries do with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    """Gives the reader and writer of both ends of a connection."""
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    far_reader, far_writer = await accepted
    try:
        yield reader, writer, far_reader, far_writer
    finally:
        for each in (writer, far_writer):
            each.close()
            await each.wait_closed()
        server.close()
        await server.wait_closed()


def test_reading_by_lines_counts_and_separators(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            writer.write(b"line\nexact")
            writer.writelines([b"until;", b"rest"])
            assert await reader.readline() == b"line\n"
            assert await reader.readexactly(5) == b"exact"
            assert await reader.readuntil(b";") == b"until;"
            writer.write_eof()
            assert await reader.read() == b"rest"
            assert reader.at_eof()

    run(main())


def test_end_in_the_middle(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            writer.write(b"abc")
            writer.write_eof()
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(10)
            assert caught.value.partial == b"abc"

    run(main())


def test_buffer_of_the_reader_can_be_looked_at(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            assert not reader._buffer
            writer.write(b"two\nlines\n")
            await reader.readline()
            assert reader._buffer
            await reader.readline()
            assert not reader._buffer

    run(main())


def test_drain_waits_for_a_slow_reader(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            size = 0
            while not writer._protocol._paused:
                writer.write(b"x" * 1_000_000)
                size += 1_000_000
                await asyncio.sleep(0)
            draining = asyncio.ensure_future(writer.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            await reader.readexactly(size)
            await draining

    run(main())


def test_lines_longer_than_the_limit(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            writer.write(b"x" * 200_000)
            with pytest.raises(asyncio.LimitOverrunError):
                await reader.readuntil(b"\n")
            assert len(await reader.readexactly(200_000)) == 200_000

    run(main())


def test_streams_made_by_hand(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Protocol(asyncio.StreamReaderProtocol):
        lost = False

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.lost = True

    async def main() -> None:
        def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello\n")
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader = asyncio.StreamReader(limit=100, loop=loop)
        protocol = Protocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, *server.sockets[0].getsockname())
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        assert writer.transport is transport
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()
        assert protocol.lost
        server.close()
        await server.wait_closed()

    run(main())


def test_exception_set_on_the_reader(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, _):
            reading = asyncio.ensure_future(reader.read(1))
            await asyncio.sleep(0)
            reader.set_exception(LookupError("set"))
            with pytest.raises(LookupError):
                await reading

    run(main())


def test_half_closed_peer_gets_its_answer(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, far_reader, far_writer):
            writer.write(b"question")
            assert writer.can_write_eof()
            writer.write_eof()
            assert await far_reader.read() == b"question"
            far_writer.write(b"answer")
            await far_writer.drain()
            assert await reader.readexactly(6) == b"answer"

    run(main())


def test_iteration_over_lines(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            writer.write(b"one\ntwo\n")
            writer.write_eof()
            assert [line async for line in reader] == [b"one\n", b"two\n"]

    run(main())
