"""What a protocol is given stays as it is: a kept object, a view, a hash, an address."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

# Around the sizes at which memory of another size is taken.
SIZES = [1, 2, 100, 2047, 2048, 2049, 16383, 16384, 16385, 40_000, 65_536, 65_537, 200_000, 300_000]


@asynccontextmanager
async def served(loop: asyncio.AbstractEventLoop, factory: Any) -> AsyncIterator[int]:
    server = await loop.create_server(factory, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Keeper(asyncio.Protocol):
    """Keeps what `keeps` says, with what it looked like then."""

    def __init__(self, keeps: Any) -> None:
        self.keeps = keeps
        self.kept: list[tuple[Any, bytes, int]] = []
        self.count = 0
        self.digest = hashlib.sha256()
        self.size = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.digest.update(data)
        self.size += len(data)
        # As an object that was never seen before would be.
        assert hash(data) == hash(bytes(bytearray(data)))
        assert data == bytes(memoryview(data))
        assert len(data) > 0
        keep = self.keeps(self.count, data)
        if keep is not None:
            self.kept.append((keep, bytes(bytearray(data)), hash(data)))
        self.count += 1
        self.transport.write(b"%d\n" % len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


def everything(_: int, data: bytes) -> Any:
    return data


def nothing(_: int, data: bytes) -> Any:
    return None


def some(count: int, data: bytes) -> Any:
    return data if count % 3 == 2 else None


def views(count: int, data: bytes) -> Any:
    return memoryview(data)[: len(data) // 2] if count % 2 else None


def keys(count: int, data: bytes) -> Any:
    return {data: count} if count % 4 == 1 else None


@pytest.mark.parametrize("keeps", [everything, nothing, some, views, keys])
def test_kept_data_does_not_change(run: Any, loop: asyncio.AbstractEventLoop, keeps: Any) -> None:
    async def main() -> None:
        made: list[Keeper] = []

        def factory() -> Keeper:
            made.append(Keeper(keeps))
            return made[-1]

        async with served(loop, factory) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            chooser = random.Random(5)
            sent = hashlib.sha256()
            for size in [*SIZES, *chooser.choices(SIZES, k=40)]:
                message = chooser.randbytes(size)
                sent.update(message)
                writer.write(message)
                left = size
                while left:
                    left -= int(await reader.readline())
            writer.close()
            await writer.wait_closed()
            await made[0].lost
        (protocol,) = made
        assert protocol.digest.digest() == sent.digest()
        assert protocol.count >= len(SIZES) + 40
        for kept, content, value in protocol.kept:
            if isinstance(kept, memoryview):
                assert bytes(kept) == content[: len(kept)]
            elif isinstance(kept, dict):
                assert kept.get(content) is not None
            else:
                assert kept == content
                assert hash(kept) == value

    run(main())


def test_data_kept_on_one_connection_stays_while_another_receives(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Keeper] = []
        choices = iter([some, nothing])

        def factory() -> Keeper:
            made.append(Keeper(next(choices)))
            return made[-1]

        async with served(loop, factory) as port:
            first, second = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for number in range(30):
                for reader, writer in (first, second):
                    writer.write(b"%d" % number * 50)
                    await reader.readline()
            for _, writer in (first, second):
                writer.close()
            for protocol in made:
                await protocol.lost
        assert len(made[0].kept) == 10
        for kept, content, _ in made[0].kept:
            assert kept == content

    run(main())


class Datagrams(asyncio.DatagramProtocol):
    """Echoes; keeps some of what it gets."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.kept: list[tuple[bytes, bytes]] = []
        self.addresses: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert hash(data) == hash(bytes(bytearray(data)))
        self.addresses.append(addr)
        if self.every and len(self.addresses) % self.every == 0:
            self.kept.append((data, bytes(bytearray(data))))
        self.transport.sendto(data, addr)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@pytest.mark.parametrize("every", [0, 1, 5])
def test_kept_datagrams_do_not_change(run: Any, loop: asyncio.AbstractEventLoop, every: int) -> None:
    async def main() -> None:
        transport, protocol = await loop.create_datagram_endpoint(lambda: Datagrams(every), local_addr=("127.0.0.1", 0))
        peers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(40)]
        for peer in peers:
            peer.bind(("127.0.0.1", 0))
            peer.settimeout(10)
        server = transport.get_extra_info("sockname")

        def ask() -> None:
            for number in range(3):
                for peer in peers:
                    message = random.randbytes(number * 20_000 + 1)
                    peer.sendto(message, server)
                    assert peer.recvfrom(1 << 16) == (message, server)

        await loop.run_in_executor(None, ask)
        transport.close()
        await protocol.lost
        assert protocol.addresses == [peer.getsockname() for _ in range(3) for peer in peers]
        for kept, content in protocol.kept:
            assert kept == content
        for peer in peers:
            peer.close()

    run(main())


def test_datagrams_of_a_burst_arrive_in_order_until_the_transport_closes(
    run: Any, loop: asyncio.AbstractEventLoop
) -> None:
    class Counter(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.kept.append((data, data))
            if data == b"70":
                self.transport.close()

    async def main() -> None:
        transport, protocol = await loop.create_datagram_endpoint(lambda: Counter(0), local_addr=("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            for number in range(100):
                peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
            await protocol.lost
        assert [data for data, _ in protocol.kept] == [b"%d" % number for number in range(71)]

    run(main())


def test_exception_between_datagrams_loses_none(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Picky(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.kept.append((data, data))
            if data == b"last":
                self.transport.close()
            elif len(self.kept) % 3 == 0:
                raise LookupError(data)

    async def main() -> None:
        failures: list[Any] = []
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
        transport, protocol = await loop.create_datagram_endpoint(lambda: Picky(0), local_addr=("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            for number in range(30):
                peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
            peer.sendto(b"last", transport.get_extra_info("sockname"))
            await protocol.lost
        loop.set_exception_handler(None)
        assert [data for data, _ in protocol.kept] == [*(b"%d" % number for number in range(30)), b"last"]
        assert [str(failure) for failure in failures] == [f"{b'%d' % number}" for number in range(2, 30, 3)]

    run(main())


def test_answer_to_a_peer_that_is_gone_reports_once(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    """The kernel tells a refusal once: whoever asks first must not lose it."""

    class Client(Datagrams):
        def error_received(self, exc: Exception) -> None:
            self.kept.append((type(exc), type(exc)))  # type: ignore[arg-type]
            if not self.refused.done():
                self.refused.set_result(None)

    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        transport, protocol = await loop.create_datagram_endpoint(lambda: Client(0), remote_addr=address)
        protocol.refused = loop.create_future()
        transport.sendto(b"first")
        # The refusal is there when the call returns, on loopback; the next call meets it, not the selector.
        transport.sendto(b"second")
        await protocol.refused
        assert protocol.kept[0][0] is ConnectionRefusedError
        transport.close()
        await protocol.lost

    run(main())


def test_reset_met_by_a_write_is_the_reason_of_the_loss(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: list[Keeper] = []

        class Late(Keeper):
            def connection_lost(self, exc: Exception | None) -> None:
                self.reason = exc
                super().connection_lost(exc)

        def factory() -> Keeper:
            made.append(Late(nothing))
            return made[-1]

        async with served(loop, factory) as port:
            peer = socket.create_connection(("127.0.0.1", port))
            peer.sendall(b"x")
            await loop.run_in_executor(None, peer.recv, 10)
            made[0].transport.pause_reading()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            made[0].transport.write(b"too late")
            await made[0].lost
        assert isinstance(made[0].reason, ConnectionResetError)  # type: ignore[attr-defined]

    run(main())
