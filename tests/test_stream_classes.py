"""Streams are asyncio's classes to whoever derives from them, replaces their methods or looks under the cover."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import struct
import sys
import warnings
import weakref
from typing import Any
from unittest import mock

import pytest

from tests.test_streams import connected


def is_ours(stream: object) -> bool:
    return type(stream).__module__ == "aioxide.streams"


def test_our_loop_gives_our_classes_and_asyncio_its_own(run: Any, loop_name: str) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, far_reader, far_writer):
            for stream in (reader, writer, far_reader, far_writer, writer._protocol):
                assert is_ours(stream) == (loop_name == "aioxide")
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            assert isinstance(writer._protocol, asyncio.StreamReaderProtocol)
        assert is_ours(asyncio.StreamReader()) == (loop_name == "aioxide")

    run(main())


def test_signatures_and_mocks_of_the_classes_are_as_ever() -> None:
    import aioxide.event_loop  # noqa: F401 - it changes `__new__`

    if sys.version_info >= (3, 11, 7):  # early inspect knows no signature of a class with a `__new__` that is no Python
        assert list(inspect.signature(asyncio.StreamReader).parameters) == ["limit", "loop"]
    assert inspect.iscoroutinefunction(asyncio.StreamReader.read)
    reader = mock.create_autospec(asyncio.StreamReader, instance=True)
    assert isinstance(reader, asyncio.StreamReader)
    with pytest.raises(ValueError, match="Limit"):
        asyncio.StreamReader(limit=0, loop=mock.Mock())


def test_wrong_arguments_are_refused_as_ever(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            asyncio.StreamReader(limit=-1, loop=loop)
        with pytest.raises(TypeError):
            asyncio.StreamReader(1, loop, 3)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            asyncio.StreamReader(other=1)  # type: ignore[call-arg]
        reader = asyncio.StreamReader(loop=loop)
        with pytest.raises(TypeError):
            await reader.read("1")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await reader.read(1, 2)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            await reader.readexactly()  # type: ignore[call-arg]
        with pytest.raises(AssertionError):
            asyncio.StreamWriter(mock.Mock(), mock.Mock(), mock.Mock(), loop)

    run(main())


def test_writer_that_is_its_own_transport_ends_in_a_recursion_error(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        writer = asyncio.StreamWriter(mock.Mock(), protocol, reader, loop)
        writer._transport = writer  # type: ignore[assignment]
        with pytest.raises(RecursionError):
            writer.write(b"data")
        writer._transport = mock.Mock(spec=asyncio.Transport)

    run(main())


class Plain:
    pass


@pytest.mark.parametrize("cls", [asyncio.StreamReader, asyncio.StreamReaderProtocol, asyncio.StreamWriter])
@pytest.mark.parametrize("given", [5, None, "text", int, list, type, Plain, object])
def test_new_is_that_of_object_for_what_is_no_such_class(cls: Any, given: Any) -> None:
    import aioxide.event_loop  # noqa: F401 - it changes `__new__`

    def outcome(new: Any) -> tuple[type, str]:
        try:
            return type(new(given)), ""
        except TypeError as error:
            return TypeError, str(error)

    assert outcome(cls.__new__) == outcome(object.__new__)
    with pytest.raises(TypeError):
        cls.__new__()


def test_derived_classes_are_obeyed(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Reader(asyncio.StreamReader):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return super().__new__(cls)

        def feed_data(self, data: Any) -> None:
            super().feed_data(data.upper())

        async def readuntil(self, separator: Any = b"\n") -> bytes:
            return b"<" + await super().readuntil(separator) + b">"

    class Protocol(asyncio.StreamReaderProtocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data + b"!\n")

    class Writer(asyncio.StreamWriter):
        def write(self, data: Any) -> None:
            super().write(data * 2)

    async def main() -> None:
        received = asyncio.get_running_loop().create_future()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(await reader.readexactly(4))
            writer.write(b"hello")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader = Reader(loop=loop)
        protocol = Protocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, *server.sockets[0].getsockname())
        writer = Writer(transport, protocol, reader, loop)
        assert type(reader) is Reader
        assert type(protocol) is Protocol
        assert type(writer) is Writer
        writer.write(b"ab")
        await writer.drain()
        assert await received == b"abab"
        assert await reader.readline() == b"<HELLO!\n>"
        assert [line async for line in reader] == []
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_derived_class_with_another_base_is_made(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Reader(asyncio.StreamReader, dict):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        reader = Reader(loop=loop)
        reader["key"] = 1
        reader.feed_data(b"abc")
        assert await reader.read(2) == b"ab"
        assert reader == {"key": 1}

    run(main())


def test_method_replaced_in_the_instance_is_called(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, far_reader, far_writer):
            fed: list[bytes] = []
            feed_data = reader.feed_data

            def spy(data: bytes) -> None:
                fed.append(bytes(data))
                feed_data(data)

            reader.feed_data = spy
            far_writer.write(b"one\n")
            assert await reader.readline() == b"one\n"
            assert fed == [b"one\n"]

            received: list[bytes] = []
            protocol = far_writer._protocol
            protocol.data_received = lambda data: received.append(data) or far_reader.feed_data(data)
            writer.write(b"two")
            assert await far_reader.read(10) == b"two"
            assert received == [b"two"]

            drained = []

            async def drain() -> None:
                drained.append(1)

            protocol._drain_helper = drain
            await far_writer.drain()
            assert drained == [1]

    run(main())


def test_method_replaced_in_the_class_is_called(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def shout(self: Any, n: int = -1) -> bytes:
        return b"replaced"

    async def main() -> None:
        with mock.patch.object(asyncio.StreamReader, "read", shout):
            assert await asyncio.StreamReader(loop=loop).read(1) == b"replaced"
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data(b"abc")
        assert await reader.read(1) == b"a"

    run(main())


def test_buffer_is_a_bytearray_that_follows(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            buffer = reader._buffer
            assert type(buffer) is bytearray
            assert not buffer
            writer.write(b"first ")
            assert await reader.readexactly(2) == b"fi"
            assert buffer == b"rst "
            assert buffer is reader._buffer
            del buffer
            assert await reader.read(100) == b"rst "
            writer.write(b"second")
            while not reader._buffer:
                await asyncio.sleep(0)
            reader._buffer = bytearray(b"<") + reader._buffer
            assert await reader.read(100) == b"<second"
            reader._buffer += b"by hand"
            assert len(reader._buffer) == 7
            assert reader._buffer[3:5] == b"ha"
            view = memoryview(reader._buffer)
            with pytest.raises(BufferError):
                await reader.read(2)
            view.release()
            assert await reader.read(7) == b"by hand"

    run(main())


def test_limit_changed_later_counts(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(loop=loop)
        reader._limit = 2  # type: ignore[attr-defined]
        reader.feed_data(b"long line\n")
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await reader.readuntil()
        assert caught.value.consumed == 9
        reader._limit = 20.5  # type: ignore[attr-defined]
        assert await reader.readline() == b"long line\n"

    run(main())


@pytest.mark.parametrize("method", ["read", "readline", "readexactly", "readuntil", "__anext__"])
def test_cancelled_read_loses_nothing(run: Any, loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(loop=loop)
        arguments = (20,) if method in {"read", "readexactly"} else ()
        for turns in range(4):
            task = asyncio.ensure_future(getattr(reader, method)(*arguments))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            if turns:
                assert reader._waiter is not None  # type: ignore[attr-defined]
            reader.feed_data(b"abc")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert reader._waiter is None  # type: ignore[attr-defined]
            assert await reader.read(100) == b"abc"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(getattr(reader, method)(*arguments), 0.001)
        reader.feed_data(b"abcdefghijklmnopqrst\n")
        assert await getattr(reader, method)(*arguments)

    run(main())


def test_read_dropped_half_way_lets_the_next_one_in(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(loop=loop)
        for ending in ("close", "drop", "throw"):
            read = reader.read(1)
            assert asyncio.isfuture(read.send(None))
            with pytest.raises(RuntimeError, match=r"^readuntil\(\) called while another coroutine is already waiting"):
                await reader.readline()
            if ending == "close":
                read.close()
            elif ending == "throw":
                with pytest.raises(LookupError):
                    read.throw(LookupError("thrown"))
            else:
                del read
            assert reader._waiter is None  # type: ignore[attr-defined]

    run(main())


def test_drain_raises_what_ended_the_stream(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, _, _):
            assert await writer.drain() is None
            reader.set_exception(LookupError("set"))
            with pytest.raises(LookupError):
                await writer.drain()
            reader._exception = None
            writer.close()
            turns = []
            asyncio.get_running_loop().call_soon(turns.append, 1)
            with pytest.raises(ConnectionResetError, match="Connection lost"):
                await writer.drain()
            assert turns  # a closing transport gets its turn

    run(main())


def test_cancelled_drain_leaves_nobody_behind(run: Any) -> None:
    async def main() -> None:
        async with connected() as (_reader, writer, _, _):
            protocol = writer._protocol
            protocol.pause_writing()
            drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
            await asyncio.sleep(0)
            assert len(protocol._drain_waiters) == 3
            drains[1].cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(protocol._drain_waiters) == 2
            dropped = writer.drain()
            dropped.send(None)
            assert len(protocol._drain_waiters) == 3
            dropped.close()
            assert len(protocol._drain_waiters) == 2
            protocol.resume_writing()
            await asyncio.gather(drains[0], drains[2])
            assert not protocol._drain_waiters

    run(main())


def test_reset_by_the_peer_ends_a_read_and_a_drain(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, _, far_writer):
            writer._protocol.pause_writing()
            tasks = [asyncio.ensure_future(reader.readline()), asyncio.ensure_future(writer.drain())]
            await asyncio.sleep(0)
            far_socket = far_writer.get_extra_info("socket")
            far_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far_writer.transport.abort()
            errors = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(error) for error in errors] == [ConnectionResetError, ConnectionResetError]
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            with pytest.raises(ConnectionResetError):
                await writer.drain()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()
            writer._protocol._closed = asyncio.get_running_loop().create_future()
            writer._protocol._closed.set_result(None)

    run(main())


def test_slow_reader_pauses_the_transport_at_twice_the_limit(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, _, far_writer):
            far_writer.write(b"x" * 1_000_000)
            while not reader._paused:
                await asyncio.sleep(0)
            assert not writer.transport.is_reading()
            assert len(reader._buffer) > 2 * reader._limit
            while reader._paused:
                await reader.read(1000)
            assert writer.transport.is_reading()
            assert len(reader._buffer) <= reader._limit

    run(main())


def test_read_that_is_not_awaited_is_warned_about(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected() as (reader, writer, _, _):
            for make, name in ((reader.readline, "StreamReader.readline"), (writer.drain, "StreamWriter.drain")):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    make()
                    gc.collect()
                assert [str(each.message) for each in caught] == [f"coroutine '{name}' was never awaited"]

    run(main())


def test_streams_die_with_their_connection(run: Any) -> None:
    async def main() -> list[Any]:
        async with connected() as streams:
            dying = [weakref.ref(stream) for stream in streams]
            assert streams[0].read is not None
            cycle: Any = {"reader": streams[0]}
            streams[0].cycle = cycle
            del streams, cycle
        return dying

    dying = run(main())
    gc.collect()
    assert [ref() for ref in dying] == [None] * 4


@pytest.mark.skipif(sys.version_info < (3, 13), reason="separators in a tuple are new in 3.13")
def test_shortest_of_several_separators_wins(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data(b"one--two-\n")
        assert await reader.readuntil((b"\n", b"-")) == b"one-"  # type: ignore[arg-type]

    run(main())


def test_class_derived_from_ours_is_obeyed_too(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    import aioxide

    class Reader(aioxide.StreamReader):
        async def readuntil(self, separator: Any = b"\n") -> bytes:
            return b"<" + await super().readuntil(separator) + b">"

    async def main() -> None:
        reader = Reader(loop=loop)
        reader.feed_data(b"one\ntwo")
        assert await reader.readline() == b"<one\n>"
        assert await reader.readexactly(2) == b"tw"
        reader.feed_eof()
        assert await reader.read() == b"o"
        plain = aioxide.StreamReader(loop=loop)
        plain.feed_data(b"line\nrest")
        plain.feed_eof()
        assert await plain.readline() == b"line\n"
        assert await plain.read() == b"rest"

    run(main())


def test_messages_that_are_kept_do_not_change(run: Any) -> None:
    async def main() -> None:
        async with connected() as (reader, _, _, writer):
            kept, hashes = [], []
            for number in range(100):
                message = b"%d " % (number % 7) * 300
                writer.write(message)
                received = await reader.readexactly(len(message))
                hashes.append(hash(received))
                if number % 3:
                    kept.append((received, bytes(bytearray(message))))
                del received
            assert all(received == message for received, message in kept)
            assert all(hash(received) == hash(message) for received, message in kept)

    run(main())
