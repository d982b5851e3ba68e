"""`aioxide.http.testing`: answers by matcher, record and replay, an ASGI application in process."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aioxide
import pytest
from aioxide import http
from aioxide.http.testing import Answers, ASGIConnector, Call, Recording

from .conftest import echo, serving, web


async def fetch(method: str, url: str, **options: Any) -> tuple[int, bytes]:
    async with http.ClientSession() as session, session.request(method, url, **options) as response:
        return response.status, await response.read()


def test_answers_by_method_url_and_predicate() -> None:
    async def main() -> None:
        with Answers() as answers:
            exact = answers.get("http://a.example/x", text="any query")
            with_query = answers.get("http://a.example/y?b=2&a=1", text="this query")
            star = answers.add("*", "https://a.example/*/end", status=201)
            pattern = answers.post(re.compile(r"/items/\d+$"), json={"ok": True})
            when = answers.put("http://a.example/x", when=lambda call: call.json["n"] > 1, status=204)
            assert await fetch("GET", "http://a.example/x?q=1") == (200, b"any query")
            assert await fetch("GET", "http://a.example/y?a=1&b=2") == (200, b"this query")
            assert await fetch("DELETE", "https://a.example/some/where/end") == (201, b"")
            assert await fetch("POST", "http://b.example/items/17", data=b"x") == (200, b'{"ok": true}')
            assert await fetch("PUT", "http://a.example/x", json={"n": 2}) == (204, b"")
            assert [route.count for route in (exact, with_query, star, pattern, when)] == [1] * 5
            for method, url, options in (
                ("GET", "http://a.example/y?a=1", {}),
                ("PUT", "http://a.example/x", {"json": {"n": 1}}),
                ("POST", "http://b.example/items/x", {"data": b"x"}),
            ):
                with pytest.raises(
                    http.ClientConnectionError, match=r"has no answer here; the routes are: GET http://a"
                ):
                    await fetch(method, url, **options)
            assert len(answers.calls) == 8
            assert answers.calls[3].body == b"x"
            answers.assert_all_called()

    aioxide.run(main())


def test_the_rest_of_the_client_is_the_real_one() -> None:
    async def main() -> None:
        with Answers() as answers:
            answers.get("http://a.example/start", status=302, headers={"Location": "/end", "Set-Cookie": "kept=1"})
            end = answers.get("http://a.example/end", json=[1])
            async with http.ClientSession(headers={"X-Own": "1"}) as session:
                async with session.get("http://a.example/start") as response:
                    assert await response.json() == [1]
                    assert (response.status, response.reason, response.ok) == (200, "OK", True)
                    assert [one.status for one in response.history] == [302]
                    assert str(response.url) == "http://a.example/end"
                    assert response.headers["Content-Length"] == "3"
                assert end.calls[0].headers["Cookie"] == "kept=1"
                assert end.calls[0].headers["x-own"] == "1"
                answers.get("http://a.example/bad", status=500, reason="Oh")
                with pytest.raises(http.ClientResponseError, match="500, message='Oh'"):
                    await session.get("http://a.example/bad", raise_for_status=True)
                async with session.head("http://a.example/end", allow_redirects=True) as response:
                    assert await response.read() == b""

    with pytest.raises(http.ClientConnectionError, match="HEAD"):
        aioxide.run(main())


def test_times_delays_exceptions_and_replies() -> None:
    async def reply(call: Call) -> tuple[int, Any]:
        await asyncio.sleep(0)
        return 202, {"sent": call.body.decode()}

    async def main() -> None:
        with Answers() as answers:
            answers.get("http://a.example/", status=503, times=2)
            answers.get("http://a.example/", text="at last")
            assert [(await fetch("GET", "http://a.example/"))[0] for _ in range(3)] == [503, 503, 200]
            answers.get("http://a.example/broken", exception=http.ServerDisconnectedError())
            with pytest.raises(http.ServerDisconnectedError):
                await fetch("GET", "http://a.example/broken")
            answers.get("http://a.example/slow", delay=5)
            with pytest.raises(asyncio.TimeoutError):
                await fetch("GET", "http://a.example/slow", timeout=http.ClientTimeout(total=0.05))
            with pytest.raises(http.SocketTimeoutError):
                await fetch("GET", "http://a.example/slow", timeout=http.ClientTimeout(total=9, sock_read=0.05))
            answers.post("http://a.example/", reply=reply)
            answers.put("http://a.example/", reply=lambda _call: "text")
            assert await fetch("POST", "http://a.example/", data=b"me") == (202, b'{"sent": "me"}')
            assert await fetch("PUT", "http://a.example/", data=b"me") == (200, b"text")
            with pytest.raises(TypeError, match="no websockets"):
                async with http.ClientSession() as session:
                    await session.ws_connect("ws://a.example/")

    aioxide.run(main())


def test_uncalled_routes_and_hosts_that_pass() -> None:
    async def main() -> None:
        async with serving(web.get("/a", echo)) as url:
            with Answers(passing=["127.0.0.1"]) as answers:
                answers.get("http://a.example/", text="made")
                assert json.loads((await fetch("GET", f"{url}/a"))[1])["path"] == "/a"
                assert await fetch("GET", "http://a.example/") == (200, b"made")
                assert len(answers.calls) == 1
            # Behind the block everything is as before.
            assert json.loads((await fetch("GET", f"{url}/a"))[1])["path"] == "/a"
        with (
            pytest.raises(AssertionError, match=r"never called: GET http://a\.example/"),
            Answers(check=True) as answers,
        ):
            answers.get("http://a.example/")

    aioxide.run(main())


TEST = """
import aioxide
from aioxide import http


