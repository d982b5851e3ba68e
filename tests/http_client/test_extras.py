"""What aiohttp does not have: events, files, counts, timings, a filter on addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from aioxide.http import EventParser

from .conftest import Client, echo


def test_events_are_read_as_the_standard_says() -> None:
    stream = (
        "\ufeff: comment\r\n"
        "data: one\r\ndata:two\r\n\r\n"
        "event: named\nid: 7\nretry: 250\ndata\n\n"
        "id: bad\0id\ndata: \ue000\n\n"
        "event: nothing\n\n"
        "data: cut"
    ).encode()
    for size in (1, 2, 3, 7, len(stream)):
        parser = EventParser()
        events = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
        seen = [(event.event, event.data, event.id, event.retry) for event in events]
        assert seen == [
            ("message", "one\ntwo", "", None),
            ("named", "", "7", 0.25),
            ("message", "\ue000", "7", None),
        ], size


def test_event_without_end_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(ValueError, match="longer"):
        for _ in range(100):
            parser.feed(b"data: " + b"x" * 100_000)


def test_events_go_on_after_the_connection_ended(ours: Client) -> None:
    asked: list[str | None] = []

    async def events(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Last-Event-ID"))
        if len(asked) == 3:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 1\nid: %d\ndata: %d\n\n" % (len(asked), len(asked)))
        return response

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            assert [event.data async for event in session.sse(url)] == ["1", "2"]

    ours.run(main, web.get("/", events))
    assert asked == [None, "1", "2"]


def test_events_of_something_else_are_refused(ours: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.ClientResponseError, match="no stream of events"):
                async for _event in session.sse(url):
                    pass
            with pytest.raises(http.ClientResponseError, match="404"):
                async for _event in session.sse(f"{url}/missing"):
                    pass

    ours.run(main, web.get("/", echo))


def test_silent_events_are_asked_for_again(ours: Client) -> None:
    asked = 0

    async def silent(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(10)
        return response

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.SocketTimeoutError):
                async for _event in session.sse(url, idle_timeout=0.05, retry=0.01, max_retries=2):
                    pass

    ours.run(main, web.get("/", silent))
    assert asked == 3


def test_body_is_saved_when_it_is_whole(ours: Client, tmp_path: Path) -> None:
    body = b"0123456789" * 300_000

    async def whole(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"12345")
        assert request.transport is not None
        request.transport.close()
        return response

    async def main(http: ModuleType, url: str) -> None:
        seen: list[tuple[int, int | None]] = []
        async with http.ClientSession() as session:
            async with session.get(f"{url}/whole") as response:
                path = tmp_path / "whole"
                assert await response.save(path, progress=lambda *how: seen.append(how)) == len(body)
            assert path.read_bytes() == body
            assert seen[-1] == (len(body), len(body))
            async with session.get(f"{url}/cut") as response:
                with pytest.raises(http.ClientPayloadError):
                    await response.save(tmp_path / "cut")
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]

    ours.run(main, web.get("/whole", whole), web.get("/cut", cut))


def test_counts_and_timings(ours: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            assert session.stats() == {"open": 0, "idle": 0, "in_use": 0}
            async with session.get(url) as response:
                assert session.stats()["open"] == 1
                await response.read()
                timings = response.timings
            assert session.stats() == {"open": 1, "idle": 1, "in_use": 0}
            assert timings["connect"] > 0
            assert timings["first_byte"] > 0
            assert timings["tls"] is None
            async with session.get(url) as response:
                await response.read()
                assert response.timings["connect"] is None

    ours.run(main, web.get("/", echo))


def test_private_addresses_are_not_connected_to(ours: Client) -> None:
    class Resolver:
        """Leads every name home."""

        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
            return [{"hostname": host, "host": "127.0.0.1", "port": port}]

        async def close(self) -> None: ...

    async def main(http: ModuleType, url: str) -> None:
        port = url.rpartition(":")[2]
        filtered = http.TCPConnector(deny="private", resolver=Resolver())
        async with http.ClientSession(connector=filtered) as session:
            for host in ("127.0.0.1", "localhost", "0177.1", "2130706433", "[::ffff:127.0.0.1]", "name.example"):
                with pytest.raises(http.ClientConnectorError):
                    await session.get(f"http://{host}:{port}/")
        plain = http.TCPConnector(resolver=Resolver())
        async with http.ClientSession(connector=plain) as session:
            async with session.get(f"http://name.example:{port}/") as response:
                assert response.status == 200
        allowed = http.TCPConnector(deny="private", allow=["127.0.0.0/8"], resolver=Resolver())
        async with http.ClientSession(connector=allowed) as session:
            async with session.get(f"http://name.example:{port}/") as response:
                assert response.status == 200
        with pytest.raises(ValueError, match="nonsense"):
            http.TCPConnector(deny="nonsense")

    ours.run(main, web.get("/", echo))
