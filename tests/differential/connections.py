"""Random programs of a connection's transport, run on two loops: the logs and what the peer receives must be equal.

    python -m differential.connections --count 10000 --loop aioxide:new_event_loop   (in tests/)

A program is a list of entries. Each is one callback of the loop, or several that run in the same iteration, which do
some operations on the transport; then the peer, a plain socket in the same thread, does something, and the loop turns a
few times. Logged are the protocol's calls with the context that they run in, what operations return or raise, and
markers that `call_soon` puts between.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import contextvars
import difflib
import fcntl
import importlib
import logging
import os
import random
import socket
import struct
import sys
import tempfile
import termios
import time
import warnings
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

Factory = Callable[[], asyncio.AbstractEventLoop]
Op = tuple[Any, ...]
Program = list[tuple[list[Op], Op]]

# Small writes never fill a socket of the programs, a large one always does, several times.
SMALL_BYTES, SOCKET_BYTES, LARGE_BYTES = 3000, 200_000, 1_500_000

OPERATIONS: list[tuple[int, str, Callable[[random.Random], tuple[Any, ...]]]] = [
    (12, "write", lambda r: (r.randrange(1, SMALL_BYTES),)),
    (2, "write_bytearray", lambda r: (r.choice([1, 100, 6000]),)),
    (1, "write_memoryview", lambda r: (r.choice([1, 100, 6000]),)),
    (1, "write_nothing", lambda r: ()),
    (2, "write_large", lambda r: ()),
    (3, "writelines", lambda r: ([r.randrange(1, 2500) for _ in range(r.randrange(1, 5))],)),
    (2, "size", lambda r: ()),
    (2, "is_closing", lambda r: ()),
    (6, "marker", lambda r: ()),
    (4, "next_callback", lambda r: ()),
    (3, "variable", lambda r: (r.randrange(9),)),
    (1, "limits", lambda r: (r.choice([0, 1, 1000, 65536, 200_000]),)),
    (1, "pause_reading", lambda r: ()),
    (1, "resume_reading", lambda r: ()),
    (1, "write_eof", lambda r: ()),
    (1, "close", lambda r: ()),
    (1, "abort", lambda r: ()),
    (1, "socket_send", lambda r: ()),
    (1, "keep_socket", lambda r: ()),
    (1, "kept_send", lambda r: ()),
    (1, "raise", lambda r: (r.choice(["ValueError", "OSError"]),)),
    (1, "repr", lambda r: ()),
    (1, "wrong_type", lambda r: ()),
    (1, "fork", lambda r: ()),
    (1, "write_and_sendfile", lambda r: (r.randrange(1, SMALL_BYTES), r.randrange(1, SMALL_BYTES))),
]
if (
    sys.version_info >= (3, 12)
    and "_conn_lost" not in selector_events._SelectorSocketTransport.writelines.__code__.co_names
):
    # Until 3.13.1 asyncio's fails on a connection that is lost, and never pauses the protocol; aioxide's does neither.
    OPERATIONS = [operation for operation in OPERATIONS if operation[1] != "writelines"]
PEER: list[tuple[int, str, Callable[[random.Random], tuple[Any, ...]]]] = [
    (8, "nothing", lambda r: ()),
    (6, "receive", lambda r: ()),
    (4, "send", lambda r: (r.randrange(1, 2000),)),
    (1, "shutdown", lambda r: ()),
    (1, "close", lambda r: ()),
    (1, "reset", lambda r: ()),
]

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def choose(r: random.Random, table: list[tuple[int, str, Callable[[random.Random], tuple[Any, ...]]]]) -> Op:
    [(_, name, arguments)] = r.choices(table, [weight for weight, _, _ in table])
    return (name, *arguments(r))


def draw(seed: int) -> Program:
    r = random.Random(seed)
    return [
        ([choose(r, OPERATIONS) for _ in range(r.randrange(1, 7))], choose(r, PEER)) for _ in range(r.randrange(1, 8))
    ]


def connected(by_unix: bool) -> tuple[socket.socket, socket.socket]:
    """Returns two ends of a connection: over TCP, which can be reset, or one that always takes as much at a time."""
    if by_unix:
        ends = socket.socketpair()
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = socket.create_connection(server.getsockname())
            ends = (peer, server.accept()[0])
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ends[0].setblocking(False)
    return ends


class World(asyncio.Protocol):
    """Runs a program on a loop and keeps the log."""

    def __init__(self, factory: Factory, at_once: bool) -> None:
        self.log: list[str] = []
        self.received = bytearray()
        self.loop = factory()
        if hasattr(self.loop, "write_at_once"):
            self.loop.write_at_once = at_once
        self.count, self.is_lost, self.is_cut, self.has_written = 0, False, False, False
        self.fd, self.is_unix = -1, False
        self.kept: socket.socket | None = None
        self.transport: Any = None
        self.is_sending, self.has_eof, self.sending = False, False, None
        self.peer: socket.socket | None = None

    def say(self, text: str) -> None:
        self.log.append(f"{text} [{variable.get()}]")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.say("made")

    def data_received(self, data: bytes) -> None:
        self.say(f"data {len(data)}")
        if len(data) % 3 == 0:
            self.transport.write(data[:200])
            if self.peer is not None:
                self.transport.write(b"answer")

    def eof_received(self) -> bool:
        self.say("eof")
        self.transport.write(b"after the end")
        return self.count % 2 == 0

    def pause_writing(self) -> None:
        self.say("pause")

    def resume_writing(self) -> None:
        self.say("resume")
        self.transport.write(b"resumed")

    def connection_lost(self, exc: Exception | None) -> None:
        self.say(f"lost {type(exc).__name__}")
        self.is_lost = True
        self.is_cut |= exc is not None

    def may_write(self) -> bool:
        """Whether an operation may write: once the peer has closed, only the first of an entry.

        The first write is answered by a reset, which the second one meets, unless both went out together.
        """
        meets_reset = self.peer is None and self.has_written
        self.has_written = True
        return not meets_reset

    def data(self, size: int) -> bytes:
        self.count += 1
        return bytes([self.count % 251]) * size

    def is_left_out(self, name: str) -> bool:
        """Whether what asyncio makes of an operation now depends on the time, or is a fault of its own."""
        if name in ("write_eof", "close", "abort"):
            self.has_eof |= not self.is_sending
            # As with writes, below.
            return self.is_sending or (name == "abort" and self.is_lost and self.is_unix)
        if not name.startswith("write"):
            return False
        if name == "write_and_sendfile" and (self.is_sending or self.is_unix or self.has_eof or self.peer is None):
            # A connection with an end: asyncio falls back on writing the file.
            return True
        # What was buffered was sent after the close: asyncio's `write` and `abort` fail by an AttributeError.
        return not self.may_write() or (self.is_lost and self.is_unix)

    def operate(self, op: Op) -> None:
        name, *arguments = op
        transport = self.transport
        if self.is_left_out(name):
            return
        if name == "write":
            transport.write(self.data(arguments[0]))
        elif name in ("write_bytearray", "write_memoryview"):
            data = bytearray(self.data(arguments[0]))
            transport.write(data if name == "write_bytearray" else memoryview(data))
        elif name == "write_nothing":
            transport.write(b"")
        elif name == "write_large":
            transport.write(self.data(LARGE_BYTES))
        elif name == "writelines":
            transport.writelines([self.data(size) for size in arguments[0]])
        elif name == "size":
            # How much of a large write the socket takes differs from run to run.
            self.say(f"size {transport.get_write_buffer_size() > 0}")
        elif name == "is_closing":
            self.say(f"is_closing {transport.is_closing()}")
        elif name == "marker":
            self.count += 1
            self.loop.call_soon(self.say, f"marker {self.count}")
        elif name == "variable":
            variable.set(arguments[0])
        elif name == "limits":
            transport.set_write_buffer_limits(arguments[0])
        elif name in ("pause_reading", "resume_reading", "write_eof", "close", "abort"):
            self.is_cut |= name == "abort"
            getattr(transport, name)()
        elif name == "socket_send":
            if (shown := transport.get_extra_info("socket")) is not None and shown.fileno() >= 0:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(shown.fileno())) as other:
                    other.send(b"by hand")
        elif name == "keep_socket":
            self.kept = transport.get_extra_info("socket")
        elif name == "kept_send":
            if self.kept is not None and self.kept.fileno() >= 0:
                with contextlib.suppress(OSError):
                    os.write(self.kept.fileno(), b"by number")
        elif name == "raise":
            raise {"ValueError": ValueError, "OSError": OSError}[arguments[0]]("planted")
        elif name == "repr":
            self.say(f"repr {'closing' in repr(transport)}")
        elif name == "wrong_type":
            transport.write("text")
        elif name == "fork":
            if self.may_write() and not (self.is_lost or self.is_unix):
                self.fork()
        elif name == "write_and_sendfile":
            self.is_sending = True
            # The loop holds tasks weakly.
            self.sending = self.loop.create_task(self.write_and_sendfile(*arguments))

    def fork(self) -> None:
        """Has a child write: after all that its parent has written so far."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            with contextlib.suppress(OSError):
                os.write(self.fd, b"by a child")
            os._exit(0)
        os.waitpid(child, 0)

    async def write_and_sendfile(self, size: int, file_size: int) -> None:
        """Writes and sends a file in one step."""
        try:
            with tempfile.TemporaryFile() as file:
                file.write(self.data(file_size))
                file.flush()
                self.transport.write(self.data(size))
                self.say(f"sendfile {await self.loop.sendfile(self.transport, file)}")
        except Exception as error:
            # Whether the peer's reset or its end is met depends on the time.
            text = "" if isinstance(error, OSError) else str(error)
            self.say(f"sendfile failed {'OSError' if isinstance(error, OSError) else type(error).__name__} {text}")
        finally:
            self.is_sending = False

    def begin(self, operations: list[Op]) -> None:
        """Queues an entry: its callbacks run one after the other."""
        self.has_written = False
        parts: list[list[Op]] = [[]]
        for op in operations:
            if op[0] == "next_callback":
                parts.append([])
            else:
                parts[-1].append(op)
        for part in parts:
            self.loop.call_soon(self.callback, part)

    def callback(self, operations: list[Op]) -> None:
        for op in operations:
            try:
                self.operate(op)
            except (TypeError, RuntimeError) as error:
                self.say(f"{op[0]} raised {type(error).__name__}: {error}")
        self.say("end of callback")

    def act(self, op: Op) -> None:
        """Lets the peer do something."""
        name, *arguments = op
        peer = self.peer
        if peer is None or name == "nothing":
            return
        with contextlib.suppress(OSError):
            if name == "receive":
                self.drain(peer)
            elif name == "send":
                peer.send(self.data(arguments[0]))
            elif name == "shutdown":
                peer.shutdown(socket.SHUT_WR)
            else:
                if name == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.drain(peer)
                self.close_peer()
                self.is_cut = True

    def drain(self, peer: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := peer.recv(1 << 20):
                self.received += data

    def close_peer(self) -> None:
        if self.peer is not None:
            self.peer.close()
            self.peer = None

    async def turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await self.delivered()
        for _ in range(3):
            await asyncio.sleep(0)

    async def delivered(self) -> None:
        """Waits until the kernel has handed over what was written over TCP: mostly at once."""
        for _ in range(200):
            left = 0
            for fd in (self.fd, -1 if self.peer is None else self.peer.fileno()):
                with contextlib.suppress(OSError, ValueError):
                    left += int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
            if not left or self.is_unix:
                return
            await asyncio.sleep(0.0005)

    async def run(self, program: Program) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.report)
        self.is_unix = any(op[0] == "write_large" for operations, _ in program for op in operations)
        self.peer, ours = connected(self.is_unix)
        self.fd = ours.fileno()
        await loop.create_connection(lambda: self, sock=ours)
        del ours
        for operations, peer_does in program:
            self.begin(operations)
            await self.turn()
            self.act(peer_does)
            await self.turn()
        self.say("end of program")
        if self.peer is not None:
            for _ in range(1000):
                before = len(self.received)
                self.drain_quietly(self.peer)
                await self.turn()
                if len(self.received) == before and not self.transport.get_write_buffer_size():
                    break
        self.transport.close()
        await self.turn()
        if self.peer is not None:
            self.drain_quietly(self.peer)
            self.close_peer()
        if not self.is_lost:
            self.transport.abort()
        await self.turn()

    def report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # Its text differs in asyncio's own two classes of futures.
        self.say(f"handler {'InvalidStateError' if isinstance(error, asyncio.InvalidStateError) else repr(error)}")

    def drain_quietly(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.drain(peer)


def run(program: Program, factory: Factory, at_once: bool = False) -> list[str]:
    """Returns the log of a program, and what its peer received."""
    world = World(factory, at_once)
    context = contextvars.copy_context()
    try:
        context.run(world.loop.run_until_complete, asyncio.wait_for(world.run(program), 30))
    finally:
        world.close_peer()
        world.loop.close()
    text = "".join(f"{byte}:" for byte in dict.fromkeys(world.received))
    if (world.is_cut and world.is_unix) or any(
        op[0] == "pause_reading" for operations, _ in program for op in operations
    ):
        # How much of a large write the socket had taken by then depends on how many pieces came before it. And the
        # end of a connection with something left to read is a reset, which may overtake what was written.
        return world.log
    return [*world.log, f"received {len(world.received)} {hash(bytes(world.received))} {text}"]


def search(count: int, first_seed: int, factory: Factory, at_once: bool = False) -> str | None:
    """Runs programs; returns what is to be said of the first that differs, made small."""

    def differs(program: Program) -> tuple[list[str], list[str]] | None:
        logs = run(program, asyncio.SelectorEventLoop), run(program, factory, at_once)
        return None if logs[0] == logs[1] else logs

    for seed in range(first_seed, first_seed + count):
        program = draw(seed)
        if (logs := differs(program)) is None:
            continue
        for index in reversed(range(len(program))):
            smaller = program[:index] + program[index + 1 :]
            if found := differs(smaller):
                program, logs = smaller, found
                continue
            for position in reversed(range(len(program[index][0]))):
                operations = program[index][0][:position] + program[index][0][position + 1 :]
                smaller = [*program[:index], (operations, program[index][1]), *program[index + 1 :]]
                if found := differs(smaller):
                    program, logs = smaller, found
        lines = difflib.unified_diff(*logs, "stock asyncio", "ours", lineterm="", n=30)
        return "\n".join([f"seed {seed}", *map(str, program), *lines])
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loop", default="aioxide:new_event_loop")
    parser.add_argument("--at-once", action="store_true", help="each write is sent at once")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    module, _, name = options.loop.partition(":")
    start = time.perf_counter()
    found = search(options.count, options.seed, getattr(importlib.import_module(module), name), options.at_once)
    took = time.perf_counter() - start
    print(found or f"{options.count} programs of connections, {took:.1f} s: the same log as on stock asyncio")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
