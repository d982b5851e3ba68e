"""A connector whose requests are calls of an ASGI application, in the same process and on the same loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from ..connector import BaseConnector
from ..errors import ClientPayloadError, ServerDisconnectedError
from .stand_in import within

Application = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]


class ASGIConnector(BaseConnector):
    """`ClientSession(connector=ASGIConnector(app))`: whatever host a URL names, the application answers.

    Bodies stream both ways; a response that is left early disconnects. What the application raises before its answer
    is raised by the request. There are no websockets, and no lifespan: start that by yourself where it is needed.

    >>> import aioxide
    >>> from aioxide import http
    >>> from aioxide.http.testing import ASGIConnector
    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "status": 200, "headers": []})
    ...     await send({"type": "http.response.body", "body": scope["path"].encode()})
    >>> async def main() -> str:
    ...     async with http.ClientSession(connector=ASGIConnector(app)) as session:
    ...         async with session.get("http://app/hello") as response:
    ...             return await response.text()
    >>> aioxide.run(main())
    '/hello'
    """

    def __init__(
        self, app: Application, *, root_path: str = "", client: tuple[str, int] = ("127.0.0.1", 123), **options: Any
    ) -> None:
        super().__init__(**options)
        self._app = app
        self._root_path = root_path
        self._client = client

    async def _exchange_for(  # noqa: PLR0917
        self,
        request: Any,
        response: Any,
        headers: list[tuple[str, str]],
        body: Any,
        length: int | None,
        seconds: tuple[float | None, ...],
        decompress: bool,
    ) -> None:
        exchange = _Exchange(body)
        task = asyncio.ensure_future(
            self._app(self._scope(request, headers, body, length), exchange.receive, exchange.send)
        )
        task.add_done_callback(exchange.ended)
        try:
            await within(asyncio.shield(exchange.started), seconds, response)
        except BaseException:
            exchange.leave()
            task.cancel()
            raise
        start = exchange.started.result()
        pairs = [(bytes(name).decode("latin-1"), bytes(value)) for name, value in start.get("headers", ())]
        pieces = exchange.pieces(is_empty=request.method == "HEAD")
        response._answer(start["status"], _reason(start["status"]), pairs, str(request.url), pieces)

    async def _websocket_for(self, *_arguments: Any) -> Any:
        raise TypeError("ASGIConnector has no websockets")

    def _scope(self, request: Any, headers: list[tuple[str, str]], body: Any, length: int | None) -> dict[str, Any]:
        url = request.url
        pairs = [(name.lower().encode("latin-1"), _bytes(value)) for name, value in headers]
        named = {name for name, _ in pairs}
        if body is not None and not named & {b"content-length", b"transfer-encoding"}:
            known = len(body) if isinstance(body, bytes) else length
            framing = (b"transfer-encoding", b"chunked") if known is None else (b"content-length", b"%d" % known)
            pairs.append(framing)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": unquote(url.raw_path),
            "raw_path": url.raw_path.encode(),
            "query_string": url.raw_query_string.encode(),
            "root_path": self._root_path,
            "headers": pairs,
            "client": self._client,
            "server": (url.host, url.port),
            "extensions": {},
        }


class _Exchange:
    """One call of the application: what it receives and sends."""

    # So many pieces may wait to be read; the application waits from then on.
    AHEAD = 4

    def __init__(self, body: Any) -> None:
        self.started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._whole = body if isinstance(body, bytes) else b""
        self._iterator = None if body is None or isinstance(body, bytes) else body
        self._is_received = False
        self._start: Any = None
        # None is the end of the body.
        self._pieces: deque[bytes | None] = deque()
        self._error: BaseException | None = None
        self._is_over = False
        # Set when there is something to read or nothing more to come; when there is room, or nobody reads any more.
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._is_left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._iterator is not None:
            try:
                return {"type": "http.request", "body": await anext(self._iterator), "more_body": True}
            except StopAsyncIteration:
                self._iterator = None
        if not self._is_received:
            self._is_received = True
            return {"type": "http.request", "body": self._whole, "more_body": False}
        await self._is_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            return
        if self._start is None:
            raise RuntimeError("http.response.body was sent before http.response.start")
        if not self.started.done():
            self.started.set_result(self._start)
        if piece := bytes(message.get("body", b"")):
            await self._put(piece)
        if not message.get("more_body", False):
            await self._put(None)

    async def _put(self, piece: bytes | None) -> None:
        while len(self._pieces) >= self.AHEAD and not self._is_left.is_set():
            self._writable.clear()
            await self._writable.wait()
        if self._is_left.is_set():
            raise OSError("the client has gone")
        self._pieces.append(piece)
        self._readable.set()

    def ended(self, task: asyncio.Future[Any]) -> None:
        """The application has returned."""
        self._error = None if task.cancelled() else task.exception()
        if not self.started.done():
            self.started.set_exception(self._error or ServerDisconnectedError("the application has not answered"))
        self._is_over = True
        self._readable.set()

    def leave(self) -> None:
        """Nobody reads any more."""
        self.started.cancel()
        self._is_left.set()
        self._writable.set()

    async def pieces(self, *, is_empty: bool) -> AsyncIterator[bytes]:
        try:
            while not is_empty:
                while not self._pieces:
                    if self._is_over:
                        raise ClientPayloadError("the application has ended before its answer") from self._error
                    self._readable.clear()
                    await self._readable.wait()
                piece = self._pieces.popleft()
                self._writable.set()
                if piece is None:
                    return
                yield piece
        finally:
            # What the application does after its answer it may do, as behind a server.
            self.leave()


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _reason(status: int) -> bytes:
    from http import HTTPStatus

    return HTTPStatus(status).phrase.encode() if status in set(HTTPStatus) else b""
