"""An exchange in its order: bodies that wait, old versions, words that are no UTF-8, sessions that end in its midst."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, echo
from .scripted import plain, scripted
from .test_websockets import echo_socket


async def two_pieces() -> AsyncIterator[bytes]:
    yield b"te"
    yield b"xt"


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("by_header", [False, True])
def test_body_waits_for_the_servers_word(client: Client, kind: str, by_header: bool) -> None:
    seen: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.2)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            seen.append((head, await reader.readexactly(4 if kind == "bytes" else 17)))
            writer.write(plain(b"done"))
        writer.close()

    async def main(http: ModuleType, _url: str) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        options: dict[str, Any] = {"headers": {"Expect": "100-Continue"}} if by_header else {"expect100": True}
        async with http.ClientSession() as session:
            for _ in range(2):
                data = b"text" if kind == "bytes" else two_pieces()
                async with session.post(url, data=data, **options) as response:
                    assert await response.read() == b"done"
        server.close()
        for head, body in seen:
            assert b"expect: 100-continue" in head.lower()
            assert body == (b"text" if kind == "bytes" else b"2\r\nte\r\n2\r\nxt\r\n0\r\n\r\n"[:17])

    client.run(main)


def test_refusal_without_the_word_leaves_the_body_unsent(client: Client) -> None:
    async def refuse(_writer: asyncio.StreamWriter) -> bytes:
        return b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno"

    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
        seen.append(head + await reader.read())
        writer.close()

    async def main(http: ModuleType, _url: str) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with http.ClientSession() as session:
            for _ in range(2):
                async with session.post(url, data=b"secret", expect100=True) as response:
                    assert (response.status, await response.read()) == (417, b"no")
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        server.close()
        assert not any(b"secret" in bytes_of for bytes_of in seen)

    client.run(main)


def test_silent_server_gets_the_body_after_a_second(ours: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session, scripted(plain(b"done")) as server:
            began = time.monotonic()
            async with session.post(server.url, data=b"text", expect100=True) as response:
                assert await response.read() == b"done"
            assert 0.8 < time.monotonic() - began < 5
            assert server.requests[0][1] == b"text"

    ours.run(main)


def test_http_1_0(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        answer = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        async with http.ClientSession(version=http.HttpVersion10) as session, scripted(answer, close=True) as server:
            for data in (None, b"text"):
                async with session.request("POST" if data else "GET", server.url, data=data) as response:
                    assert await response.read() == b"hello"
            (get, _), (post, body) = server.requests
            assert get.startswith(b"GET / HTTP/1.0\r\n")
            assert post.startswith(b"POST / HTTP/1.0\r\n")
            assert body == b"text"
            assert b"\r\nConnection: keep-alive\r\n" in get
            async with session.post(f"{url}/echo", data=b"text") as response:
                assert response.version == http.HttpVersion10
                assert (await response.json())["body"] == "text"

    client.run(main, web.route("*", "/echo", echo))


def test_body_of_unknown_length_is_refused_in_http_1_0(ours: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession(version=http.HttpVersion10) as session:
            with pytest.raises(ValueError, match=r"unknown length cannot be sent in HTTP/1\.0"):
                await session.post(url, data=two_pieces())

    ours.run(main)


def test_reason_that_is_no_utf_8(client: Client) -> None:
    answer = b"HTTP/1.1 404 Nicht da: \xe9\xff\r\nContent-Length: 0\r\n\r\n"

    async def main(http: ModuleType, _url: str) -> None:
        async with http.ClientSession() as session, scripted(answer) as server:
            async with session.get(server.url) as response:
                assert response.reason == "Nicht da: \udce9\udcff"
                with pytest.raises(http.ClientResponseError) as caught:
                    response.raise_for_status()
                assert caught.value.message == response.reason

    client.run(main)


def test_closed_session_ends_its_websockets(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        session = http.ClientSession()
        socket = await session.ws_connect(f"{url}/ws")
        waiting = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(0.01)
        await session.close()
        message = await asyncio.wait_for(waiting, 5)
        assert message.type in {http.WSMsgType.CLOSED, http.WSMsgType.ERROR, http.WSMsgType.CLOSING}
        assert socket.closed

    client.run(main, web.get("/ws", echo_socket))
