"""Nothing is left behind: requests and websockets cancelled anywhere, servers that break off."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, echo

KINDS = ("ClientResponse", "ClientSession", "TCPConnector", "_FastRequest", "RustFuture", "ClientRequest")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def census() -> Counter[str]:
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each).__name__ in KINDS)


async def echo_socket(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        await answer.send_str(message.data)
    return answer


async def slow(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(5):
        await answer.write(b"x" * 20_000)
        await asyncio.sleep(0)
    return answer


def test_cancelled_anywhere(ours: Client) -> None:
    random_ = random.Random(1)

    async def main(http: ModuleType, url: str) -> None:
        async def get(session: Any) -> None:
            async with session.get(f"{url}/slow") as response:
                await response.read()

        async def stream(session: Any) -> None:
            async with session.post(f"{url}/echo", json={"a": 1}) as response:
                async for _piece in response.content.iter_any():
                    await asyncio.sleep(0)

        async def upload(session: Any) -> None:
            async def pieces() -> Any:
                for _ in range(5):
                    await asyncio.sleep(0)
                    yield b"y" * 1000

            async with session.post(f"{url}/echo", data=pieces()) as response:
                await response.json()

        async def talk(session: Any) -> None:
            async with session.ws_connect(f"{url}/socket") as socket_:
                await socket_.send_str("hello")
                await socket_.receive()

        async with http.ClientSession(connector=http.TCPConnector(limit=4)) as session:
            await get(session)
            for _ in range(150):
                jobs = [random_.choice((get, stream, upload, talk)) for _ in range(4)]
                tasks = [asyncio.ensure_future(job(session)) for job in jobs]
                for _ in range(random_.randrange(40)):
                    await asyncio.sleep(0)
                for task in random_.sample(tasks, 2):
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(each is None or isinstance(each, asyncio.CancelledError) for each in outcomes), outcomes
            # The pool goes on, and no place in it was lost.
            await asyncio.gather(*(get(session) for _ in range(8)))
            assert session.stats()["open"] <= 4
        await asyncio.sleep(0.01)
        assert [task for task in asyncio.all_tasks() if "Hops" in repr(task)] == []

    routes = [web.get("/slow", slow), web.post("/echo", echo), web.get("/socket", echo_socket)]
    ours.run(main, *routes)
    before, objects = descriptors(), census()
    ours.run(main, *routes)
    assert descriptors() == before
    assert census() == objects


HOSTILE = {
    "nothing": b"",
    "no http": b"hello\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "short body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n",
    "bad gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"Content-Length: 0\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: ftp://example.org/\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_answers_end_in_an_exception_of_the_client(client: Client, what: str) -> None:
    async def main(http: ModuleType, _url: str) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(HOSTILE[what])
                await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, family=socket.AF_INET)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with http.ClientSession(timeout=http.ClientTimeout(total=5)) as session:
            for how in ({}, {"headers": {"Cookie": "a=b"}}):
                with pytest.raises(http.ClientError):
                    async with session.get(url, **how) as response:
                        await response.read()
            assert getattr(session, "stats", lambda: {"in_use": 0})()["in_use"] == 0
        server.close()
        await server.wait_closed()

    client.run(main)
