#!/usr/bin/env python3
"""Opens and closes connections for a long time, and fails when memory or descriptors grow.

    scripts/soak.py                                    100 000 TCP connections on aioxide
    scripts/soak.py --connections 1000000 --kind unix
    scripts/soak.py --idle 10000                       so many open at once, besides
    scripts/soak.py --loop uvloop:new_event_loop       another loop, for comparison

Client and server live in one process and on one loop. Every connection carries a message there and back; the ways to
end it take turns: closed by the client, by the server, aborted, reset by the peer.
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
from typing import Any

MESSAGE = b"x" * 1024
# Growth of resident memory between the first tenth and the end that is still noise.
ALLOWED_GROWTH_KIB = 4096


class Echo(asyncio.Protocol):
    """Answers, and closes when asked to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

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
    transport.write(MESSAGE)
    await client.answered
    if number % 3 == 0:
        transport.close()
    elif number % 3 == 1:
        transport.abort()
    else:  # a linger time of zero makes the close a reset
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.close()
    await client.lost


def resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def soak(options: argparse.Namespace) -> bool:
    loop = asyncio.get_running_loop()
    if options.kind == "unix":
        path = os.path.join(tempfile.mkdtemp(), "soak")
        server = await loop.create_unix_server(Echo, path, backlog=1000)

        def connect() -> Any:
            return loop.create_unix_connection(Client, path)

    else:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1000)
        host, port = server.sockets[0].getsockname()

        def connect() -> Any:
            return loop.create_connection(Client, host, port)

    idle = [await connect() for _ in range(options.idle)]
    numbers = iter(range(options.connections))
    started = time.perf_counter()
    first: list[int] = []

    async def worker() -> None:
        for number in numbers:
            await one_connection(connect, number)
            if number == options.connections // 10:
                gc.collect()
                first[:] = [resident_kib(), descriptors()]
            if number % 10_000 == 0:
                print(f"{number:9} connections, {resident_kib()} KiB, {descriptors()} descriptors", flush=True)

    await asyncio.gather(*(worker() for _ in range(options.at_once)))
    seconds = time.perf_counter() - started
    # The server's ends may be closing still: wait until they are gone.
    while descriptors() > first[1] + options.at_once:
        await asyncio.sleep(0)
    gc.collect()
    memory, count = resident_kib(), descriptors()
    print(f"{options.connections} connections in {seconds:.1f} s, {options.connections / seconds:.0f} per second")
    print(f"memory: {first[0]} KiB after a tenth, {memory} KiB at the end; descriptors: {first[1]}, {count}")
    for transport, _ in idle:
        transport.abort()
    server.close()
    return memory <= first[0] + ALLOWED_GROWTH_KIB and count <= first[1] + options.at_once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--idle", type=int, default=0, help="connections that stay open meanwhile")
    parser.add_argument("--kind", choices=["tcp", "unix"], default="tcp")
    parser.add_argument("--loop", default="aioxide:new_event_loop", help="module:callable that makes the loop")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * options.idle + 1000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    module, _, name = options.loop.partition(":")
    loop = getattr(importlib.import_module(module), name)()
    asyncio.set_event_loop(loop)
    try:
        flat = loop.run_until_complete(soak(options))
    finally:
        loop.close()
    print("flat" if flat else "GROWING")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