async def program():
    async with http.ClientSession() as session, session.get("http://a.example/") as response:
        return await response.text()


def test_it(http_answers):
    http_answers.get("http://a.example/", text="hi")
    assert aioxide.run(program()) == "hi"
    assert len(http_answers.calls) == 1
"""


def test_fixture(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["aioxide.http.testing.fixtures"]\n')
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_recording_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "api.json"
    count = 0

    async def answer(request: Any) -> Any:
        nonlocal count
        count += 1
        response = web.Response(text=f"{count} {await request.text()}", headers={"X-More": "é"})
        response.set_cookie("secret", "1")
        response.enable_compression()
        return response

    async def ask(url: str) -> list[Any]:
        found = []
        async with http.ClientSession() as session:
            for data in (b"a", b"b", b"a"):
                async with session.post(f"{url}/x", data=data) as response:
                    found.append((response.status, await response.text(), response.headers["X-More"]))
            async with session.get(f"{url}/missing") as response:
                found.append((response.status, response.reason, ""))
        return found

    async def main() -> None:
        async with serving(web.post("/x", answer)) as url:
            with Recording(path) as recording:
                assert not recording.is_replaying
                recorded = await ask(url)
        assert [text for _, text, _ in recorded] == ["1 a", "2 b", "3 a", "Not Found"]
        assert "secret" not in path.read_text()
        with Recording(path) as recording:
            assert recording.is_replaying
            assert await ask(url) == recorded
            with pytest.raises(LookupError, match=r"GET http://elsewhere\.example/ with this body is not in"):
                await fetch("GET", "http://elsewhere.example/")
        assert count == 3
        with pytest.raises(FileNotFoundError), Recording(tmp_path / "none.json", mode="replay"):
            pass
        with pytest.raises(ValueError, match="mode is"):
            Recording(path, mode="both")

    aioxide.run(main())


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echoes; or breaks in the ways that the path names."""
    if scope["path"] == "/raise":
        raise LookupError("of the application")
    if scope["path"] == "/nothing":
        return
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=b")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    if scope["path"] == "/half":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        return
    shown = {key: scope[key] for key in ("method", "scheme", "path", "root_path", "http_version")}
    shown["query"] = scope["query_string"].decode()
    shown["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}
    shown["body"] = body.decode()
    text = json.dumps(shown).encode()
    await send({"type": "http.response.body", "body": text[:10], "more_body": True})
    await send({"type": "http.response.body", "body": text[10:]})


def test_asgi_application() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(0)
        yield b"two"

    async def main() -> None:
        async with http.ClientSession(connector=ASGIConnector(app, root_path="/v1")) as session:
            async with session.get("http://app.example/a%20b?c=d", headers={"X-Own": "1"}) as response:
                assert (response.status, response.content_type) == (201, "application/json")
                assert response.cookies["a"].value == "b"
                seen = await response.json()
            assert (seen["method"], seen["path"], seen["query"], seen["root_path"]) == ("GET", "/a b", "c=d", "/v1")
            assert seen["headers"]["x-own"] == "1"
            assert seen["headers"]["host"] == "app.example"
            async with session.post("https://app.example/", data=pieces()) as response:
                seen = json.loads(b"".join([piece async for piece in response.content.iter_any()]))
            assert (seen["scheme"], seen["body"], seen["headers"]["transfer-encoding"]) == (
                "https",
                "onetwo",
                "chunked",
            )
            async with session.post("http://app.example/", json={"n": 1}) as response:
                seen = await response.json()
            assert (seen["body"], seen["headers"]["content-length"]) == ('{"n": 1}', "8")
            with pytest.raises(LookupError, match="of the application"):
                await session.get("http://app.example/raise")
            with pytest.raises(http.ServerDisconnectedError, match="has not answered"):
                await session.get("http://app.example/nothing")
            async with session.get("http://app.example/half") as response:
                with pytest.raises(http.ClientPayloadError, match="has ended before its answer"):
                    await response.read()
        assert len(asyncio.all_tasks()) == 1

    aioxide.run(main())


def test_asgi_application_hears_of_who_goes_away() -> None:
    heard: list[str] = []

    async def endless(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
                await asyncio.sleep(0)
        except OSError:
            heard.append((await receive())["type"])

    async def silent(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def main() -> None:
        async with http.ClientSession(connector=ASGIConnector(endless)) as session:
            async with session.get("http://app/") as response:
                assert await response.content.read(10) == b"x" * 10
        async with http.ClientSession(connector=ASGIConnector(silent)) as session:
            with pytest.raises(asyncio.TimeoutError):
                await session.get("http://app/", timeout=http.ClientTimeout(total=0.05))
        while len(heard) < 2:
            await asyncio.sleep(0.001)
        assert heard == ["http.disconnect", "cancelled"]

    aioxide.run(asyncio.wait_for(main(), 10))
