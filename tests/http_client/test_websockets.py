"""Websockets against aiohttp's server."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client


async def echo_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("two", "one"), autoping=True)
    await socket.prepare(request)
    async for message in socket:
        if message.type == web.WSMsgType.TEXT:
            if message.data == "close":
                await socket.close(code=4000, message=b"as asked")
            elif message.data == "vanish":
                assert request.transport is not None
                request.transport.abort()
            else:
                await socket.send_str(message.data + "!")
        elif message.type == web.WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
    return socket


@pytest.mark.parametrize("compress", [0, 15])
def test_messages_of_every_kind(client: Client, compress: int) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.ws_connect(url, protocols=("one",), compress=compress) as socket:
                assert socket.protocol == "one"
                assert bool(socket.compress) == bool(compress)
                await socket.send_str("hé" * 1000)
                assert await socket.receive_str() == "hé" * 1000 + "!"
                await socket.send_bytes(b"123" * 50_000)
                assert await socket.receive_bytes() == b"321" * 50_000
                await socket.send_json({"a": 1})
                message = await socket.receive()
                assert (message.type, message.data) == (http.WSMsgType.TEXT, '{"a": 1}!')
                await socket.ping()
                with pytest.raises(TypeError, match="str"):
                    await socket.send_str(b"bytes")
                await socket.send_str("x")
                with pytest.raises(http.WSMessageTypeError):
                    await socket.receive_bytes()
                assert not socket.closed
            assert socket.closed
            assert socket.close_code == 1000
            with pytest.raises(ConnectionResetError):
                await socket.send_str("late")
            assert (await socket.receive()).type is http.WSMsgType.CLOSED

    client.run(main, web.get("/", echo_socket))


def test_goodbye_of_the_server(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            socket = await session.ws_connect(url)
            await socket.send_str("close")
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (http.WSMsgType.CLOSE, 4000, "as asked")
            assert socket.closed
            assert socket.close_code == 4000
            assert [item async for item in socket] == []

    client.run(main, web.get("/", echo_socket))


def test_server_that_vanishes(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            socket = await session.ws_connect(url)
            await socket.send_str("vanish")
            message = await socket.receive()
            assert message.type in {http.WSMsgType.CLOSED, http.WSMsgType.ERROR}
            assert socket.close_code == 1006

    client.run(main, web.get("/", echo_socket))


def test_closing_while_another_task_receives(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            socket = await session.ws_connect(url)
            receiving = asyncio.ensure_future(socket.receive())
            await asyncio.sleep(0.01)
            with pytest.raises(RuntimeError, match="Concurrent"):
                await socket.receive()
            assert await socket.close()
            assert (await receiving).type in {http.WSMsgType.CLOSING, http.WSMsgType.CLOSED}
            assert not await socket.close()

    client.run(main, web.get("/", echo_socket))


def test_time_runs_out_and_cancellation_loses_nothing(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session, session.ws_connect(url) as socket:
            with pytest.raises(asyncio.TimeoutError):
                await socket.receive(timeout=0.02)
            receiving = asyncio.ensure_future(socket.receive())
            await asyncio.sleep(0)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            await socket.send_str("after")
            assert await socket.receive_str() == "after!"

    client.run(main, web.get("/", echo_socket))


def test_server_that_does_not_agree(client: Client) -> None:
    async def plain(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.WSServerHandshakeError) as caught:
                await session.ws_connect(url)
            assert (caught.value.status, caught.value.message) == (403, "Invalid response status")
            with pytest.raises(http.ClientConnectorError):
                await session.ws_connect("ws://127.0.0.1:1/")

    client.run(main, web.get("/", plain))


def test_headers_and_cookies_go_along(client: Client) -> None:
    seen: dict[str, Any] = {}

    async def look(request: web.Request) -> web.WebSocketResponse:
        seen.update(request.headers)
        return await echo_socket(request)

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession(headers={"X-Own": "1"}, cookies={"c": "2"}) as session:
            async with session.ws_connect(url, origin="http://origin.example", headers={"X-More": "3"}) as socket:
                await socket.send_str("x")
        assert (seen["X-Own"], seen["X-More"], seen["Origin"], seen["Cookie"]) == (
            "1",
            "3",
            "http://origin.example",
            "c=2",
        )

    client.run(main, web.get("/", look))


@pytest.mark.parametrize("count", [0, 3])
def test_heartbeat_is_kept_up_while_nobody_receives(client: Client, count: int) -> None:
    pings = 0

    async def serve(request: web.Request) -> web.WebSocketResponse:
        nonlocal pings
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        for number in range(count):
            await socket.send_str(str(number))
        async for message in socket:
            if message.type == web.WSMsgType.PING:
                pings += 1
                await socket.pong(message.data)
            elif message.type == web.WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session, session.ws_connect(url, heartbeat=0.1) as socket:
            await asyncio.sleep(0.55)
            assert pings >= 2
            assert not socket.closed
            await socket.send_str("last")
            # What was read ahead is not lost, and comes in its order; a cancelled call takes none of it.
            receiving = asyncio.ensure_future(socket.receive_str())
            await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.wait([receiving])
            if receiving.cancelled():
                assert [await socket.receive_str() for _ in range(count + 1)] == [*map(str, range(count)), "last"]
        assert len(asyncio.all_tasks()) <= 4

    client.run(main, web.get("/", serve))


def test_heartbeat_without_an_answer_ends_the_websocket_that_nobody_reads(client: Client) -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        async for _message in socket:
            pass
        return socket

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            socket = await session.ws_connect(url, heartbeat=0.1)
            for _ in range(400):
                if socket.close_code is not None:
                    break
                await asyncio.sleep(0.01)
            assert socket.close_code == http.WSCloseCode.ABNORMAL_CLOSURE
            assert isinstance(socket.exception(), http.ServerTimeoutError)
            assert (await socket.receive()).type is http.WSMsgType.CLOSED

    client.run(main, web.get("/", serve))


def test_websocket_with_a_heartbeat_that_nobody_holds_ends(ours: Client) -> None:
    import gc

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            socket = await session.ws_connect(url, heartbeat=0.05)
            await asyncio.sleep(0.12)
            assert session.stats()["in_use"] == 1
            del socket
            gc.collect()
            for _ in range(200):
                if session.stats()["in_use"] == 0:
                    break
                await asyncio.sleep(0.01)
            assert session.stats()["in_use"] == 0

    ours.run(main, web.get("/", echo_socket))
