"""What a request's call returns: to be awaited, or entered with `async with`."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class _BaseRequestContextManager(Coroutine[Any, Any, _T], Generic[_T]):
    """A coroutine of a response, which leaves the response when its `async with` ends."""

    __slots__ = ("_coro", "_resp")

    def __init__(self, coro: Coroutine[Any, Any, _T]) -> None:
        self._coro = coro

    def send(self, value: Any) -> Any:
        return self._coro.send(value)

    def throw(self, *exception: Any) -> Any:
        return self._coro.throw(*exception)

    def close(self) -> None:
        return self._coro.close()

    def __await__(self) -> Generator[Any, None, _T]:
        return self._coro.__await__()

    def __iter__(self) -> Generator[Any, None, _T]:
        return self._coro.__await__()

    async def __aenter__(self) -> _T:
        self._resp = await self._coro
        return await self._resp.__aenter__()  # type: ignore[attr-defined, no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resp.__aexit__(kind, value, traceback)  # type: ignore[attr-defined]


class _RequestContextManager(_BaseRequestContextManager[_T]):
    """What a session's methods return."""

    __slots__ = ()


class _WSRequestContextManager(_BaseRequestContextManager[_T]):
    """What `ws_connect` returns."""

    __slots__ = ()


class _SessionRequestContextManager(Generic[_T]):
    """What `request` returns: a response with a session of its own, for `async with` alone."""

    __slots__ = ("_coro", "_resp", "_session")

    def __init__(self, coro: Coroutine[Any, Any, _T], session: Any) -> None:
        self._coro = coro
        self._resp: Any = None
        self._session = session

    async def __aenter__(self) -> _T:
        try:
            self._resp = await self._coro
        except BaseException:
            await self._session.close()
            raise
        return self._resp  # type: ignore[no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resp.close()
        await self._session.close()
