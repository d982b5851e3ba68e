"""Small behaviours that programs rely on, the same asserts for aiohttp and aioxide.http, against scripted servers."""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import pickle
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from .conftest import Client
from .scripted import Scripted, plain, scripted

Main = Callable[[ModuleType], Awaitable[None]]


def run(client: Client, main: Main) -> None:
    async def whole(http: ModuleType, _url: str) -> None:
        await main(http)

    client.run(whole)


def line(server: Scripted) -> bytes:
    """The request line of the last request."""
    return server.requests[-1][0].split(b"\r\n")[0]


def sent(server: Scripted, name: bytes) -> list[bytes]:
    """The values of a header of the last request."""
    pairs = [line.partition(b": ") for line in server.requests[-1][0].split(b"\r\n")[1:]]
    return [value for found, _, value in pairs if found.lower() == name]


@pytest.mark.parametrize(
    ("path", "params", "asked"),
    [
        ("/", [("a", "1"), ("a", "2")], b"/?a=1&a=2"),
        ("/", {"a": [1, 2]}, b"/?a=1&a=2"),
        ("/", {"a": 1.5}, b"/?a=1.5"),
        ("/", {}, b"/"),
        ("/?x=1", {"x": "2"}, b"/?x=1&x=2"),
        ("/", {"ä": "€ +&="}, b"/?%C3%A4=%E2%82%AC+%2B%26%3D"),
        ("/", "a=b&c=d", b"/?a=b&c=d"),
        ("/%2F%20a?x=%26", None, b"/%2F%20a?x=%26"),
        ("/a b/../c", None, b"/c"),
        ("/a+b?c+d", None, b"/a+b?c+d"),
        ("/a#b c", {"x": 1}, b"/a?x=1"),
    ],
)
def test_parameters(client: Client, path: str, params: Any, asked: bytes) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server, http.ClientSession() as session:
            async with session.get(server.url + path, params=params) as response:
                assert await response.read() == b"hello"
            assert line(server) == b"GET %s HTTP/1.1" % asked

    run(client, main)


def test_an_url_keeps_its_looks(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server, http.ClientSession() as session:
            for path in ("", "/", "/a?b=c", "/a#b"):
                async with session.get(server.url + path) as response:
                    assert str(response.real_url) == server.url + path
                    assert str(response.request_info.real_url) == server.url + path

    run(client, main)


@pytest.mark.parametrize("params", [{"a": None}, {"a": b"x"}, {"a": float("inf")}])
def test_parameters_that_are_refused(client: Client, params: Any) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server, http.ClientSession() as session:
            with pytest.raises((TypeError, ValueError)):
                await session.get(server.url, params=params)
            assert not server.requests

    run(client, main)


def test_a_wrong_argument_is_refused_at_the_call(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with http.ClientSession() as session:
            for call in (session.get, session.post):
                with pytest.raises(TypeError, match=r"ClientSession\._request\(\) got an unexpected keyword argument"):
                    call("http://127.0.0.1:1/", nope=1)

    run(client, main)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ({"a": None}, b"a=None"),
        ({"a": [1, 2]}, b"a=1&a=2"),
        ({"a": True, "b": 1.5}, b"a=True&b=1.5"),
        ([("a", "ä&="), ("a", "x")], b"a=%C3%A4%26%3D&a=x"),
        ({}, b""),
        (bytearray(b"xy"), b"xy"),
        (io.StringIO("ä"), "ä".encode()),
    ],
)
def test_what_is_sent(client: Client, data: Any, body: bytes) -> None:
    async def main(http: ModuleType) -> None:
        if isinstance(data, io.StringIO):
            data.seek(0)
        async with scripted(plain()) as server, http.ClientSession() as session:
            async with session.post(server.url, data=data) as response:
                assert response.status == 200
            assert server.requests[-1][1] == body

    run(client, main)


@pytest.mark.parametrize("piece", [5, "text"])
def test_pieces_of_a_body_are_bytes(client: Client, piece: Any) -> None:
    async def pieces() -> Any:
        yield b"a"
        yield piece

    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server, http.ClientSession() as session:
            with pytest.raises(http.ClientConnectionError, match="Failed to send bytes") as caught:
                await session.post(server.url, data=pieces())
            assert isinstance(caught.value.__cause__, TypeError)
            async with session.get(server.url) as response:
                assert response.status == 200

    run(client, main)


