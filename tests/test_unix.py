"""UNIX sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from support import Recorder, serve


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


def test_echo(run: Any, loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serve(loop, path=path) as (_, peers):
            transport, client = await loop.create_unix_connection(Recorder, path)
            assert transport.get_extra_info("socket").family == socket.AF_UNIX
            assert transport.get_extra_info("peername") == path
            transport.write(b"hello")
            peer = await peers.get()
            assert await peer.received(5) == b"hello"
            peer.transport.write(b"back")
            assert await client.received(4) == b"back"
            transport.close()
            await client.lost

    run(main())


def test_streams(run: Any, path: str) -> None:
    async def main() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_unix_server(handle, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_stale_socket_is_replaced_and_a_file_is_not(run: Any, loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        async with serve(loop, path=path):
            assert stat.S_ISSOCK(os.stat(path).st_mode)
        Path(path).unlink(missing_ok=True)
        Path(path).touch()
        with pytest.raises(OSError, match="in use"):
            await loop.create_unix_server(Recorder, path)

    run(main())


def test_missing_socket(run: Any, loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)

    run(main())


def test_wrong_arguments(run: Any, loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as ready:
            with pytest.raises(ValueError, match="UNIX"):
                await loop.create_unix_connection(Recorder, sock=tcp)
            with pytest.raises(ValueError, match="path and sock"):
                await loop.create_unix_connection(Recorder, path, sock=ready)
        with pytest.raises(ValueError, match="path"):
            await loop.create_unix_server(Recorder)

    run(main())


def test_socket_pair(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one, two = socket.socketpair()
        first, left = await loop.create_unix_connection(Recorder, sock=one)
        second, right = await loop.create_connection(Recorder, sock=two)
        first.write(b"over")
        assert await right.received(4) == b"over"
        second.close()
        await left.lost
        await right.lost

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="came with 3.13")
@pytest.mark.parametrize("clean", [True, False])
def test_socket_is_removed_at_the_end_if_asked(
    run: Any, loop: asyncio.AbstractEventLoop, path: str, clean: bool
) -> None:
    async def main() -> None:
        async with serve(loop, path=path, cleanup_socket=clean):
            assert os.path.exists(path)
        assert os.path.exists(path) is not clean

    run(main())


def test_abstract_name(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has abstract names")

    async def main() -> None:
        name = f"\0aioxide-test-{os.getpid()}"
        async with serve(loop, path=name) as (_, peers):
            transport, client = await loop.create_unix_connection(Recorder, name)
            await peers.get()
            transport.close()
            await client.lost

    run(main())
