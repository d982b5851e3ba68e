"""Requests and their answers: methods, arguments, redirects, errors."""

from __future__ import annotations

import asyncio
import io
import json
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, echo


def header(seen: dict[str, Any], name: str) -> str | None:
    return dict(seen["headers"]).get(name)


async def answer(session: Any, method: str, url: str, **options: Any) -> Any:
    async with session.request(method, url, **options) as response:
        return await response.json()


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
def test_methods(client: Client, method: str) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with getattr(session, method)(f"{url}/a?b=c") as response:
                assert response.status == 200
                assert response.ok
                assert response.reason == "OK"
                assert response.method == method.upper()
                assert str(response.url) == f"{url}/a?b=c"
                assert response.content_type == "application/json"
                assert response.charset == "utf-8"
                seen = await response.json()
            assert (seen["method"], seen["path"]) == (method.upper(), "/a?b=c")
            assert header(seen, "Accept") == "*/*"
            assert (header(seen, "Content-Length") == "0") == (method in {"post", "put", "patch", "delete"})

    client.run(main, web.route("*", "/a", echo))


@pytest.mark.parametrize(
    ("options", "body", "kind"),
    [
        ({"data": b"bytes"}, "bytes", "application/octet-stream"),
        ({"data": "text"}, "text", "text/plain; charset=utf-8"),
        ({"data": {"a": "1 2", "b": "x"}}, "a=1+2&b=x", "application/x-www-form-urlencoded"),
        ({"data": [("a", "1"), ("a", "2")]}, "a=1&a=2", "application/x-www-form-urlencoded"),
        ({"json": {"a": [1]}}, '{"a": [1]}', "application/json"),
        ({"data": io.BytesIO(b"file")}, "file", "application/octet-stream"),
    ],
)
def test_bodies(client: Client, options: dict[str, Any], body: str, kind: str) -> None:
    async def main(http: ModuleType, url: str) -> None:
        for value in options.values():
            if isinstance(value, io.BytesIO):
                value.seek(0)
        async with http.ClientSession() as session:
            seen = await answer(session, "POST", url, **options)
            assert seen["body"] == body
            assert header(seen, "Content-Type") == kind
            assert header(seen, "Content-Length") == str(len(body))

    client.run(main, web.post("/", echo))


def test_body_of_an_asynchronous_iterator_is_sent_in_chunks(client: Client) -> None:
    async def pieces() -> Any:
        for piece in (b"one", b"two"):
            await asyncio.sleep(0)
            yield piece

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            seen = await answer(session, "POST", url, data=pieces())
            assert seen["body"] == "onetwo"
            assert header(seen, "Transfer-Encoding") == "chunked"

    client.run(main, web.post("/", echo))


def test_error_of_the_body_comes_out_of_the_request(client: Client) -> None:
    async def pieces() -> Any:
        yield b"one"
        raise LookupError("no more")

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.ClientConnectionError) as caught:
                await session.post(url, data=pieces())
            assert isinstance(caught.value.__cause__, LookupError)
            assert (await answer(session, "GET", url))["method"] == "GET"

    client.run(main, web.route("*", "/", echo))


def test_headers_of_session_and_request(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession(headers={"X-Own": "session", "User-Agent": "me"}) as session:
            assert header(await answer(session, "GET", url), "X-Own") == "session"
            async with session.get(url) as response:
                seen = await response.json()
            assert (header(seen, "X-Own"), header(seen, "User-Agent")) == ("session", "me")
            seen = await answer(session, "GET", url, headers={"x-own": "request", "Accept": "text/html"})
            assert [value for name, value in seen["headers"] if name == "X-Own"] == ["request"]
            assert header(seen, "Accept") == "text/html"
            seen = await answer(session, "GET", url, skip_auto_headers=["Accept", "accept-encoding"])
            assert header(seen, "Accept") is None
            assert header(seen, "Accept-Encoding") is None
            with pytest.raises(ValueError, match="header"):
                await session.get(url, headers={"X-Bad": "a\r\nX-More: b"})

    client.run(main, web.get("/", echo))


def test_params_and_quoting(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            assert (await answer(session, "GET", f"{url}/é ü", params={"q": "a b&c"}))[
                "path"
            ] == "/%C3%A9%20%C3%BC?q=a+b%26c"
            async with session.get(f"{url}/a/../b c#part") as response:
                assert (await response.json())["path"] == "/b%20c"
                assert response.real_url.fragment == "part"
                assert not response.url.fragment

    client.run(main, web.get("/{path:.*}", echo))


def test_redirects(client: Client) -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), headers={"Location": "/end?x=1"})

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(f"{url}/302") as response:
                seen = await response.json()
                assert (seen["path"], [r.status for r in response.history]) == ("/end?x=1", [302])
                assert str(response.url) == f"{url}/end?x=1"
                assert str(response.history[0].url) == f"{url}/302"
            seen = await answer(session, "POST", f"{url}/303", data=b"body")
            assert (seen["method"], seen["body"]) == ("GET", "")
            seen = await answer(session, "POST", f"{url}/307", data=b"body")
            assert (seen["method"], seen["body"]) == ("POST", "body")
            async with session.get(f"{url}/301", allow_redirects=False) as response:
                assert response.status == 301
                assert response.headers["location"] == "/end?x=1"
            async with session.head(f"{url}/302") as response:
                assert response.status == 302

    client.run(main, web.route("*", "/{status:\\d+}", away), web.route("*", "/end", echo))


def test_redirects_without_end(client: Client) -> None:
    async def round_again(request: web.Request) -> web.Response:
        raise web.HTTPFound("/")

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.TooManyRedirects) as caught:
                await session.get(url)
            assert len(caught.value.history) == 10
            with pytest.raises(http.TooManyRedirects) as caught:
                await session.get(url, max_redirects=3)
            assert len(caught.value.history) == 3

    client.run(main, web.get("/", round_again))


