#!/usr/bin/env python3
"""Compares `aioxide fetch --resolver` with the system's resolver on a list of names, each on a host of its own.

A server of names on this machine answers for all of them: most at once, some only over TCP, some late, some not before
the question comes again, some never, some that they do not exist. Each row says what it took and whether each name has
the outcome that it should have. The system's resolver (getaddrinfo in threads) is pointed at the same server by a
private mount of `/etc/resolv.conf`, for which one has to be root; otherwise its rows are left out.

    make bench-names                                   50 000 names, all rows
    make bench-names BENCH="--names 5000 --row resolver"
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What the system's resolver must find at port 53.
ADDRESS = "127.77.0.53"
# Kind of name -> how many in a hundred, and whether there is an address in the end.
KINDS = {
    "ok": (78, True),
    "tcp": (5, True),
    "slow": (5, True),
    "lossy": (4, True),
    "nx": (4, False),
    "servfail": (2, False),
    "dead": (2, False),
}
LATE = 0.5
HEADER = struct.Struct("!HHHHHH")
SOA = b"\x00" + struct.pack("!HHIH", 6, 1, 60, 22) + b"\x00\x00" + struct.pack("!IIIII", 1, 1, 1, 1, 60)


def listing(count: int, row: str) -> list[tuple[str, str]]:
    """The names of a row, which no other row has, each with its kind."""
    kinds = [kind for kind, (share, _) in KINDS.items() for _ in range(share)]
    shuffled = random.Random(count)
    return [(f"{number}.{kind}.{row}.test", kind) for number in range(count) for kind in [shuffled.choice(kinds)]]


# --- the servers


def answer(question: bytes, kind: str, over_tcp: bool = False) -> bytes:
    """The answer to a question that has passed what its kind does to it."""
    identifier, flags = HEADER.unpack_from(question)[:2]
    end = question.index(b"\x00", HEADER.size) + 5
    (wanted,) = struct.unpack_from("!H", question, end - 4)
    code, answers, starts, body = 0, 0, 0, b""
    flags = 0x8480 | (flags & 0x0100)
    if kind == "tcp" and not over_tcp:
        flags |= 0x0200
    elif kind == "servfail":
        code = 2
    elif kind != "nx" and wanted == 1:
        answers, body = 1, b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    else:
        code, starts, body = 3 if kind == "nx" else 0, 1, SOA
    return HEADER.pack(identifier, flags | code, 1, answers, starts, 0) + question[HEADER.size : end] + body


def kind_of(question: bytes) -> tuple[bytes, str]:
    """The question without its identifier, and the second part of the name."""
    end = question.index(b"\x00", HEADER.size)
    first = HEADER.size + 1 + question[HEADER.size]
    return question[HEADER.size : end + 5], question[first + 1 : first + 1 + question[first]].decode().lower()


class Datagrams(asyncio.DatagramProtocol):
    """Answers over UDP."""

    def __init__(self) -> None:
        self.met: set[bytes] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        with contextlib.suppress(ValueError, struct.error, IndexError):
            question, kind = kind_of(data)
            if kind == "lossy" and question not in self.met:
                self.met.add(question)
            elif kind == "slow":
                asyncio.get_running_loop().call_later(LATE, self.transport.sendto, answer(data, kind), addr)
            elif kind != "dead":
                self.transport.sendto(answer(data, kind), addr)


async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one question over TCP after another."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            question = await reader.readexactly(length)
            reply = answer(question, kind_of(question)[1], over_tcp=True)
            writer.write(struct.pack("!H", len(reply)) + reply)
    writer.close()


class Pages(asyncio.Protocol):
    """Answers every request with a short page and ends the connection."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.head = transport, b""

    def data_received(self, data: bytes) -> None:
        self.head += data
        if b"\r\n\r\n" in self.head:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
            self.transport.close()


