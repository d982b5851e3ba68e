"""`aioxide.http.Transport`: httpx's own client over aioxide's session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, echo

httpx: Any = None


@pytest.fixture(autouse=True, params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> None:
    """Each of the libraries, where it is installed."""
    global httpx  # noqa: PLW0603
    httpx = pytest.importorskip(request.param)


def run(ours: Client, main: Any, *routes: Any) -> None:
    async def inside(http: ModuleType, url: str) -> None:
        async with httpx.AsyncClient(transport=http.Transport()) as client:
            await main(client, url)

    ours.run(inside, *routes)


def test_requests_and_bodies(ours: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(0)
        yield b"two"

    async def main(client: Any, url: str) -> None:
        response = await client.get(f"{url}/a?b=c", headers={"X-Own": "1"})
        seen = response.json()
        assert (response.status_code, response.reason_phrase, response.http_version) == (200, "OK", "HTTP/1.1")
        assert (seen["method"], seen["path"], dict(seen["headers"])["X-Own"]) == ("GET", "/a?b=c", "1")
        assert (await client.post(f"{url}/a", json={"x": 1})).json()["body"] == '{"x":1}'
        seen = (await client.post(f"{url}/a", content=pieces())).json()
        assert (seen["body"], dict(seen["headers"])["Transfer-Encoding"]) == ("onetwo", "chunked")
        seen = (await client.post(f"{url}/a", files={"f": b"file"})).json()
        assert "file" in seen["body"]

    run(ours, main, web.route("*", "/a", echo))


def test_redirects_cookies_and_codings_are_httpxs(ours: Client) -> None:
    async def away(_request: web.Request) -> web.Response:
        response = web.Response(status=302, headers={"Location": "/end"})
        response.set_cookie("kept", "1")
        return response

    async def end(request: web.Request) -> web.Response:
        response = web.Response(text=request.headers.get("Cookie", "") * 1000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async def main(client: Any, url: str) -> None:
        response = await client.get(url, follow_redirects=True)
        assert response.text == "kept=1" * 1000
        assert response.headers["content-encoding"] == "gzip"
        assert [step.status_code for step in response.history] == [302]

    run(ours, main, web.get("/", away), web.get("/end", end))


def test_body_is_streamed(ours: Client) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await go_on.wait()
        await response.write(b"second")
        return response

    async def main(client: Any, url: str) -> None:
        async with client.stream("GET", url) as response:
            stream = response.aiter_raw()
            assert await anext(stream) == b"first"
            go_on.set()
            assert b"".join([piece async for piece in stream]) == b"second"

    run(ours, main, web.get("/", slow))


def test_failures_are_httpxs(ours: Client) -> None:
    async def never(_request: web.Request) -> web.Response:
        await asyncio.sleep(10)
        return web.Response()

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"12345")
        assert request.transport is not None
        request.transport.close()
        return response

    async def main(client: Any, url: str) -> None:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"{url}/never", timeout=0.05)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{url}/cut")
        assert (await client.get(f"{url}/echo")).status_code == 200

    run(ours, main, web.get("/never", never), web.get("/cut", cut), web.get("/echo", echo))


def test_many_at_a_time_and_cancelled_ones(ours: Client) -> None:
    async def main(client: Any, url: str) -> None:
        tasks = [asyncio.ensure_future(client.get(url)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(
            isinstance(outcome, asyncio.CancelledError) if index % 3 == 0 else outcome.status_code == 200
            for index, outcome in enumerate(outcomes)
        )

    run(ours, main, web.get("/", echo))


def test_what_cannot_be_honoured_is_refused(ours: Client) -> None:
    with pytest.raises(ValueError, match="http1"):
        ours.http.Transport(http1=False)
    with pytest.raises(ValueError, match="socket_options"):
        ours.http.Transport(socket_options=[(1, 2)])
