"""Puts something in the place of connections: what is asked for comes here, past pool and sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..._aioxide import _Session
from ..connector import BaseConnector

# Blocks may lie within each other: the outermost one ends it.
_REAL = BaseConnector._exchange_for
# request, response, headers, body, length, seconds, decompress: as `BaseConnector._exchange_for` has them.
Exchange = Callable[..., Awaitable[None]]


@contextmanager
def in_place(exchange: Callable[[Exchange], Exchange], websockets: str) -> Iterator[None]:
    """All connectors go by `exchange`, which is given the real way; `websockets`: why there are none."""
    real, real_websocket = BaseConnector._exchange_for, BaseConnector._websocket_for

    async def refuse(_self: BaseConnector, request: Any, *_arguments: Any) -> Any:
        raise TypeError(f"{request.url}: {websockets}")

    BaseConnector._exchange_for = exchange(real)  # type: ignore[method-assign, assignment]
    BaseConnector._websocket_for = refuse  # type: ignore[method-assign, assignment]
    # Plain requests would go past Python.
    _Session._replace_connections(yes=True)
    try:
        yield
    finally:
        BaseConnector._exchange_for = real  # type: ignore[method-assign]
        BaseConnector._websocket_for = real_websocket  # type: ignore[method-assign]
        _Session._replace_connections(yes=real is not _REAL)


async def whole_body(body: Any) -> bytes:
    """A request's body, which Rust would have sent: None, bytes, or an asynchronous iterator."""
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    return b"".join([piece async for piece in body])


async def pieces_of(body: bytes) -> AsyncIterator[bytes]:
    """A body in one piece."""
    yield body


def answer(  # noqa: PLR0917
    response: Any, request: Any, status: int, headers: list[tuple[str, str]], body: bytes, reason: str | None = None
) -> None:
    """Fills `response` with what was made."""
    from http import HTTPStatus

    if reason is None:
        reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    has_body = bool(body) and request.method != "HEAD"
    response._answer(
        status,
        reason.encode("utf-8", "surrogateescape"),
        headers,
        str(request.url),
        pieces_of(body) if has_body else None,
    )


async def within(awaitable: Awaitable[Any], seconds: tuple[float | None, ...], response: Any) -> Any:
    """Awaits within the request's limits of time, as `_exchange` does."""
    from ..errors import SocketTimeoutError

    total, _connect, _sock_connect, read = seconds
    limits = [limit for limit in (total, read) if limit]
    if not limits:
        return await awaitable
    try:
        return await asyncio.wait_for(awaitable, min(limits))
    except asyncio.TimeoutError:
        if read and read == min(limits):
            raise SocketTimeoutError("Timeout on reading data from socket") from None
        raise
