#!/usr/bin/env python3
"""Opens and closes connections, makes requests or tasks, for a long time; fails when memory or descriptors grow.

    scripts/soak.py connections                              a million TCP connections on aioxide
    scripts/soak.py connections --idle 10000 --kind unix     with so many open at once, besides
    scripts/soak.py tasks                                    ten million tasks: awaited, gathered, cancelled, failing
    scripts/soak.py requests                                 a million requests of aioxide.http, of many kinds
    scripts/soak.py tasks --loop uvloop:new_event_loop       another loop, for comparison

Client and server live in one process and on one loop. Every connection carries a message there and back; the ways to
end it take turns: closed by the client, aborted, reset, half closed by the client, closed by the server.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import resource
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from subprocess import PIPE
from typing import Any

MESSAGE = b"x" * 1024
LAST_MESSAGE = b"q" * 1024
# Growth of resident memory between the first tenth and the end that is still noise.
ALLOWED_GROWTH_KIB = 4096
GATHERED = 1000
REPORTS = 50


# The far ends of the idle connections, in a process of their own: a process has so many descriptors only.
IDLE_CLIENTS = """
import socket, sys
_, address, count, size = sys.argv
family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET
address = address if family == socket.AF_UNIX else (address.split(":")[0], int(address.split(":")[1]))
clients = []
for _ in range(int(count)):
    clients.append(socket.socket(family))
    clients[-1].connect(address)
print("open", flush=True)
sys.stdin.readline()
answered = 0
for client in clients:
    client.sendall(b"x" * int(size))
    answered += len(client.recv(int(size), socket.MSG_WAITALL)) == int(size)
    client.close()
print(answered, flush=True)
"""


class Echo(asyncio.Protocol):
    """Answers; closes after the last message, and when the client has ended its half."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        if data.startswith(b"q"):
            self.transport.close()

    def eof_received(self) -> bool:
        return False


class Client(asyncio.Protocol):
    """Sends one message and waits for its echo and for the end."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answered = loop.create_future()
        self.lost = loop.create_future()
        self.missing = len(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing == 0:
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def one_connection(connect: Callable[[], Any], number: int) -> None:
    transport, client = await connect()
    way = number % 5
    transport.write(LAST_MESSAGE if way == 4 else MESSAGE)
    await client.answered
    if way == 0:
        transport.close()
    elif way == 1:
        transport.abort()
    elif way == 2:  # a linger time of zero makes the close a reset
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.close()
    elif way == 3:
        transport.write_eof()
    await client.lost


def resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Watch:
    """Notes memory and descriptors as the work goes on, and says at the end whether they stayed."""

    def __init__(self, count: int, what: str) -> None:
        self.count = count
        self.what = what
        self.started = self.last = time.perf_counter()
        self.first: tuple[int, int] | None = None
        self.next_report = 0

    def at(self, done: int) -> None:
        """To be called often; `done` grows."""
        if done < self.next_report:
            return
        seconds = time.perf_counter() - self.started
        print(f"{done:9} {self.what}, {seconds:7.1f} s, {resident_kib()} KiB, {descriptors()} descriptors", flush=True)
        self.next_report += max(1, self.count // REPORTS)
        if self.first is None and done >= self.count // 10:
            gc.collect()
            self.first = (resident_kib(), descriptors())

    def is_flat(self, busy: int = 0) -> bool:
        """Whether what is there now is what was there after a tenth; `busy` descriptors may come and go."""
        assert self.first is not None
        seconds = time.perf_counter() - self.started
        gc.collect()
        memory, files = resident_kib(), descriptors()
        print(f"{self.count} {self.what} in {seconds:.1f} s, {self.count / seconds:.0f} per second")
        print(f"memory: {self.first[0]} KiB after a tenth, {memory} KiB at the end")
        print(f"descriptors: {self.first[1]} after a tenth, {files} at the end")
        return memory <= self.first[0] + ALLOWED_GROWTH_KIB and files <= self.first[1] + busy


async def soak_connections(options: argparse.Namespace) -> bool:
    loop = asyncio.get_running_loop()
    address: Any
    if options.kind == "unix":
        path = address = os.path.join(tempfile.mkdtemp(), "soak")
        server = await loop.create_unix_server(Echo, path, backlog=1000)

        def connect() -> Any:
            return loop.create_unix_connection(Client, path)

    else:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1000)
        host, port = server.sockets[0].getsockname()
        address = f"{host}:{port}"

        def connect() -> Any:
            return loop.create_connection(Client, host, port)

    arguments = ["-c", IDLE_CLIENTS, address, str(options.idle), str(len(MESSAGE))]
    idle = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    assert idle.stdin is not None
    assert idle.stdout is not None
    assert await idle.stdout.readline() == b"open\n"
    while descriptors() < options.idle:
        await asyncio.sleep(0.01)
    print(f"{options.idle} idle connections, {resident_kib()} KiB, {descriptors()} descriptors")
    numbers = iter(range(options.count))
    watch = Watch(options.count, "connections")
    before = descriptors()

    async def worker() -> None:
        for number in numbers:
            await one_connection(connect, number)
            watch.at(number)

    await asyncio.gather(*(worker() for _ in range(options.at_once)))
    # The server's ends may be closing still: wait until they are gone.
    while descriptors() > before + options.at_once:
        await asyncio.sleep(0)
    flat = watch.is_flat(options.at_once)
    # The idle ones are alive: each still gets its answer.
    answered, _ = await idle.communicate(b"\n")
    print(f"{answered.decode().strip()} idle connections answered")
    flat = flat and int(answered) == options.idle
    server.close()
    return flat


async def one() -> int:
    return 1


async def failing() -> None:
    await asyncio.sleep(0)
    raise LookupError


async def soak_tasks(options: argparse.Namespace) -> bool:
    loop = asyncio.get_running_loop()
    watch = Watch(options.count, "tasks")
    gather = importlib.import_module(options.classes).gather
    done = 0

    async def ever() -> None:
        await loop.create_future()

    while done < options.count:
        for _ in range(GATHERED):
            await loop.create_task(one())
        for kind in (one, failing):
            await gather(*[kind() for _ in range(GATHERED)], return_exceptions=True)
        waiting = [loop.create_task(ever()) for _ in range(GATHERED)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        del waiting, task
        outer = gather(*[ever() for _ in range(GATHERED)])
        await asyncio.sleep(0)
        outer.cancel()
        with suppress(asyncio.CancelledError):
            await outer
        done += 5 * GATHERED
        watch.at(done)
    return watch.is_flat()


class Answer(asyncio.Protocol):
    """Answers requests: whole, in chunks, by a redirect, cut short, or not at all."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end]).lower()
            begin = head.find(b"content-length: ")
            length = int(head[begin + 16 :].split(b"\r\n")[0]) if begin >= 0 else 0
            if len(self.received) < end + 4 + length:
                return
            del self.received[: end + 4 + length]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        if b"/chunks " in head:
            body = b"400\r\n%s\r\n0\r\n\r\n" % MESSAGE
            self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        elif b"/away " in head:
            self.transport.write(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
        elif b"/cut " in head:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + MESSAGE)
            self.transport.close()
        elif b"/silent " not in head:
            kind = b"Content-Type: application/octet-stream\r\nSet-Cookie: name=value\r\n"
            self.transport.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: 1024\r\n\r\n%s" % (kind, MESSAGE))