def test_files_that_cannot_be_read(client: Client) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            raise OSError(5, "bad disk")

    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server, http.ClientSession() as session:
            with pytest.raises(http.ClientOSError, match="Can not write request body for http://") as caught:
                await session.post(server.url, data=Broken())
            assert caught.value.errno == 5

    run(client, main)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_methods_of_redirects(client: Client, status: int, method: str) -> None:
    kept = not ((status == 303 and method != "HEAD") or (status in {301, 302} and method == "POST"))

    async def main(http: ModuleType) -> None:
        moved = b"HTTP/1.1 %d X\r\nLocation: /b?x=1#f\r\nContent-Length: 0\r\n\r\n" % status
        body = b"body" if method not in {"GET", "HEAD"} else None
        async with scripted(moved, plain(b"")) as server, http.ClientSession() as session:
            asked = session.request(method, f"{server.url}/a", params={"p": "q"}, data=body, allow_redirects=True)
            async with asked as response:
                assert (response.status, str(response.url)) == (200, f"{server.url}/b?x=1")
                assert [str(one.url) for one in response.history] == [f"{server.url}/a?p=q"]
            assert line(server) == b"%s /b?x=1 HTTP/1.1" % (method if kept else "GET").encode()
            assert server.requests[-1][1] == (body or b"" if kept else b"")

    run(client, main)


@pytest.mark.parametrize("secret", ["Authorization", "Cookie", "Proxy-Authorization"])
@pytest.mark.parametrize("of_session", [True, False])
def test_secrets_stay_with_their_origin(client: Client, secret: str, of_session: bool) -> None:
    async def main(http: ModuleType) -> None:
        headers = {secret: "mine=1", "X-Other": "2"}
        async with scripted(plain(b"")) as other:
            moved = b"HTTP/1.1 302 X\r\nLocation: %s/b\r\nContent-Length: 0\r\n\r\n" % other.url.encode()
            async with (
                scripted(moved) as server,
                http.ClientSession(headers=headers if of_session else None) as session,
                session.get(server.url, headers=None if of_session else headers) as response,
            ):
                assert response.status == 200
                assert sent(server, secret.lower().encode()) == [b"mine=1"]
            assert (sent(other, secret.lower().encode()), sent(other, b"x-other")) == ([], [b"2"])

    run(client, main)


@pytest.mark.parametrize(
    ("name", "value"), [("X-A", "a\r\nB: c"), ("X-A", "a\nB: c"), ("X-A", "a\0"), ("X-A\r\nB", "c")]
)
def test_no_header_is_smuggled(client: Client, name: str, value: str) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server, http.ClientSession() as session:
            with pytest.raises(ValueError):
                await session.get(server.url, headers={name: value})
            with pytest.raises(ValueError):
                await session.request("GET / HTTP/1.1\r\nX: y", server.url)
            form = http.FormData()
            with pytest.raises(ValueError):
                form.add_field("a\r\nX: y", "v", filename="f")
                await session.post(server.url, data=form)
            assert not server.requests

    run(client, main)


def test_secrets_of_an_url_are_not_shown(client: Client) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def main(http: ModuleType) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.ClientConnectorError) as caught:
                await session.get(f"http://user:s3cret@127.0.0.1:{port}/?token=s3cret")
        assert "s3cret" not in str(caught.value) + repr(caught.value)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (type(caught.value), str(caught.value))

    run(client, main)


@pytest.mark.parametrize(
    ("header", "kind", "charset", "is_json"),
    [
        ("application/json", "application/json", None, True),
        ("application/problem+json; charset=utf-8", "application/problem+json", "utf-8", True),
        ("APPLICATION/JSON", "application/json", None, True),
        ("application/json-seq", "application/json-seq", None, True),
        ("text/json", "text/json", None, False),
        ("foo", "application/octet-stream", None, False),
        ("", "application/octet-stream", None, False),
        ("text/plain; charset=", "text/plain", None, False),
        ("text/plain; charset='utf-8'", "text/plain", None, False),
        ("text/plain; charset=utf8,utf-8", "text/plain", "utf8", False),
        ('text/html; charset="ISO-8859-1"; x=1', "text/html", "ISO-8859-1", False),
    ],
)
def test_content_types(client: Client, header: str, kind: str, charset: str | None, is_json: bool) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain(b"[1]", kind=header.encode())) as server, http.ClientSession() as session:
            async with session.get(server.url) as response:
                assert (response.content_type, response.charset) == (kind, charset)
                assert await response.json(content_type=None) == [1]
                if is_json:
                    assert await response.json() == [1]
                else:
                    with pytest.raises(http.ContentTypeError, match="unexpected mimetype"):
                        await response.json()

    run(client, main)


def test_ends_of_chunks(client: Client) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=1\r\ndefg\r\n0\r\nT: v\r\n\r\n"

    async def main(http: ModuleType) -> None:
        async with scripted(chunked, plain()) as server, http.ClientSession() as session:
            async with session.get(server.url) as response:
                pairs = [pair async for pair in response.content.iter_chunks()]
                assert pairs == [(b"abc", True), (b"defg", True)]
            async with session.get(server.url) as response:
                assert [pair async for pair in response.content.iter_chunks()] == [(b"hello", False)]

    run(client, main)


