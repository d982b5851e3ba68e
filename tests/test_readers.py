"""`add_reader`, `add_writer` and the `sock_*` methods."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("by_number", [True, False], ids=["number", "object"])
def test_reader_is_called_while_there_is_data(loop: asyncio.AbstractEventLoop, pair: Pair, by_number: bool) -> None:
    ours, theirs = pair
    key: Any = ours.fileno() if by_number else ours
    seen: list[bytes] = []

    def on_readable(*arguments: Any) -> None:
        assert arguments == (1, 2)
        seen.append(ours.recv(1))
        if len(seen) == 3:
            loop.stop()

    loop.add_reader(key, on_readable, 1, 2)
    theirs.send(b"abc")
    loop.run_forever()
    assert seen == [b"a", b"b", b"c"]
    assert loop.remove_reader(key) is True
    assert loop.remove_reader(key) is False


def test_reader_is_replaced_by_a_second_call(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    seen: list[str] = []
    loop.add_reader(ours, seen.append, "first")

    def second() -> None:
        seen.append("second")
        loop.stop()

    loop.add_reader(ours, second)
    theirs.send(b"x")
    loop.run_forever()
    assert seen == ["second"]
    loop.remove_reader(ours)


def test_writer_and_reader_of_one_descriptor(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    seen: list[str] = []

    def on_writable() -> None:
        seen.append("writable")
        assert loop.remove_writer(ours) is True
        theirs.send(b"x")

    def on_readable() -> None:
        seen.append("readable")
        assert loop.remove_reader(ours) is True
        loop.stop()

    loop.add_reader(ours, on_readable)
    loop.add_writer(ours, on_writable)
    loop.run_forever()
    assert seen == ["writable", "readable"]
    assert loop.remove_writer(ours) is False


def test_reader_removed_by_another_callback_is_not_called(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.remove_reader(theirs)
        loop.remove_reader(ours)
        loop.call_later(0.005, loop.stop)

    loop.add_reader(ours, first)
    loop.add_reader(theirs, first)
    ours.send(b"x")
    theirs.send(b"x")
    loop.run_forever()
    assert seen == ["first"]


def test_reader_can_be_armed_again_and_again(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    left = 200

    def on_readable() -> None:
        nonlocal left
        loop.remove_reader(ours)
        ours.recv(1)
        left -= 1
        if left:
            arm()
        else:
            loop.stop()

    def arm() -> None:
        loop.add_reader(ours, on_readable)
        theirs.send(b"x")

    arm()
    loop.run_forever()
    assert left == 0


def test_closed_descriptor_that_is_reused_works(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(3):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, loop.stop)
            theirs.send(b"x")
            loop.run_forever()
            loop.remove_reader(ours)


def test_object_that_was_closed_meanwhile_can_be_removed(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, print)
    loop.add_writer(theirs, print)
    ours.close()
    theirs.close()
    assert loop.remove_reader(ours) is True
    assert loop.remove_writer(theirs) is True


def test_removing_what_was_never_added_is_no_error(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    assert loop.remove_reader(pair[0]) is False
    assert loop.remove_writer(pair[0].fileno()) is False


@pytest.mark.parametrize("bad", [-1, "text", object()])
def test_bad_descriptor_is_refused(loop: asyncio.AbstractEventLoop, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        loop.add_reader(bad, print)


class File:
    """Has a number, whatever is given as one."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        if isinstance(self.number, Exception):
            raise self.number
        return self.number


@pytest.mark.parametrize("number", [2**31, 2**40, 2**70], ids=["2**31", "2**40", "2**70"])
@pytest.mark.parametrize("kind", [int, File])
def test_number_too_large_for_a_descriptor(loop: Any, kind: Any, number: int) -> None:
    for add, remove in ((loop.add_reader, loop.remove_reader), (loop.add_writer, loop.remove_writer)):
        with pytest.raises(OverflowError, match="Python int too large to convert to C int"):
            add(kind(number), print)
        assert remove(kind(number)) is False


@pytest.mark.parametrize("kind", [int, File])
def test_negative_number_is_no_descriptor_however_large(loop: Any, kind: Any) -> None:
    for number in (-1, -(2**40), -(2**70)):
        for call in (lambda file: loop.add_reader(file, print), loop.remove_reader):
            with pytest.raises(ValueError, match=f"Invalid file descriptor: {number}"):
                call(kind(number))


def test_what_fileno_raises(loop: Any) -> None:
    for call in (lambda file: loop.add_reader(file, print), loop.remove_reader):
        for number in (ValueError("closed"), TypeError("closed"), AttributeError("closed"), "text", None):
            with pytest.raises(ValueError, match="Invalid file object: <"):
                call(File(number))
        with pytest.raises(OSError, match="closed"):
            call(File(OSError("closed")))


def test_number_of_a_file_is_made_an_int(loop: Any, pair: Pair) -> None:
    loop.add_reader(File(float(pair[0].fileno())), print)
    assert loop.remove_reader(pair[0].fileno()) is True


