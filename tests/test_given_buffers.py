"""What the program does with a buffer or a protocol while a transfer of it is under way."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop
SIZE = 3_000_000


def clear(data: Any) -> None:
    data.clear()


def cut(data: Any) -> None:
    del data[-1000:]


def grow(data: Any) -> None:
    data.extend(b"b")


@pytest.mark.parametrize("change", [clear, cut, grow])
def test_buffer_keeps_its_size_while_it_is_sent(loop: Loop, change: Any) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            data = bytearray(b"a" * SIZE)
            sending = loop.create_task(loop.sock_sendall(ours, data))
            await asyncio.sleep(0)
            with pytest.raises(BufferError):
                change(data)
            received = 0
            while received < SIZE:
                received += len(await loop.sock_recv(theirs, 1 << 20))
            await sending
            # Nobody holds it any more.
            await asyncio.sleep(0)
            change(data)

    loop.run_until_complete(main())


def test_view_may_be_released_while_it_is_sent(loop: Loop) -> None:
    async def main() -> int:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            view = memoryview(b"a" * SIZE)
            sending = loop.create_task(loop.sock_sendall(ours, view))
            await asyncio.sleep(0)
            view.release()
            received = 0
            while received < SIZE:
                received += len(await loop.sock_recv(theirs, 1 << 20))
            await sending
            return received

    assert loop.run_until_complete(asyncio.wait_for(main(), 30)) == SIZE


def test_wait_that_is_given_up_lets_the_buffer_go(loop: Loop) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            data = bytearray(SIZE)
            sending = loop.create_task(loop.sock_sendall(ours, data))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            data.clear()

    loop.run_until_complete(main())


class Buffered(asyncio.BufferedProtocol):
    """Puts another protocol in its place when it is asked for memory."""

    def __init__(self, name: str, log: list[tuple[str, int]], after: Buffered | None = None) -> None:
        self.name, self.log, self.after = name, log, after
        self.memory = bytearray(20)
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        if self.after is not None:
            self.transport.set_protocol(self.after)
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.log.append((self.name, nbytes))


def test_protocol_that_is_replaced_while_it_is_asked_for_memory(loop: Loop) -> None:
    async def main() -> list[tuple[str, int]]:
        log: list[tuple[str, int]] = []
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(
                lambda: Buffered("first", log, Buffered("second", log)), sock=ours
            )
            theirs.send(b"hello")
            while not log:
                await asyncio.sleep(0)
            transport.abort()
            await asyncio.sleep(0)
        return log

    assert loop.run_until_complete(asyncio.wait_for(main(), 30)) == [("second", 5)]
