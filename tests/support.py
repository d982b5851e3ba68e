"""A protocol that notes what happens to it, a server of such protocols, and a website in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Recorder(asyncio.Protocol):
    """Notes every call; a test awaits what it needs."""

    def __init__(self, keep_open: bool = False, made: Callable[[Recorder], object] | None = None) -> None:
        self.events: list[str] = []
        self.data = bytearray()
        self.paused = False
        self.resumed = asyncio.Event()
        self.ended = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self._keep_open = keep_open
        self._made = made
        self._waiting: tuple[int, asyncio.Future[None]] | None = None

    async def received(self, count: int) -> bytes:
        """Waits until so many bytes have come in all, and returns all."""
        if len(self.data) < count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting = (count, waiter)
            await waiter
        return bytes(self.data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")
        self.transport = transport
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        if self.events[-1:] != ["data"]:
            self.events.append("data")
        self.data += data
        if self._waiting is not None and len(self.data) >= self._waiting[0] and not self._waiting[1].done():
            self._waiting[1].set_result(None)

    def eof_received(self) -> bool:
        self.events.append("eof")
        self.ended.set()
        return self._keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        assert not self.paused
        self.paused = True
        self.resumed.clear()

    def resume_writing(self) -> None:
        assert self.paused
        self.paused = False
        self.resumed.set()


class Peers(asyncio.Queue[Recorder]):
    """The protocols of a server, in the order of their connections."""

    server: asyncio.AbstractServer


@asynccontextmanager
async def serve(
    loop: asyncio.AbstractEventLoop, *, keep_open: bool = False, **options: Any
) -> AsyncIterator[tuple[Any, Peers]]:
    """Serves recorders on a port of the loopback (or at ``path``); gives the address and the queue of them."""
    peers = Peers()
    connected: list[Recorder] = []

    def made(recorder: Recorder) -> None:
        connected.append(recorder)
        peers.put_nowait(recorder)

    def protocol() -> Recorder:
        return Recorder(keep_open, made)

    if "path" in options:
        server: Any = await loop.create_unix_server(protocol, **options)
        address: Any = options["path"]
    else:
        server = await loop.create_server(protocol, "127.0.0.1", 0, **options)
        address = server.sockets[0].getsockname()
    peers.server = server
    try:
        yield address, peers
    finally:
        server.close()
        for recorder in connected:
            recorder.transport.abort()
            await recorder.lost
        await server.wait_closed()


@contextmanager
def website(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server in a thread of its own; its URL, with a slash at the end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
