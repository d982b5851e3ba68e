"""aiohttp: server and client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web


async def echo(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_chunked(65536):
        await response.write(chunk)
    await response.write_eof()
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


ARRIVED = web.AppKey("arrived", asyncio.Event)


async def slow(request: web.Request) -> web.Response:
    request.app[ARRIVED].set()
    await asyncio.Event().wait()
    return web.Response()


@asynccontextmanager
async def serving(arrived: asyncio.Event | None = None) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 26)
    app[ARRIVED] = arrived or asyncio.Event()
    routes = [web.get("/", hello), web.post("/echo", echo), web.get("/ws", websocket), web.get("/slow", slow)]
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_many_requests_at_once(run: Any) -> None:
    async def main() -> None:
        async with serving() as url, aiohttp.ClientSession() as session:

            async def one() -> str:
                async with session.get(url) as response:
                    return await response.text()

            assert await asyncio.gather(*[one() for _ in range(300)]) == ["hello"] * 300

    run(main())


def test_large_bodies_both_ways(run: Any) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 20_000
        async with (
            serving() as url,
            aiohttp.ClientSession() as session,
            session.post(f"{url}/echo", data=data) as response,
        ):
            assert await response.read() == data

    run(main())


def test_websocket(run: Any) -> None:
    async def main() -> None:
        async with (
            serving() as url,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/ws") as socket,
        ):
            for word in ("one", "two", "x" * 100_000):
                await socket.send_str(word)
                assert await socket.receive_str() == word.upper()

    run(main())


def test_timeout_and_cancel(run: Any) -> None:
    async def main() -> None:
        arrived = asyncio.Event()
        async with serving(arrived) as url, aiohttp.ClientSession() as session:
            try:
                await session.get(f"{url}/slow", timeout=aiohttp.ClientTimeout(total=0.05))
            except asyncio.TimeoutError:
                pass
            else:
                raise AssertionError
            arrived.clear()
            task = asyncio.ensure_future(session.get(f"{url}/slow"))
            await arrived.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())


LESSON = """
import asyncio, sys, time
import aiohttp

async def download_site(session, url):
    async with session.get(url) as response:
        print("J" if "jython" in url else "R", end="", flush=True)

async def download_all_sites(sites):
    async with aiohttp.ClientSession() as session:
        tasks = [asyncio.ensure_future(download_site(session, url)) for url in sites]
        return await asyncio.gather(*tasks, return_exceptions=True)

sites = [sys.argv[1] + "/?jython", sys.argv[1] + "/?realpython"] * 80
start = time.time()
asyncio.run(download_all_sites(sites))
print(f"\\nDownloaded {len(sites)} sites in {time.time() - start:.2f} seconds")
"""


def test_downloader_runs_unmodified(run: Any, tmp_path: Path) -> None:
    (tmp_path / "lesson.py").write_text(LESSON)

    async def main() -> None:
        async with serving() as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "aioxide", str(tmp_path / "lesson.py"), url, stdout=subprocess.PIPE
            )
            output, _ = await process.communicate()
        marks, summary = output.decode().strip().splitlines()
        assert sorted(marks) == ["J"] * 80 + ["R"] * 80
        assert summary.startswith("Downloaded 160 sites in ")

    run(main())