def test_lines_and_their_limit(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        long = b"x" * 300_000 + b"\n"
        async with scripted(plain(long + b"y")) as server, http.ClientSession() as session:
            async with session.get(server.url) as response:
                assert await response.content.readline() == long
                assert await response.content.readline() == b"y"
                assert await response.content.readline() == b""
            async with session.get(server.url, read_bufsize=4) as response:
                with pytest.raises(Exception, match=r"too big|Got more than 8 bytes") as caught:
                    await response.content.readline()
                assert type(caught.value).__name__ == "LineTooLong"
            async with session.get(server.url) as response:
                with pytest.raises(asyncio.IncompleteReadError) as short:
                    await response.content.readexactly(400_000)
                assert len(short.value.partial) == 300_002

    run(client, main)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\nhi",
        HEAD + b"Content-Length: +2\r\n\r\nhi",
        HEAD + b"Content-Length: 0x2\r\n\r\nhi",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nhi",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        HEAD + b"A: " + b"x" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"".join(b"A%d: x\r\n" % i for i in range(200)) + b"Content-Length: 0\r\n\r\n",
        HEAD + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_broken_heads(client: Client, answer: bytes) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(answer, close=True) as server, http.ClientSession() as session:
            with pytest.raises(http.ClientResponseError) as caught:
                await session.get(server.url)
            assert caught.value.status == 400
            assert caught.value.message

    run(client, main)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 10\r\n\r\nhello",
        HEAD + b"Content-Length: 10\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        HEAD + b"Content-Encoding: deflate\r\nContent-Length: 3\r\n\r\n\xff\xff\xff",
    ],
)
def test_broken_bodies(client: Client, answer: bytes) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(answer, close=True) as server, http.ClientSession() as session:
            async with session.get(server.url) as response:
                with pytest.raises(http.ClientPayloadError):
                    await response.read()
            async with session.get(server.url) as response:
                with pytest.raises(http.ClientPayloadError):
                    async for _piece in response.content.iter_any():
                        pass

    run(client, main)


