"""Serves one application on one loop and port until it is terminated; prints its process and port as JSON first."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker import factory

Serve = Callable[[socket.socket], Awaitable[object]]


async def plaintext(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello, World!"})


async def under_uvicorn(app: Any, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(app, http="httptools", loop="none", lifespan="off", access_log=False, log_level="warning")
    await uvicorn.Server(config).serve(sockets=[listener])


async def uvicorn_plaintext(listener: socket.socket) -> None:
    await under_uvicorn(plaintext, listener)


async def fastapi_json(listener: socket.socket) -> None:
    import fastapi

    app = fastapi.FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"message": "Hello, World!"}

    await under_uvicorn(app, listener)


async def aiohttp_server(listener: socket.socket) -> None:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="Hello, World!")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    await asyncio.get_running_loop().create_future()


async def websockets_server(listener: socket.socket) -> None:
    from websockets.asyncio.server import serve

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, sock=listener, compression=None):
        await asyncio.get_running_loop().create_future()


async def streams_server(listener: socket.socket) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, sock=listener)
    await server.serve_forever()


SERVERS: dict[str, Serve] = {
    "uvicorn plaintext": uvicorn_plaintext,
    "FastAPI JSON": fastapi_json,
    "aiohttp server": aiohttp_server,
    "websockets server": websockets_server,
    "streams line server": streams_server,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--app", required=True)
    options = parser.parse_args()
    logging.disable()  # the load goes away without a word
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    new_loop = factory(options.loop)
    # With its protocol named, as sockets are that the loop makes itself: asyncio sets TCP_NODELAY on no others.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(json.dumps({"pid": os.getpid(), "port": listener.getsockname()[1]}), flush=True)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(SERVERS[options.app](listener))


if __name__ == "__main__":
    main()
