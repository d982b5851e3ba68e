"""Pipe transports."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from support import Recorder


async def read_end(loop: asyncio.AbstractEventLoop) -> tuple[int, Any, Recorder]:
    reading, writing = os.pipe()
    transport, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(reading, "rb", 0))
    return writing, transport, protocol


async def write_end(loop: asyncio.AbstractEventLoop) -> tuple[int, Any, Recorder]:
    reading, writing = os.pipe()
    transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(writing, "wb", 0))
    return reading, transport, protocol


def test_reading_to_the_end(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        writing, transport, protocol = await read_end(loop)
        assert isinstance(transport, asyncio.ReadTransport)
        assert transport.get_extra_info("pipe") is not None
        os.write(writing, b"hello")
        assert await protocol.received(5) == b"hello"
        os.close(writing)
        assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert transport.is_closing()

    run(main())


def test_reading_can_be_paused(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        writing, transport, protocol = await read_end(loop)
        transport.pause_reading()
        os.write(writing, b"hello")
        for _ in range(3):
            await asyncio.sleep(0)
        assert protocol.events == ["made"]
        transport.resume_reading()
        assert await protocol.received(5) == b"hello"
        transport.close()
        await protocol.lost
        os.close(writing)

    run(main())


def test_writing(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, transport, protocol = await write_end(loop)
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.write(bytearray(b" and bye"))
        transport.writelines([b"!", b"?"])
        assert transport.can_write_eof()
        transport.write_eof()
        await protocol.lost
        assert os.read(reading, 100) == b"hello and bye!?"
        assert os.read(reading, 1) == b""
        os.close(reading)

    run(main())


def test_full_pipe_pauses_the_writer(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, transport, protocol = await write_end(loop)
        size = 1_000_000
        transport.write(b"x" * size)
        assert protocol.paused
        assert transport.get_write_buffer_size() > 0
        received = 0
        while received < size:
            received += len(await loop.run_in_executor(None, os.read, reading, 65536))
        await protocol.resumed.wait()
        transport.close()
        await protocol.lost
        os.close(reading)

    run(main())


def test_broken_pipe_ends_the_writer(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, transport, protocol = await write_end(loop)
        os.close(reading)
        assert isinstance(await protocol.lost, (BrokenPipeError, type(None)))
        assert transport.is_closing()

    run(main())


def test_writes_after_the_end_are_dropped(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, transport, protocol = await write_end(loop)
        transport.write(b"before")
        transport.close()
        assert await protocol.lost is None
        transport.write(b"after")
        transport.writelines([b"a", bytearray(b"b")])
        assert os.read(reading, 100) == b"before"
        os.close(reading)

    run(main())


def test_plain_file_is_refused(run: Any, loop: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        with (tmp_path / "file").open("wb+", 0) as file:
            with pytest.raises(ValueError, match="pipe"):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(ValueError, match="pipe"):
                await loop.connect_write_pipe(Recorder, file)

    run(main())