def test_plain_file_cannot_be_watched(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(PermissionError):
        loop.add_reader(file, print)


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_socket_closed_under_a_wait_frees_its_number(
    run: Any, loop: asyncio.AbstractEventLoop, cancelled_first: bool
) -> None:
    async def main() -> None:
        first, peer = socket.socketpair()
        first.setblocking(False)
        number = first.fileno()
        waiting = loop.create_task(loop.sock_recv(first, 10))
        await asyncio.sleep(0)
        if cancelled_first:
            waiting.cancel()
            first.close()
        else:
            first.close()
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        second, other = socket.socketpair()
        with peer, second, other:
            assert second.fileno() == number
            second.setblocking(False)
            waiting = loop.create_task(loop.sock_recv(second, 10))
            await asyncio.sleep(0)
            other.send(b"x")
            assert await waiting == b"x"

    run(main())


def test_removing_takes_one_argument(loop: asyncio.AbstractEventLoop) -> None:
    for remove in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
            remove(1000, print)  # type: ignore[call-arg]
        assert remove(fd=1000) is False


def test_descriptor_of_a_transport_is_refused(run: Any, loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    async def main() -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=pair[0])
        try:
            for call in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call(pair[0].fileno(), print)
            for undo in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    undo(pair[0].fileno())
        finally:
            transport.close()
            await asyncio.sleep(0)

    run(main())


def test_exception_in_a_reader_is_reported(loop: asyncio.AbstractEventLoop, pair: Pair, reports: Any) -> None:
    def fail() -> None:
        loop.remove_reader(pair[0])
        loop.call_soon(loop.stop)
        raise LookupError

    loop.add_reader(pair[0], fail)
    pair[1].send(b"x")
    loop.run_forever()
    reports.take("Exception in callback")


def test_closed_loop_watches_nothing(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_reader(pair[0], print)
    assert loop.remove_reader(pair[0]) is False


def test_sock_recv_and_sendall(run: Any, loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(theirs, b"hello")
        assert await receiving == b"hello"
        buffer = bytearray(10)
        await loop.sock_sendall(theirs, b"into")
        assert await loop.sock_recv_into(ours, buffer) == 4
        assert buffer[:4] == b"into"
        theirs.close()
        assert await loop.sock_recv(ours, 10) == b""

    run(main())


def test_sock_sendall_of_more_than_fits(run: Any, loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    data = os.urandom(3_000_000)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, memoryview(data)))
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(ours, 1 << 16)
        await sending
        assert bytes(received) == data

    run(main())


def test_sock_recv_that_is_cancelled_lets_go_of_the_descriptor(
    run: Any, loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair

    async def main() -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert loop.remove_reader(ours) is False
        theirs.send(b"later")
        assert await loop.sock_recv(ours, 10) == b"later"

    run(main())


def test_sock_connect_and_accept(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            connection, address = await accepting
            with connection:
                assert address == client.getsockname()
                assert connection.getblocking() is False

    run(main())


def test_sock_connect_refused(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with socket.socket() as client:
                client.setblocking(False)
                with pytest.raises(ConnectionRefusedError):
                    await loop.sock_connect(client, unused.getsockname())

    run(main())


def test_sock_accept_that_is_cancelled_loses_no_connection(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0)
            accepting.cancel()
            await asyncio.wait([accepting])
            with socket.create_connection(listener.getsockname()):
                connection, _ = await loop.sock_accept(listener)
                connection.close()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="came with 3.11")
def test_datagram_methods(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with (
            socket.socket(type=socket.SOCK_DGRAM) as one,
            socket.socket(type=socket.SOCK_DGRAM) as two,
        ):
            for each in (one, two):
                each.bind(("127.0.0.1", 0))
                each.setblocking(False)
            assert await loop.sock_sendto(one, b"hello", two.getsockname()) == 5
            assert await loop.sock_recvfrom(two, 100) == (b"hello", one.getsockname())
            buffer = bytearray(8)
            await loop.sock_sendto(two, b"back", one.getsockname())
            assert await loop.sock_recvfrom_into(one, buffer) == (4, two.getsockname())
            assert buffer[:4] == b"back"

    run(main())


def test_blocking_socket_is_refused_in_debug_mode(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    ours, theirs = socket.socketpair()

    async def main() -> None:
        with ours, theirs, pytest.raises(ValueError, match="non-blocking"):
            await loop.sock_recv(ours, 1)

    run(main())


def test_sock_sendfile(run: Any, loop: asyncio.AbstractEventLoop, pair: Pair, tmp_path: Path) -> None:
    ours, theirs = pair
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 1000)

    async def main() -> None:
        with path.open("rb") as file:
            assert await loop.sock_sendfile(ours, file, 5, 20) == 20
            assert file.tell() == 25
        assert await loop.sock_recv(theirs, 100) == b"56789012345678901234"

    run(main())


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
@pytest.mark.parametrize("number", [10**7, 2**31 - 1])
def test_number_of_no_descriptor_is_refused_by_the_kernel(
    loop: asyncio.AbstractEventLoop, method: str, number: int
) -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        getattr(loop, method)(number, print)
    assert caught.value.errno == errno.EBADF
    assert loop.remove_reader(number) is False


def test_numbers_of_no_descriptor_take_no_memory(loop: asyncio.AbstractEventLoop) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in (10**7, 10**8, 2**31 - 1):
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.add_reader(number, print)
        loop._transports.get(number)  # type: ignore[attr-defined]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_file_object_is_held_as_long_as_it_is_watched(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    class File:
        def fileno(self) -> int:
            return pair[0].fileno()

    file = File()
    known = weakref.ref(file)
    loop.add_reader(file, print)
    loop.add_writer(file, print)
    del file
    gc.collect()
    assert known() is not None
    loop.remove_reader(pair[0])
    assert known() is not None
    loop.remove_writer(pair[0])
    gc.collect()
    assert known() is None


def test_object_at_the_address_of_one_that_was_watched_is_not_taken_for_it(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    class File:
        fd = pair[0].fileno()

        def fileno(self) -> int:
            return self.fd

    loop.add_reader(File(), print)
    others = [File() for _ in range(100)]
    for other in others:
        other.fd = -1
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            loop.remove_reader(other)
    assert loop.remove_reader(pair[0]) is True
