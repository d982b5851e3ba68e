"""The HTTP session: requests, bodies, websockets, cancellations, exceptions, contexts of TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

from aioxide import http

from . import behaviour, outcome
from .connections import contexts

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: a=b\r\nContent-Length: %d\r\n\r\n%s"
ACCEPT = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"


def accept(key: bytes) -> bytes:
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


@cache
def port() -> int:
    """The same in each round: yarl keeps what it has made of URLs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
            await reader.readexactly(int(lines.get(b"content-length", b"0")))
            if b" /hang" in head:
                await reader.read()
            elif b" /cut" in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort")
                return
            elif b" /away" in head:
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
            elif b" /socket" in head:
                key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
                # A text of two letters, not masked; then a goodbye.
                writer.write(ACCEPT % accept(key) + b"\x81\x02hi" + b"\x88\x02\x03\xe8")
                await reader.read(100)
                return
            else:
                writer.write(ANSWER % (14, b'{"some": "x"} '))
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[tuple[Any, str]]:
    handlers: set[asyncio.Task[None]] = set()

    async def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        task.add_done_callback(handlers.discard)
        await answer(reader, writer)

    server = await asyncio.start_server(start, "127.0.0.1", port(), ssl=context)
    scheme = "http" if context is None else "https"
    try:
        async with http.ClientSession(**options) as session:
            yield session, f"{scheme}://localhost:{port()}"
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@behaviour
async def http_plain_requests(loop: Any) -> None:
    async with serving() as (session, url):
        for _ in range(3):
            async with session.get(url) as response:
                await response.json()
                assert response.headers["Content-Type"] == "application/json"
                assert response.url.path == "/"
                assert response.raw_headers


@behaviour
async def http_requests_with_everything(loop: Any) -> None:
    async def hook(*_arguments: Any) -> None:
        pass

    config = http.TraceConfig()
    config.on_request_start.append(hook)
    config.on_response_chunk_received.append(hook)
    async with serving(trace_configs=[config], headers={"X-Own": "1"}, cookies={"c": "d"}) as (session, url):
        async with session.post(f"{url}/away", data={"a": "b"}, params={"q": "1"}) as response:
            assert len(response.history) == 1
            async for _piece in response.content.iter_chunked(3):
                pass
        async with session.post(url, data=http.FormData({"f": "x"}), timeout=http.ClientTimeout(total=5)) as response:
            await response.text()


@behaviour
async def http_failures(loop: Any) -> None:
    async with serving() as (session, url):
        async with session.get(f"{url}/cut") as response:
            assert await outcome(response.read()) is http.ClientPayloadError
        await outcome(session.get("http://127.0.0.1:1/"))
        await outcome(session.get("nonsense"))
        await outcome(session.get(f"{url}/hang", timeout=http.ClientTimeout(total=0.01)))


@behaviour
async def http_cancellations(loop: Any) -> None:
    async with serving() as (session, url):
        for turns in range(12):
            for path in ("/hang", "/", "/socket"):
                start = session.ws_connect if path == "/socket" else session.get
                task = loop.create_task(_whole(start(url + path)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await outcome(task)


async def _whole(request: Any) -> None:
    async with request as opened:
        if isinstance(opened, http.ClientWebSocketResponse):
            await opened.receive()
        else:
            await opened.read()


@behaviour
async def http_websockets(loop: Any) -> None:
    async with serving() as (session, url), session.ws_connect(f"{url}/socket", heartbeat=30) as opened:
        assert await opened.receive_str() == "hi"
        await opened.receive()


@behaviour
async def http_session_closed_in_the_midst(loop: Any) -> None:
    async with serving() as (session, url):
        tasks = [loop.create_task(_whole(session.get(f"{url}/hang"))) for _ in range(3)]
        await asyncio.sleep(0.005)
        await session.close()
        for task in tasks:
            await outcome(task)


@behaviour
async def http_over_tls(loop: Any) -> None:
    server, client = contexts()
    async with serving(server) as (session, url):
        for ssl_of in (client, False, http.Fingerprint(bytes(32))):
            with suppress(http.ClientError):
                async with session.get(url, ssl=ssl_of) as response:
                    await response.read()


@behaviour
async def http_contexts_that_are_refused(loop: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with serving() as (session, _url):
        assert await outcome(session.get("https://localhost:1/", ssl=context)) is ValueError
