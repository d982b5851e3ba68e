"""uvicorn and gunicorn by import string, httpx as their client."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import aioxide
import httpx
import pytest
import websockets
from conftest import accepts, wait_until


def client(path: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), base_url="http://localhost", timeout=30)


async def check(path: str, loop: str) -> None:
    async with client(path) as session:
        assert (await session.get("/")).text.split()[0] == loop
        data = b"x" * 3_000_000
        assert (await session.post("/echo", content=data)).content == data
        answers = await asyncio.gather(*[session.post("/echo", content=b"%d" % number) for number in range(100)])
        assert [answer.content for answer in answers] == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_uvicorn_by_import_string(run: Any, spawn: Any, tmp_path: Path, http: str) -> None:
    path = str(tmp_path / "socket")
    loop = "aioxide:new_event_loop"
    server = spawn("-m", "uvicorn", "asgi_app:app", "--loop", loop, "--http", http, "--uds", path)
    wait_until(lambda: accepts(path), server)
    run(check(path, aioxide.EventLoop.__module__))
    server.send_signal(signal.SIGINT)
    output, _ = server.communicate(timeout=30)
    assert "clean shutdown" in output
    assert "Traceback" not in output


def test_uvicorn_websockets(run: Any, spawn: Any, free_port: int) -> None:
    server = spawn("-m", "uvicorn", "asgi_app:app", "--loop", "aioxide:new_event_loop", "--port", str(free_port))
    wait_until(lambda: accepts(("127.0.0.1", free_port)), server)

    async def main() -> None:
        async with websockets.connect(f"ws://127.0.0.1:{free_port}/") as socket:
            for word in ("one", "two", "x" * 100_000):
                await socket.send(word)
                assert await socket.recv() == word

    run(main())


def test_uvicorn_in_this_process(run: Any, free_port: int) -> None:
    import uvicorn
    from asgi_app import app

    async def main() -> None:
        server = uvicorn.Server(uvicorn.Config(app, port=free_port, log_level="critical"))
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(timeout=30) as session:
            answer = await session.get(f"http://127.0.0.1:{free_port}/")
            assert answer.text.split()[0] == type(asyncio.get_running_loop()).__module__
        server.should_exit = True
        await serving

    run(main())


def test_gunicorn_worker(run: Any, spawn: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    worker = "aioxide.gunicorn.AioxideUvicornWorker"
    server = spawn("-m", "gunicorn", "-k", worker, "-b", f"unix:{path}", "-w", "2", "asgi_app:app")
    wait_until(lambda: accepts(path), server)
    run(check(path, aioxide.EventLoop.__module__))
    server.send_signal(signal.SIGTERM)
    output, _ = server.communicate(timeout=30)
    assert "clean shutdown" in output
    assert "Traceback" not in output
