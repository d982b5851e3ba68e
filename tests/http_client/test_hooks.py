"""Hooks and middlewares, digest authentication, proxies and names."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, echo


def test_hooks_are_told(client: Client) -> None:
    told: list[str] = []

    def telling(name: str) -> Any:
        async def tell(_session: Any, context: Any, _parameters: Any) -> None:
            assert context.trace_request_ctx == "mine"
            told.append(name)

        return tell

    async def main(http: ModuleType, url: str) -> None:
        config = http.TraceConfig()
        for name in dir(config):
            if name.startswith("on_"):
                getattr(config, name).append(telling(name[3:]))
        async with http.ClientSession(trace_configs=[config]) as session:
            async with session.post(url, data=b"body", trace_request_ctx="mine") as response:
                await response.read()
            assert told[0] == "request_start"
            for name in (
                "connection_create_start",
                "connection_create_end",
                "request_headers_sent",
                "request_chunk_sent",
            ):
                assert name in told
            assert told[-2:] == ["request_end", "response_chunk_received"]
            told.clear()
            async with session.get(url, trace_request_ctx="mine") as response:
                await response.read()
            assert "connection_reuseconn" in told
            told.clear()
            with pytest.raises(http.ClientConnectorError):
                await session.get("http://127.0.0.1:1/", trace_request_ctx="mine")
            assert told[-1] == "request_exception"

    client.run(main, web.route("*", "/", echo))


def test_hooks_of_redirects(client: Client) -> None:
    seen: list[tuple[str, int]] = []

    async def away(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/end")

    async def main(http: ModuleType, url: str) -> None:
        config = http.TraceConfig()

        async def redirect(_session: Any, _context: Any, parameters: Any) -> None:
            seen.append((str(parameters.url), parameters.response.status))

        config.on_request_redirect.append(redirect)
        async with http.ClientSession(trace_configs=[config]) as session, session.get(url) as response:
            assert response.status == 200
        assert seen in ([(url, 302)], [(f"{url}/", 302)])

    client.run(main, web.get("/", away), web.get("/end", echo))


def test_middlewares_see_and_change_requests(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        order: list[str] = []

        def named(name: str) -> Any:
            async def middleware(request: Any, handler: Any) -> Any:
                order.append(f"{name} in")
                request.headers[f"X-{name}"] = "1"
                response = await handler(request)
                order.append(f"{name} out")
                return response

            return middleware

        async with http.ClientSession(middlewares=(named("One"), named("Two"))) as session:
            async with session.get(url) as response:
                headers = dict((await response.json())["headers"])
            assert (headers["X-One"], headers["X-Two"]) == ("1", "1")
            assert order == ["One in", "Two in", "Two out", "One out"]
            order.clear()
            async with session.get(url, middlewares=()) as response:
                assert response.status == 200
            assert order == []

    client.run(main, web.get("/", echo))


def test_digest_authentication(client: Client) -> None:
    async def guarded(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        if 'username="user"' not in given or "response=" not in given:
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return web.Response(text=given)

    async def main(http: ModuleType, url: str) -> None:
        middleware = http.DigestAuthMiddleware("user", "secret")
        async with http.ClientSession(middlewares=(middleware,)) as session:
            async with session.get(url) as response:
                assert response.status == 200
                given = await response.text()
            assert "secret" not in given
            assert "nc=00000001" in given
            async with session.get(url) as response:
                assert "nc=00000002" in await response.text()

    client.run(main, web.get("/", guarded))


def test_secrets_stay_at_their_origin(client: Client) -> None:
    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def main(http: ModuleType, url: str) -> None:
        elsewhere = url.replace("127.0.0.1", "localhost")
        async with http.ClientSession() as session:
            options: Any = {"headers": {"Authorization": "Bearer secret", "X-Open": "1"}, "cookies": {"c": "1"}}
            async with session.get(f"{url}/away", params={"to": f"{elsewhere}/echo"}, **options) as response:
                headers = dict((await response.json())["headers"])
            assert "Authorization" not in headers
            assert "Cookie" not in headers
            assert headers["X-Open"] == "1"
            async with session.get(f"{url}/away", params={"to": "/echo"}, **options) as response:
                assert dict((await response.json())["headers"])["Authorization"] == "Bearer secret"

    client.run(main, web.get("/away", away), web.get("/echo", echo))


def test_http_proxy(client: Client) -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.json_response([str(request.url), request.headers.get("Proxy-Authorization")])

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get("http://far.example/page?q=1", proxy=url) as response:
                assert await response.json() == ["http://far.example/page?q=1", None]
            with_login = url.replace("http://", "http://user:pass@")
            async with session.get("http://far.example/", proxy=with_login) as response:
                assert (await response.json())[1] == "Basic dXNlcjpwYXNz"
            with pytest.raises(http.ClientProxyConnectionError):
                await session.get("http://far.example/", proxy="http://127.0.0.1:1")

    client.run(main, web.route("*", "/{path:.*}", proxy))