def test_status_as_an_exception(client: Client) -> None:
    async def missing(request: web.Request) -> web.Response:
        return web.Response(status=404, text="no")

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(url) as response:
                assert not response.ok
                with pytest.raises(http.ClientResponseError) as caught:
                    response.raise_for_status()
            assert (caught.value.status, caught.value.message) == (404, "Not Found")
            assert str(caught.value) == f"404, message='Not Found', url='{url}'" or "404" in str(caught.value)
            with pytest.raises(http.ClientResponseError):
                await session.get(url, raise_for_status=True)
        async with http.ClientSession(raise_for_status=True) as session:
            with pytest.raises(http.ClientResponseError):
                async with session.get(url):
                    pass
            async with session.get(url, raise_for_status=False) as response:
                assert response.status == 404
        seen = []

        async def look(response: Any) -> None:
            seen.append(response.status)

        async with http.ClientSession(raise_for_status=look) as session, session.get(url):
            assert seen == [404]

    client.run(main, web.get("/", missing))


def test_connection_errors(client: Client) -> None:
    async def main(http: ModuleType, _url: str) -> None:
        async with http.ClientSession() as session:
            with pytest.raises(http.ClientConnectorError) as caught:
                await session.get("http://127.0.0.1:1/")
            error = caught.value
            assert isinstance(error, OSError)
            assert (error.host, error.port, error.errno) == ("127.0.0.1", 1, 111)
            assert str(error).startswith("Cannot connect to host 127.0.0.1:1 ssl:default [")
            with pytest.raises(http.ClientConnectorDNSError):
                await session.get("http://name.invalid/")
            for wrong in ("nowhere", "/path", "http:///x"):
                with pytest.raises(http.InvalidURL):
                    await session.get(wrong)
            with pytest.raises(http.NonHttpUrlClientError):
                await session.get("ftp://example.org/")

    client.run(main)


def test_base_url(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession(f"{url}/api/") as session:
            assert (await answer(session, "GET", "items?x=1"))["path"] == "/api/items?x=1"
        with pytest.raises(ValueError, match="trailing"):
            http.ClientSession(f"{url}/api")

    client.run(main, web.get("/api/{rest}", echo))


def test_json_serializer_and_loader(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession(json_serialize=lambda data: json.dumps(data).upper()) as session:
            async with session.post(url, json={"a": "b"}) as response:
                seen = await response.json(loads=lambda text: json.loads(text)["body"])
            assert seen == '{"A": "B"}'
            with pytest.raises(ValueError, match="same time"):
                await session.post(url, json=1, data=b"")

    client.run(main, web.post("/", echo))


def test_cookies_are_kept_and_sent(client: Client) -> None:
    async def give(request: web.Request) -> web.Response:
        response = web.Response()
        response.set_cookie("kept", "1")
        return response

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession(cookie_jar=http.CookieJar(unsafe=True)) as session:
            assert header(await answer(session, "GET", f"{url}/echo"), "Cookie") is None
            async with session.get(f"{url}/give") as response:
                assert response.cookies["kept"].value == "1"
            assert header(await answer(session, "GET", f"{url}/echo"), "Cookie") == "kept=1"
            async with session.get(f"{url}/echo", cookies={"more": "2"}) as response:
                cookies = header(await response.json(), "Cookie") or ""
            assert sorted(cookies.split("; ")) == ["kept=1", "more=2"]

    client.run(main, web.get("/give", give), web.get("/echo", echo))


def test_a_request_of_its_own(client: Client) -> None:
    async def main(http: ModuleType, url: str) -> None:
        async with http.request("GET", url) as response:
            assert (await response.json())["method"] == "GET"

    client.run(main, web.get("/", echo))


def test_plain_requests_are_like_any_other(client: Client) -> None:
    """What Rust does by itself, beside the same through Python.

    An argument of the default's value makes the difference.
    """

    async def main(http: ModuleType, url: str) -> None:
        options: list[dict[str, Any]] = [
            {},
            {"params": {"a": "1", "b": "x.y~z"}},
            {"params": {"a": "b c"}},
            {"headers": {"X-Own": "1", "accept": "text/html"}},
            {"headers": {"Cookie": "a=b", "Authorization": "Bearer x"}},
        ]
        bodies: list[dict[str, Any]] = [{"data": b"bytes"}, {"json": {"é": [1, None]}}, {"data": b""}, {"json": None}]
        async with http.ClientSession(headers={"X-Session": "2"}) as session:
            for method, given in [("get", each) for each in options] + [
                (method, each) for method in ("post", "put", "patch") for each in bodies
            ]:
                call = getattr(session, method)
                async with call(f"{url}/echo", **given) as response:
                    plain = await response.json()
                    info = response.request_info
                    assert (response.method, info.method, str(info.url)) == (
                        method.upper(),
                        method.upper(),
                        str(response.url),
                    )
                async with call(f"{url}/echo", max_redirects=10, **given) as response:
                    special = await response.json()
                for each in (plain, special):
                    each["headers"] = sorted(map(tuple, each["headers"]))
                assert plain == special, (method, given)
            for status, body in ((302, ""), (307, "kept")):
                async with session.post(f"{url}/{status}", data=b"kept", headers={"X-Own": "1"}) as response:
                    seen = await response.json()
                assert (seen["body"], header(seen, "X-Own")) == (body, "1")
            with pytest.raises(TypeError):
                await session.post(f"{url}/echo", json=object())

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), headers={"Location": "/echo"})

    client.run(main, web.route("*", "/{status:\\d+}", away), web.route("*", "/echo", echo))