def test_broken_bodies_do_not_show_queries(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        answer = HEAD + b"Content-Length: 10\r\n\r\nhello"
        async with scripted(answer, close=True) as server, http.ClientSession() as session:
            async with session.get(f"{server.url}/?token=s3cret") as response:
                with pytest.raises(http.ClientPayloadError) as caught:
                    await response.read()
        assert "s3cret" not in str(caught.value) + repr(caught.value)

    run(client, main)


def test_names_of_headers(client: Client) -> None:
    import aiohttp.hdrs

    ours = client.http.hdrs
    assert importlib.import_module(f"{client.name}.hdrs") is ours
    for name in dir(aiohttp.hdrs):
        if name.isupper() and name != "HOST_ALL":
            assert getattr(ours, name) == getattr(aiohttp.hdrs, name)
    assert (ours.METH_GET, ours.USER_AGENT) == ("GET", "User-Agent")


def test_a_body_that_is_reset(client: Client) -> None:
    async def reset(writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"Content-Length: 10\r\n\r\nhe")
        await writer.drain()
        await asyncio.sleep(0.05)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        return b""

    async def main(http: ModuleType) -> None:
        async with scripted(reset) as server, http.ClientSession() as session, session.get(server.url) as response:
            with pytest.raises(http.ClientPayloadError) as caught:
                await response.read()
            assert "reset by peer" in str(caught.value)

    run(client, main)


def test_a_name_that_nobody_knows(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.ClientConnectorDNSError) as caught:
                await session.get("http://nobody.invalid/")
        error = caught.value
        assert re.fullmatch(r"Cannot connect to host nobody.invalid:80 ssl:default \[[\w ]+\]", str(error))
        assert isinstance(error.os_error, socket.gaierror)

    run(client, main)


@pytest.mark.parametrize(("total", "is_over"), [(-1, False), (0, False), (None, False), (0.1, True)])
def test_limits_of_time(client: Client, total: float | None, is_over: bool) -> None:
    async def slow(_writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.3)
        return plain()

    async def main(http: ModuleType) -> None:
        async with scripted(slow) as server, http.ClientSession() as session:
            try:
                async with session.get(server.url, timeout=http.ClientTimeout(total=total)) as response:
                    assert await response.read() == b"hello"
                assert not is_over
            except asyncio.TimeoutError:
                assert is_over

    run(client, main)


def test_connections_that_are_not_kept(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain()) as server:
            async with http.ClientSession(connector=http.TCPConnector(force_close=True)) as session:
                for asked in (session.get, session.post):
                    for _ in range(2):
                        async with asked(f"{server.url}/") as response:
                            await response.read()
                        assert sent(server, b"connection") == [b"close"]
            assert server.connections == 4

    run(client, main)


async def in_two_parts(writer: asyncio.StreamWriter) -> bytes:
    writer.write(HEAD + b"Content-Length: 10\r\n\r\nhello")
    await writer.drain()
    await asyncio.sleep(0.1)
    return b"world"


def test_two_coroutines_read(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(in_two_parts) as server, http.ClientSession() as session:
            async with session.get(server.url) as response:
                await response.content.readany()
                reading = asyncio.ensure_future(response.content.readany())
                await asyncio.sleep(0.01)
                with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
                    await response.content.readany()
                # Neither that nor looking takes the bytes from who waits.
                assert not response.content.at_eof()
                assert await reading == b"world"
                assert response.content.at_eof()
            async with session.get(server.url) as response:
                both = await asyncio.gather(response.read(), response.read(), return_exceptions=True)
                assert any(isinstance(one, RuntimeError) for one in both)

    run(client, main)


def test_whole_bodies_are_read_twice(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(plain(b"1")) as server, http.ClientSession() as session:
            async with session.get(server.url) as response:
                assert await asyncio.gather(response.read(), response.text(), response.read()) == [b"1", "1", b"1"]

    run(client, main)


@pytest.mark.parametrize("part", ["head", "body", "stream"])
def test_closing_a_session_ends_what_is_under_way(client: Client, part: str) -> None:
    async def stuck(writer: asyncio.StreamWriter) -> bytes:
        if part != "head":
            writer.write(HEAD + b"Content-Length: 10\r\n\r\nhello")
        await asyncio.sleep(10)
        return b""

    async def main(http: ModuleType) -> None:
        async with scripted(stuck) as server:
            session = http.ClientSession()

            async def ask() -> None:
                async with session.get(server.url) as response:
                    if part == "stream":
                        async for _piece in response.content:
                            pass
                    await response.read()

            asking = asyncio.ensure_future(ask())
            await asyncio.sleep(0.05)
            await session.close()
            await asyncio.wait([asking], timeout=1)
            if client.is_ours or part == "head":
                assert isinstance(asking.exception(), http.ClientConnectionError)
            # aiohttp leaves who reads a body waiting.
            asking.cancel()
            await asyncio.wait([asking])

    run(client, main)


def test_closing_a_response_ends_its_reading(client: Client) -> None:
    async def main(http: ModuleType) -> None:
        async with scripted(in_two_parts) as server, http.ClientSession() as session:
            for whole in (True, False):
                response = await session.get(server.url)
                reading = asyncio.ensure_future(response.read() if whole else response.content.read())
                await asyncio.sleep(0.02)
                response.close()
                with pytest.raises(http.ClientConnectionError, match="Connection closed"):
                    await reading

    run(client, main)


@pytest.mark.parametrize("endless", [b"A: x\r\n" * 100, b"x" * 1000])
def test_heads_without_end(client: Client, endless: bytes) -> None:
    async def pour(writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"B: ")
        while True:
            writer.write(endless)
            await writer.drain()
            await asyncio.sleep(0)

    async def main(http: ModuleType) -> None:
        async with scripted(pour) as server, http.ClientSession() as session:
            with pytest.raises(http.ClientResponseError):
                await session.get(server.url, timeout=http.ClientTimeout(total=10))

    run(client, main)


def test_cancelling_anywhere_leaves_nothing(client: Client) -> None:
    async def drip(writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.001)
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await asyncio.sleep(0.0005)
        return b"0\r\n\r\n"

    async def main(http: ModuleType) -> None:
        async def pieces() -> Any:
            for _ in range(3):
                yield b"y" * 100
                await asyncio.sleep(0.0003)

        async with scripted(drip) as server:
            before = len(os.listdir("/proc/self/fd"))
            async with http.ClientSession(connector=http.TCPConnector(limit=5)) as session:

                async def ask(number: int) -> int:
                    data = pieces() if number % 2 else None
                    async with session.request("PUT" if data else "GET", server.url, data=data) as response:
                        return sum([len(piece) async for piece in response.content.iter_any()])

                async def victim(number: int) -> None:
                    asking = asyncio.ensure_future(ask(number))
                    await asyncio.sleep(number * 0.0002)
                    asking.cancel()
                    await asyncio.wait([asking])

                for _ in range(5):
                    await asyncio.gather(*map(victim, range(40)))
                assert await asyncio.gather(*map(ask, range(10))) == [4096] * 10
            for _ in range(100):
                if len(os.listdir("/proc/self/fd")) <= before:
                    break
                await asyncio.sleep(0.01)
            assert len(os.listdir("/proc/self/fd")) <= before

    run(client, main)
