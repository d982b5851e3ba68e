"""Random programs of feeding, reading, cancelling and looking give the same log on asyncio's reader and on ours."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import TIMEOUT, factory

ALPHABET = b"abc;\n"
Log = list[Any]


class Transport:
    """Notes when it is paused and resumed."""

    def __init__(self, log: Log, can_pause: bool) -> None:
        self.log = log
        self.can_pause = can_pause

    def pause_reading(self) -> None:
        if not self.can_pause:
            raise NotImplementedError
        self.log.append("paused")

    def resume_reading(self) -> None:
        self.log.append("resumed")


def outcome(task: asyncio.Task[Any]) -> Any:
    """Says how a read ended, with all that a program could look at."""
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return type(task.result()).__name__, task.result()
    shown = type(error).__name__, error.args, type(error.__context__).__name__
    return shown + tuple(getattr(error, name, None) for name in ("partial", "expected", "consumed"))


class Program:
    """One run of a random program, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.log: Log = []
        self.limit = self.random.choice([1, 3, 8, 50])
        self.tasks: list[asyncio.Task[Any]] = []
        self.held: list[bytearray] = []
        self.reads = 0

    def content(self) -> bytes:
        return bytes(self.random.choices(ALPHABET, k=self.random.choice([0, 1, 2, 5, 20, 60])))

    def read(self) -> None:
        pick = self.random.randrange(8)
        separators: list[Any] = [b"\n", b";", b"a;", b"bc;", b"aa", b"", bytearray(b";"), "text"]
        if sys.version_info >= (3, 13):
            separators += [(b"\n", b";"), (b"ab", b"c;\n"), (), (b"",)]
        calls: list[Callable[[], Any]] = [
            lambda: self.reader.read(self.random.choice([0, 1, 4, 100])),
            lambda: self.reader.read(100),
            self.reader.read if self.random.random() < 0.3 else lambda: self.reader.read(n=3),
            lambda: self.reader.readexactly(self.random.choice([-1, 0, 1, 5, 30])),
            self.reader.readline,
            lambda: self.reader.readuntil(self.random.choice(separators)),
            lambda: anext(self.reader),
            self.reader.readuntil,
        ]
        number = self.reads = self.reads + 1
        task = asyncio.ensure_future(calls[pick]())
        task.add_done_callback(lambda done: self.log.append((number, pick, outcome(done))))
        self.tasks.append(task)

    def look(self) -> None:
        reader = self.reader
        waits = reader._waiter is not None
        self.log.append((bytes(reader._buffer), reader.at_eof(), reader._eof, reader._paused, waits, repr(reader)[:30]))
        self.log.append([bytes(held) for held in self.held])

    def touch(self) -> None:
        """Does what clients do that look under the cover."""
        pick = self.random.randrange(4)
        if pick == 0:
            self.held.append(self.reader._buffer)
        elif pick == 1:
            del self.reader._buffer[: self.random.randrange(4)]
        elif pick == 2:
            self.reader._buffer.extend(self.content())
        else:
            self.held.clear()

    def feed(self) -> None:
        content = self.content()
        pick = self.random.randrange(6)
        data: Any = bytearray(content) if pick == 0 else memoryview(content) if pick == 1 else content
        try:
            self.reader.feed_data(data)
        except AssertionError as error:
            self.log.append(error.args)

    def cancel(self) -> None:
        waiting = [task for task in self.tasks if not task.done()]
        if waiting:
            self.random.choice(waiting).cancel()

    async def run(self) -> Log:
        self.reader: Any = asyncio.StreamReader(limit=self.limit, loop=asyncio.get_running_loop())
        if self.random.random() < 0.9:
            self.reader.set_transport(Transport(self.log, self.random.random() < 0.9))
        actions = [self.feed] * 5 + [self.read] * 5 + [self.look, self.touch, self.cancel]
        for _ in range(self.random.randrange(5, 60)):
            self.random.choice(actions)()
            for _ in range(self.random.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)
        pick = self.random.randrange(4)
        if pick == 0:
            self.reader.set_exception(LookupError("end"))
        elif pick != 1:
            self.reader.feed_eof()
        for _ in range(4):
            self.read()
            await asyncio.sleep(0)
            self.look()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.look()
        return self.log


def log_of(loop_name: str, seed: int) -> Log:
    loop = factory(loop_name)()
    try:
        return loop.run_until_complete(asyncio.wait_for(Program(seed).run(), TIMEOUT))
    finally:
        loop.close()


@pytest.mark.parametrize("block", range(8))
def test_random_programs_give_the_same_log(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        ours, theirs = log_of("aioxide", seed), log_of("asyncio", seed)
        assert ours == theirs, f"seed {seed}"


def test_random_pieces_over_a_socket(run: Any) -> None:
    async def main() -> None:
        source = random.Random(7)
        sent = bytes(source.choices(ALPHABET, k=300_000))

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            position = 0
            while position < len(sent):
                size = source.choice([1, 10, 1000, 30_000])
                writer.write(sent[position : position + size])
                position += size
                await writer.drain()
                if source.random() < 0.5:
                    await asyncio.sleep(0)
            writer.close()

        server = await asyncio.start_server(send, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        received = bytearray()
        while not reader.at_eof():
            pick = source.randrange(4)
            try:
                if pick == 0:
                    received += await reader.read(source.choice([1, 100, 50_000]))
                elif pick == 1:
                    received += await reader.readexactly(source.choice([1, 100, 5000]))
                elif pick == 2:
                    received += await reader.readline()
                else:
                    received += await reader.readuntil(b";\n")
            except asyncio.IncompleteReadError as error:
                received += error.partial
        assert received == sent
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())
