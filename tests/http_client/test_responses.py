"""Bodies of answers, read in every way; what becomes of those that are not read."""

from __future__ import annotations

import asyncio
import gc
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, run_on_stock

LINES = b"".join(b"line %d\n" % number for number in range(5000))


async def lines(_request: web.Request) -> web.Response:
    return web.Response(body=LINES)


async def slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "10"})
    await response.prepare(request)
    await response.write(b"12345")
    await asyncio.sleep(10)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "10"})
    await response.prepare(request)
    await response.write(b"12345")
    assert request.transport is not None
    request.transport.close()
    return response


def test_body_as_a_whole_and_again(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session, session.get(url) as response:
            assert await response.read() == LINES
            assert await response.read() is await response.read()
            assert await response.text() == LINES.decode()
            assert response.content_length == len(LINES)
            assert response.headers["Content-Length"] == str(len(LINES))
            assert (b"Content-Length", str(len(LINES)).encode()) in response.raw_headers

    client.run(main, web.get("/", lines))


def test_body_by_pieces(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(url) as response:
                pieces = [piece async for piece in response.content.iter_chunked(100)]
                assert b"".join(pieces) == LINES
                assert max(map(len, pieces)) == 100
                assert response.content.at_eof()
            async with session.get(url) as response:
                assert b"".join([piece async for piece in response.content.iter_any()]) == LINES
            async with session.get(url) as response:
                assert b"".join([piece async for piece, _end in response.content.iter_chunks()]) == LINES
            async with session.get(url) as response:
                assert [line async for line in response.content] == LINES.splitlines(keepends=True)
            async with session.get(url) as response:
                content = response.content
                assert await content.readexactly(10) == LINES[:10]
                assert await content.readline() == LINES[10:14]
                assert await content.readuntil(b"5") == LINES[14 : LINES.index(b"5", 14) + 1]
                rest = await response.read()
                assert rest == LINES[LINES.index(b"5", 14) + 1 :]
                assert await content.read() == b""
                with pytest.raises(asyncio.IncompleteReadError):
                    await content.readexactly(1)

    client.run(main, web.get("/", lines))


def test_body_that_is_cut_is_an_error(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(url) as response:
                with pytest.raises(http.ClientPayloadError):
                    await response.read()
            async with session.get(url) as response:
                assert await response.content.readexactly(5) == b"12345"
                with pytest.raises(http.ClientPayloadError):
                    await response.content.read()

    client.run(main, web.get("/", cut))


def test_time_runs_out(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(f"{url}/slow", timeout=http.ClientTimeout(total=0.05)) as response:
                with pytest.raises(asyncio.TimeoutError):
                    await response.read()
            async with session.get(f"{url}/slow", timeout=http.ClientTimeout(sock_read=0.05)) as response:
                with pytest.raises(http.SocketTimeoutError):
                    await response.read()
            with pytest.raises(asyncio.TimeoutError):
                await session.get(f"{url}/never", timeout=http.ClientTimeout(total=0.05))
            with pytest.raises(http.ServerTimeoutError):
                await session.get(f"{url}/never", timeout=http.ClientTimeout(sock_read=0.05))

    async def never(_request: web.Request) -> web.Response:
        await asyncio.sleep(10)
        return web.Response()

    client.run(main, web.get("/slow", slow), web.get("/never", never))


def test_response_after_its_context(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(url) as response:
                pass
            assert response.closed
            with pytest.raises(http.ClientConnectionError, match="Connection closed"):
                await response.read()
            response = await session.get(url)
            await response.read()
            assert response.closed

    client.run(main, web.get("/", lines))


def test_json_of_another_type(client: Client) -> None:
    async def text(_request: web.Request) -> web.Response:
        return web.Response(text='{"a": 1}')

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session, session.get(url) as response:
            with pytest.raises(http.ContentTypeError, match="text/plain"):
                await response.json()
            assert await response.json(content_type=None) == {"a": 1}

    client.run(main, web.get("/", text))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_codings_are_decoded_unless_told(client: Client, coding: str) -> None:
    async def coded(request: web.Request) -> web.Response:
        response = web.Response(body=LINES)
        response.enable_compression(web.ContentCoding(coding))
        return response

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(url) as response:
                assert await response.read() == LINES
                assert response.headers["Content-Encoding"] == coding
            async with session.get(url, auto_decompress=False) as response:
                assert len(await response.read()) < len(LINES)

    client.run(main, web.get("/", coded))


def test_cancelled_requests_leave_the_session_whole(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        connector = http.TCPConnector(limit=2)
        async with http.ClientSession(connector=connector) as session:

            async def one(delay: float) -> None:
                async with session.get(f"{url}/lines") as response:
                    await asyncio.sleep(0)
                    await response.read()

            for round_ in range(60):
                tasks = [asyncio.ensure_future(one(0)) for _ in range(3)]
                for _ in range(round_ % 12):
                    await asyncio.sleep(0)
                tasks[round_ % 3].cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results), results
            async with session.get(f"{url}/lines") as response:
                assert await response.read() == LINES

    client.run(main, web.get("/lines", lines))


def drop(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


def test_unclosed_session_warns(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))
        session = http.ClientSession()
        async with session.get(url) as response:
            await response.read()
        del response
        kept = [session]
        del session
        with pytest.warns(ResourceWarning, match="Unclosed"):
            drop(kept)
        assert "Unclosed client session" in [report["message"] for report in reports]

    client.run(main, web.get("/", lines))


def test_session_of_another_loop_says_so(ours: Client) -> None:
    async def make(http: ModuleType, _url: str) -> Any:
        connector = http.TCPConnector()
        session = http.ClientSession(connector=connector)
        with pytest.raises(http.ClientConnectorError):
            await session.get("http://127.0.0.1:1/")
        return session

    session = ours.run(make)

    async def use(_http: ModuleType, url: str) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await session.get(url)
        await session.close()

    ours.run(use)


def test_another_kind_of_loop_says_so(ours: Client) -> None:
    async def main() -> None:
        async with ours.http.ClientSession() as session:
            with pytest.raises(RuntimeError, match=r"aioxide\.run"):
                await session.get("http://127.0.0.1:1/")

    run_on_stock(main())