async def one_request(session: Any, url: str, number: int) -> None:
    from aioxide import http

    way = number % 50
    if way < 40:
        async with session.get(url) as response:
            assert len(await response.read()) == len(MESSAGE)
    elif way < 43:
        async with session.post(url, data=MESSAGE, headers={"X-Own": str(number)}) as response:
            assert len(response.headers) == 3
            assert len(await response.read()) == len(MESSAGE)
    elif way < 46:
        async with session.get(url + "chunks") as response:
            async for piece in response.content.iter_chunked(500):
                assert piece
    elif way < 48:
        async with session.get(url + "away") as response:
            assert len(response.history) == 1
            await response.read()
    elif way == 48:
        with suppress(http.ClientPayloadError):
            async with session.get(url + "cut") as response:
                await response.read()
    else:
        task = asyncio.ensure_future(session.get(url + "silent"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def soak_requests(options: argparse.Namespace) -> bool:
    from aioxide import http

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answer, "127.0.0.1", 0, backlog=1000)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    numbers = iter(range(options.count))
    watch = Watch(options.count, "requests")
    async with http.ClientSession(connector=http.TCPConnector(limit=options.at_once)) as session:

        async def worker() -> None:
            for number in numbers:
                await one_request(session, url, number)
                watch.at(number)

        await asyncio.gather(*(worker() for _ in range(options.at_once)))
        # Connections to and fro are there, or are not, at the moment of either look.
        flat = watch.is_flat(4 * options.at_once)
        assert session.stats()["in_use"] == 0, session.stats()
    server.close()
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["connections", "requests", "tasks"])
    parser.add_argument("--count", type=int, help="so many (a million connections or requests, ten million tasks)")
    parser.add_argument("--at-once", type=int, default=10, help="connections under way at a time")
    parser.add_argument("--idle", type=int, default=0, help="connections that stay open meanwhile")
    parser.add_argument("--kind", choices=["tcp", "unix"], default="tcp")
    parser.add_argument("--loop", default="aioxide:new_event_loop", help="module:callable that makes the loop")
    parser.add_argument("--classes", default="aioxide", help="the package whose gather is used")
    options = parser.parse_args()
    options.count = options.count or (10_000_000 if options.what == "tasks" else 1_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.idle + 1000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    module, _, name = options.loop.partition(":")
    loop = getattr(importlib.import_module(module), name)()
    asyncio.set_event_loop(loop)
    try:
        flat = loop.run_until_complete(globals()[f"soak_{options.what}"](options))
    finally:
        loop.close()
    print("flat" if flat else "GROWING")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