def serve(udp: socket.socket, tcp: socket.socket | None, web: socket.socket | None) -> None:
    """Serves in a process of its own, until it is ended."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        await loop.create_datagram_endpoint(Datagrams, sock=udp)
        if tcp is not None:
            await asyncio.start_server(over_tcp, sock=tcp, backlog=2000)
        if web is not None:
            await loop.create_server(Pages, sock=web, backlog=2000)
        await asyncio.Event().wait()

    asyncio.run(main())


@contextlib.contextmanager
def servers(can_mount: bool) -> Iterator[tuple[str, int]]:
    """The server of names and that of pages; yields the address of the one and the port of the other."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, socket.socket() as web:
        udp.bind((ADDRESS, 53) if can_mount else ("127.0.0.1", 0))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(udp.getsockname())
        web.bind(("127.0.0.1", 0))
        for one in (udp, tcp, web):
            one.setblocking(False)
        context = multiprocessing.get_context("fork")
        # One process each, so that they do not hold each other up.
        with socket.socket(type=socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            unused.setblocking(False)
            processes = [
                context.Process(target=serve, args=(udp, tcp, None), daemon=True),
                context.Process(target=serve, args=(unused, None, web), daemon=True),
            ]
            for process in processes:
                process.start()
            try:
                host, port = udp.getsockname()
                yield f"{host}:{port}", web.getsockname()[1]
            finally:
                for process in processes:
                    process.kill()
                    process.join()


# --- the rows


def fetched_in_threads(threads: int) -> None:
    """Fetches the URLs that the standard input has, as img2dataset does; prints what became of them as aioxide does."""
    threading.stack_size(256 * 1024)

    def fetch(line: int, url: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                response.read()
        except OSError:
            return {"line": line, "url": url, "outcome": "connect_error"}
        return {"line": line, "url": url, "outcome": "ok"}

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for record in pool.map(fetch, itertools.count(1), sys.stdin.read().split()):
            print(json.dumps(record))


def with_server(server: str, work: pathlib.Path, command: list[str]) -> list[str]:
    """The command, for whose process the system's server of names is this one."""
    file = work / "resolv.conf"
    file.write_text(f"nameserver {server.partition(':')[0]}\n")
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(file), *command]


class Row:
    """One way to resolve the names."""

    def __init__(self, title: str, system: bool, threads: int = 0, options: tuple[str, ...] = ()) -> None:
        self.title, self.system, self.threads, self.options = title, system, threads, options


ROWS = {
    "resolver": Row("aioxide fetch --resolver", system=False),
    "system": Row("aioxide fetch, the system's resolver (64 threads)", system=True),
    "threads": Row("urllib in 256 threads, img2dataset's way", system=True, threads=256),
}


def run(key: str, options: argparse.Namespace, server: str, port: int) -> None:
    """Runs a row and prints what became of its names."""
    row, names = ROWS[key], listing(options.names, key)
    with tempfile.TemporaryDirectory(prefix="names-") as folder:
        work = pathlib.Path(folder)
        urls, report = work / "urls", work / "report"
        urls.write_text("\n".join(f"http://{name}:{port}/" for name, _ in names))
        if row.threads:
            command = [sys.executable, __file__, "--in-threads", str(row.threads)]
        else:
            command = [str(options.program), "fetch", "--discard", "-q", "--retries", "0", "-j", str(options.jobs)]
            command += ["-i", "-", "--report", "-", *([] if row.system else ["--resolver", server])]
        if row.system:
            command = with_server(server, work, command)
        began = time.perf_counter()
        with urls.open() as list_file, report.open("w") as output:
            process = subprocess.Popen(command, stdin=list_file, stdout=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        records = [json.loads(line) for line in report.open()]
    told = len({record["line"] for record in records})
    good = {record["url"].split("/")[2].partition(":")[0] for record in records if record["outcome"] == "ok"}
    wrong = collections.Counter(kind for name, kind in names if (name in good) != KINDS[kind][1])
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"{row.title:50} {seconds:7.1f} s {options.names / seconds:8.0f} names/s   CPU {cpu:6.1f} s   "
        f"{usage.ru_maxrss / 1024:5.0f} MiB   {told} told, {len(good)} ok, wrong: {dict(wrong) or 'none'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=50_000, help="how many")
    parser.add_argument("--jobs", type=int, default=500, help="downloads at a time")
    parser.add_argument("--row", choices=ROWS, action="append", help="only these")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/aioxide")
    parser.add_argument("--in-threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_threads:
        fetched_in_threads(options.in_threads)
        return
    can_mount = os.geteuid() == 0 and shutil.which("unshare") is not None
    if can_mount:
        can_mount = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    shares = ", ".join(f"{share} % {kind}" for kind, (share, _) in KINDS.items())
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {options.program.parent.name} build of aioxide")
    print(f"{options.names} names: {shares}")
    with servers(can_mount) as (server, port):
        for key in options.row or ROWS:
            if ROWS[key].system and not can_mount:
                print(f"{ROWS[key].title:50} left out: needs root and `unshare`, to have another /etc/resolv.conf")
            else:
                run(key, options, server, port)


if __name__ == "__main__":
    main()
