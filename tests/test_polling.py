"""How soon the kernel is asked: what was sent arrives after as many turns of the loop as on asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import Recorder

# More turns without a pause than a program counts; fewer than make the loop hot.
MANY_TURNS = 900
# So many that the loop asks the kernel only now and then.
HOT_TURNS = 5000

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def turns_until(condition: Callable[[], object]) -> int:
    turns = 0
    while not condition():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def be_busy(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def connected(ours: socket.socket, theirs: socket.socket) -> tuple[Recorder, Recorder]:
    loop = asyncio.get_running_loop()
    _, one = await loop.create_connection(lambda: Recorder(keep_open=True), sock=ours)
    _, other = await loop.create_connection(lambda: Recorder(keep_open=True), sock=theirs)
    return one, other


@pytest.mark.parametrize("busy_turns", [0, MANY_TURNS, HOT_TURNS])
def test_what_a_transport_does_reaches_the_other_end_in_the_next_turn(run: Any, pair: Pair, busy_turns: int) -> None:
    async def main() -> None:
        ours, theirs = await connected(*pair)
        acts: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (lambda: ours.transport.write(b"ab"), lambda: len(theirs.data) == 2),
            (lambda: ours.transport.writelines([b"c", b"d"]), lambda: len(theirs.data) == 4),
            (ours.transport.write_eof, lambda: "eof" in theirs.events),
            # The end is announced in a turn of its own.
            (theirs.transport.abort, lambda: "lost" in theirs.events and "eof" in ours.events),
        ]
        for act, is_seen in acts:
            await be_busy(busy_turns)
            act()
            assert await turns_until(is_seen) <= 3
        ours.transport.close()
        await ours.lost

    run(main())


@pytest.mark.parametrize("busy_turns", [0, MANY_TURNS, HOT_TURNS])
def test_what_sock_sendall_sends_is_there_in_the_next_turn(run: Any, pair: Pair, busy_turns: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = pair
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await be_busy(busy_turns)
        await loop.sock_sendall(theirs, b"x")
        assert await turns_until(receiving.done) <= 3
        assert receiving.result() == b"x"

    run(main())


@pytest.mark.parametrize("busy_turns", [0, MANY_TURNS, HOT_TURNS])
def test_descriptor_that_is_added_is_asked_about_in_the_next_turn(run: Any, pair: Pair, busy_turns: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = pair
        theirs.send(b"x")
        seen: list[bytes] = []
        await be_busy(busy_turns)
        loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
        assert await turns_until(lambda: seen) <= 2
        loop.remove_reader(ours)

    run(main())


@pytest.mark.parametrize("busy_turns", [0, MANY_TURNS])
@pytest.mark.parametrize("writer", ["socket.send", "os.write", "another process"])
def test_what_the_program_writes_by_itself_is_read_in_the_next_turn(
    run: Any, pair: Pair, writer: str, busy_turns: int
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = pair
        seen: list[bytes] = []
        loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
        for turn in range(3):
            await be_busy(busy_turns)
            if writer == "socket.send":
                theirs.send(b"x")
            elif writer == "os.write":
                os.write(theirs.fileno(), b"x")
            else:
                program = f"import os; os.write({theirs.fileno()}, b'x')"
                subprocess.run([sys.executable, "-Sc", program], check=True, pass_fds=[theirs.fileno()])
            assert await turns_until(lambda turn=turn: len(seen) > turn) <= 2
        loop.remove_reader(ours)

    run(main())


def test_pipe_that_is_swapped_for_another_loses_nothing(run: Any) -> None:
    """The old one's end, an iteration after its close, meets the new one's data, which has come by then."""

    class Swapped(asyncio.Protocol):
        data = b""
        current: Any = None

        def data_received(self, data: bytes) -> None:
            Swapped.data += data

        def connection_lost(self, exc: Exception | None) -> None:
            if Swapped.current is not None:
                current, Swapped.current = Swapped.current, None
                current.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        old, old_end = socket.socketpair()
        new, new_end = socket.socketpair()
        with old_end, new_end:
            new_end.send(b"data")
            old_transport, _ = await loop.connect_read_pipe(Swapped, old)
            await be_busy(10)
            Swapped.current = (await loop.connect_read_pipe(Swapped, new))[0]
            old_transport.close()
            await be_busy(10)
        assert Swapped.data == b"data"

    run(main())
