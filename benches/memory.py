#!/usr/bin/env python3
"""What waiting costs in memory: bytes of resident memory for each waiting task and each idle connection, on every loop.

    benches/memory.py                                     all loops that are installed
    benches/memory.py --loops asyncio,aioxide --update docs/benchmarks.md

Each case runs in a process of its own. What is resident is read before and after so many have come to wait; the
clients of the connections are another process. The kernel's own memory is the same on every loop and not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import document
from loops import LOOPS, installed
from worker import factory

HERE = Path(__file__).resolve()
TASKS = 50_000
CONNECTIONS = 5_000
# Ends when its input does.
CLIENT = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
kept = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
sys.stdin.read()
"""


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def tasks_in(wait: Callable[[], Awaitable[object]]) -> float:
    """Bytes for a task that waits in `wait`."""

    async def waits() -> None:
        await wait()

    async def some(count: int) -> list[asyncio.Task[None]]:
        made = [asyncio.ensure_future(waits()) for _ in range(count)]
        await asyncio.sleep(0.01)
        return made

    kept = await some(1000)
    before = resident()
    kept += await some(TASKS)
    after = resident()
    for task in kept:
        task.cancel()
    await asyncio.gather(*kept, return_exceptions=True)
    return (after - before) / TASKS


async def sleeping() -> float:
    return await tasks_in(lambda: asyncio.sleep(3600))


async def for_an_event() -> float:
    return await tasks_in(asyncio.Event().wait)


async def for_a_queue() -> float:
    return await tasks_in(asyncio.Queue[None]().get)


async def for_a_future() -> float:
    return await tasks_in(asyncio.get_running_loop().create_future)


async def connections_of(serve: Callable[[Callable[[], None]], Awaitable[asyncio.Server]]) -> float:
    """Bytes for a connection that says nothing; `serve` starts a server that calls for each one that comes."""
    loop = asyncio.get_running_loop()
    here = 0
    all_here = loop.create_future()

    def comes() -> None:
        nonlocal here
        here += 1
        if here == CONNECTIONS and not all_here.done():
            all_here.set_result(None)

    server = await serve(comes)
    port = server.sockets[0].getsockname()[1]
    # What the first one brings along is not a connection's.
    with socket.create_connection(("127.0.0.1", port)):
        await asyncio.sleep(0.1)
    before, here = resident(), 0
    command = [sys.executable, "-c", CLIENT, str(port), str(CONNECTIONS)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        await asyncio.wait_for(all_here, 60)
        await asyncio.sleep(0.1)
        return (resident() - before) / CONNECTIONS
    finally:
        client.kill()
        client.wait()


async def protocols() -> float:
    class Idle(asyncio.Protocol):
        def __init__(self, comes: Callable[[], None]) -> None:
            self.comes = comes

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.comes()

    async def serve(comes: Callable[[], None]) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: Idle(comes), "127.0.0.1", 0, backlog=1000)

    return await connections_of(serve)


async def streams() -> float:
    async def serve(comes: Callable[[], None]) -> asyncio.Server:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            comes()
            await reader.readline()

        return await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1000)

    return await connections_of(serve)


CASES: dict[str, Callable[[], Awaitable[float]]] = {
    "task in sleep()": sleeping,
    "task in Event.wait()": for_an_event,
    "task in Queue.get()": for_a_queue,
    "task awaiting a future": for_a_future,
    "idle connection, Protocol": protocols,
    "idle connection, streams": streams,
}


def measure(loop: str, case: str) -> None:
    """Measures one case in this process and prints the bytes."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    event_loop = factory(loop)()
    asyncio.set_event_loop(event_loop)
    print(json.dumps(event_loop.run_until_complete(CASES[case]())), flush=True)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", default=",".join(LOOPS), help="which, separated by commas (default: all found)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--update", type=Path, metavar="DOCUMENT", help="write the table between its markers")
    parser.add_argument("--one", nargs=2, metavar=("LOOP", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one)
    loops = installed(sys.executable, options.loops.split(","))
    lines = [f"| bytes for each | {' | '.join(loops)} |", "|---" * (len(loops) + 1) + "|"]
    for case in CASES:
        cells = []
        for loop in loops:
            command = [sys.executable, str(HERE), "--one", loop, case]
            turns = [
                subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(options.rounds)
            ]
            values = [json.loads(turn.stdout) for turn in turns if turn.returncode == 0]
            cells.append(f"{statistics.median(values):.0f}" if values else "-")
        lines.append(f"| {case} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    table = "\n".join(lines)
    print(table)
    if options.update:
        python = platform.python_version()
        document.update(
            options.update, "memory", python, f"CPython {python}, {TASKS} tasks, {CONNECTIONS} connections.\n\n{table}"
        )


if __name__ == "__main__":
    main()
