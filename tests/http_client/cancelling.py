"""Requests and websockets that are cancelled at random points: nothing is left of them, and the pool goes on.

    python -m http_client.cancelling                    10 000 cancellations (in tests/)
    python -m http_client.cancelling --count 500 --seed 7

The server is aiohttp's, in a process of its own, over HTTP and HTTPS. Each cancellation falls after a random number of
turns of the loop, up to when the exchange has ended by itself. After each hundred the session is to have nothing open
but idle connections, no task is left, and a request works; at the end descriptors and memory are as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVER = """
import asyncio, logging, ssl, sys
from aiohttp import web

logging.disable()

async def small(request): return web.Response(body=b"x" * 1000)
async def large(request): return web.Response(body=b"x" * 1_000_000)
async def away(request): raise web.HTTPFound("/small")
async def take(request): return web.Response(text=str(len(await request.read())))
async def slow(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(5):
        await response.write(b"x" * 500)
        await asyncio.sleep(0.001)
    return response
async def socket(request):
    own = web.WebSocketResponse()
    await own.prepare(request)
    async for message in own:
        await own.send_str(message.data)
    return own

async def main():
    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.get("/small", small), web.get("/large", large), web.get("/away", away), web.get("/slow", slow),
                    web.post("/take", take), web.get("/socket", socket)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    for settings in ({}, {"ssl_context": context}):
        await web.TCPSite(runner, "127.0.0.1", 0, **settings).start()
    print(*(address[1] for address in runner.addresses), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""
# Resident memory that grows between the first fifth and the end by less is noise of the allocator.
ALLOWED_GROWTH_KIB = 4096
LIMIT = 8


@contextmanager
def serving() -> Iterator[tuple[str, str]]:
    """The server's URLs, of HTTP and of HTTPS."""
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "both.pem"
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
        made = [*command.split(), "-keyout", str(pem), "-out", f"{pem}.crt"]
        subprocess.run(made, check=True, capture_output=True)
        pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
        environment = os.environ | {"AIOXIDE": "0"}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", SERVER, str(pem)], stdin=pipe, stdout=pipe, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            plain, secure = process.stdout.readline().split()
            try:
                yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}"
            finally:
                process.stdin.close()


async def get(session: Any, url: str) -> None:
    async with session.get(url) as response:
        await response.read()


async def stream(session: Any, url: str) -> None:
    async with session.get(url) as response:
        async for _piece in response.content.iter_chunked(1000):
            pass


async def upload(session: Any, url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 10_000
            await asyncio.sleep(0)

    async with session.post(url, data=pieces()) as response:
        await response.text()


async def post(session: Any, url: str) -> None:
    async with session.post(url, data=b"x" * 200_000, expect100=True) as response:
        await response.text()


async def talk(session: Any, url: str) -> None:
    async with session.ws_connect(url, heartbeat=30) as socket:
        for _ in range(5):
            await socket.send_str("x" * 1000)
            await socket.receive_str()


KINDS: list[tuple[Callable[[Any, str], Awaitable[None]], str]] = [
    (get, "/small"),
    (get, "/large"),
    (get, "/away"),
    (get, "/slow"),
    (stream, "/large"),
    (stream, "/slow"),
    (upload, "/take"),
    (post, "/take"),
    (talk, "/socket"),
]


def resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(session: Any) -> None:
    """Waits until nothing is in use, and nothing runs but this task."""
    for _ in range(2000):
        if session.stats()["in_use"] == 0 and len(asyncio.all_tasks()) == 1:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"left: {session.stats()}, tasks {asyncio.all_tasks()}")


async def cancelling(http: Any, urls: tuple[str, str], count: int, seed: int) -> dict[str, int]:
    """Cancels so many; says how many were cancelled and how many had ended before."""
    draw = random.Random(seed)
    outcomes = {"cancelled": 0, "ended": 0}
    connector = http.TCPConnector(limit=LIMIT, ssl=False)
    first = 0
    async with http.ClientSession(connector=connector) as session:

        async def one() -> None:
            kind, path = draw.choice(KINDS)
            task = asyncio.ensure_future(kind(session, draw.choice(urls) + path))
            for _ in range(int(draw.expovariate(1 / 60))):
                await asyncio.sleep(0)
                if task.done():
                    break
            if draw.random() < 0.5:
                await asyncio.wait([task], timeout=draw.expovariate(1 / 0.03))
            task.cancel()
            try:
                await task
                outcomes["ended"] += 1
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1

        for number in range(0, count, 100):
            for _ in range(10):
                await asyncio.gather(*(one() for _ in range(10)))
            await settled(session)
            assert session.stats()["open"] <= LIMIT, session.stats()
            for url in urls:
                async with session.get(f"{url}/small") as response:
                    assert len(await response.read()) == 1000
            if number == count // 5 // 100 * 100:
                gc.collect()
                first = resident_kib()
    await asyncio.sleep(0.05)
    gc.collect()
    outcomes["grown_kib"] = resident_kib() - first
    return outcomes


def main(count: int, seed: int) -> dict[str, int]:
    import logging

    import aioxide
    from aioxide import http

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reports.append(record.getMessage())

    reports: list[str] = []
    logging.getLogger("asyncio").addHandler(Noting())
    with serving() as urls:
        # What is opened once, like the platform's authorities, is opened before.
        aioxide.run(cancelling(http, urls, 100, seed))
        before = descriptors()
        outcomes = aioxide.run(cancelling(http, urls, count, seed + 1))
        outcomes["descriptors"] = descriptors() - before
    # What nobody has taken is reported when it is collected.
    gc.collect()
    outcomes["reports"] = len(reports)
    for report in set(reports):
        print(report)
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = main(options.count, options.seed)
    print(found)
    sys.exit(found["descriptors"] != 0 or found["reports"] != 0 or found["grown_kib"] > ALLOWED_GROWTH_KIB)
