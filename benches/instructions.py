#!/usr/bin/env python3
"""Counts the user instructions that one operation of each mechanism costs, by callgrind: steady where timings are not.

    benches/instructions.py                                  the mechanisms, on aioxide
    benches/instructions.py --cases 'Queue*' --loop asyncio  other rows of benches/loops.py, another loop
    benches/instructions.py --against OTHER/bin/python       beside another environment's, say of the commit before

Each row runs twice under valgrind, a few rounds and some more; the difference, divided by the operations that it did,
is free of start-up and imports.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase

from cases import CASES, io, tasks  # noqa: F401 - importing the modules registers their cases
from worker import factory

Run = Callable[[asyncio.AbstractEventLoop], int]
ROUNDS, MORE = 3, 4
MECHANISMS = (
    "call_soon chain",
    "create_task + await",
    "future ping-pong",
    "sleep(0), 1 task",
    "gather 1 000",
    "Queue(1)",
    "Queue(100)",
    "Lock, 10 tasks",
    "Event, 100 waiters",
    "Semaphore(10), 100 tasks",
    "wait_for",
    "timers: rolling",
    "data_received",
    "write",
)


class Counting(asyncio.Protocol):
    """Counts what it receives; stops the loop when the wanted number of bytes is there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.wanted = loop, 0

    def data_received(self, data: bytes) -> None:
        self.wanted -= len(data)
        if not self.wanted:
            self.loop.stop()


def data_received(loop: asyncio.AbstractEventLoop) -> int:
    """Receives 500 messages of 1 KiB, one at a time."""
    ours, theirs = socket.socketpair()
    transport, protocol = loop.run_until_complete(loop.create_connection(lambda: Counting(loop), sock=ours))
    for _ in range(500):
        protocol.wanted = 1024
        theirs.send(b"x" * 1024)
        loop.run_forever()
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    theirs.close()
    return 500


def write(loop: asyncio.AbstractEventLoop) -> int:
    """Writes 500 messages of 1 KiB, each from a callback of its own."""
    ours, theirs = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(lambda: Counting(loop), sock=ours))

    def step() -> None:
        transport.write(b"x" * 1024)
        loop.stop()

    for _ in range(500):
        loop.call_soon(step)
        loop.run_forever()
        assert len(theirs.recv(4096)) == 1024
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    theirs.close()
    return 500


def rounds(name: str) -> Run:
    """Returns one round of a row."""
    own: dict[str, Run] = {"data_received": data_received, "write": write}
    run = own.get(name) or CASES[name].run
    if run is None:
        sys.exit(f"{name}: its rounds are not of equal work, so that its instructions cannot be counted")
    return run


def work(loop_name: str, name: str, count: int) -> None:
    """Does some rounds of a row and prints how many operations one is: what runs under valgrind."""
    run, loop = rounds(name), factory(loop_name)()
    for _ in range(count):
        operations = run(loop)
    print(operations, flush=True)
    os._exit(0)


def counted(python: str, loop: str, name: str, count: int) -> tuple[int, int]:
    """Returns the instructions of a process that does some rounds, and the operations of one."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", python, __file__]
    command += ["--work", str(count), "--loop", loop, "--cases", name]
    environment = dict(os.environ, PYTHONHASHSEED="0")
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode or found is None:
        sys.exit(f"{name}: {result.stderr.strip()[-500:]}")
    return int(found[1]), int(result.stdout)


def per_operation(python: str, loop: str, name: str) -> float:
    """Returns the instructions of one operation."""
    few, operations = counted(python, loop, name, ROUNDS)
    more, _ = counted(python, loop, name, ROUNDS + MORE)
    return (more - few) / MORE / operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", default="aioxide")
    parser.add_argument("--cases", action="append", help="a pattern of rows; may be repeated")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--against", metavar="PYTHON", help="another interpreter, to compare with")
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.loop, options.cases[0], options.work)
    known = [*CASES, "data_received", "write"]
    wanted = options.cases or list(MECHANISMS)
    names = [name for name in known if any(fnmatchcase(name, pattern) for pattern in wanted)]
    if not names:
        sys.exit(f"no row is called {', '.join(wanted)}; there are: {', '.join(known)}")
    print(f"instructions an operation, {options.loop}" + (", other, ratio" if options.against else ""))
    for name in names:
        here = per_operation(options.python, options.loop, name)
        if options.against:
            other = per_operation(options.against, options.loop, name)
            print(f"{name:28}{here:10.0f}{other:10.0f}{here / other:8.3f}", flush=True)
        else:
            print(f"{name:28}{here:10.0f}", flush=True)


if __name__ == "__main__":
    main()
