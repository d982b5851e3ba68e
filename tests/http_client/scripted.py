"""A server that answers with given bytes, whatever HTTP says about them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[bytes]]


class Scripted:
    """What came: heads and bodies of requests, and how many connections."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.url = ""


def plain(body: bytes = b"hello", *, kind: bytes = b"text/plain") -> bytes:
    """An answer as it should be; without a type when that is empty."""
    announced = b"Content-Type: %s\r\n" % kind if kind else b""
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (announced, len(body), body)


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    length = re.search(rb"content-length: (\d+)", head.lower())
    if length is not None:
        return await reader.readexactly(int(length[1]))
    body = b""
    if b"transfer-encoding: chunked" in head.lower():
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    return body


@asynccontextmanager
async def scripted(*answers: Answer, close: bool = False) -> AsyncIterator[Scripted]:
    """Answers the n-th request with the n-th answer, those that come later with the last; empty: hangs up.

    `close`: hangs up after each answer.
    """
    server = Scripted()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                server.requests.append((head, await _body(head, reader)))
                answer = answers[min(len(server.requests), len(answers)) - 1]
                if not isinstance(answer, bytes):
                    answer = await answer(writer)
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
                if close:
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ValueError):
            # The client gave up; what it sends then need not be HTTP.
            pass
        finally:
            writer.close()

    async def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        task.add_done_callback(handlers.discard)
        await serve(reader, writer)

    listener = await asyncio.start_server(start, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
