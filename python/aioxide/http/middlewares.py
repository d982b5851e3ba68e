"""Functions around each exchange: `middlewares=(…)`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

ClientHandlerType = Callable[[Any], Awaitable[Any]]
ClientMiddlewareType = Callable[[Any, ClientHandlerType], Awaitable[Any]]


def build_client_middlewares(
    handler: ClientHandlerType, middlewares: Sequence[ClientMiddlewareType]
) -> ClientHandlerType:
    """`handler` inside of the middlewares, the first of them outermost."""
    for middleware in reversed(middlewares):
        handler = _inside(middleware, handler)
    return handler


def _inside(middleware: ClientMiddlewareType, handler: ClientHandlerType) -> ClientHandlerType:
    async def call(request: Any) -> Any:
        return await middleware(request, handler)

    return call
