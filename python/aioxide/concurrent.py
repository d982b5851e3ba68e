"""`gather` and `map`: many awaitables at once, all of them or no more than so many at a time."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
)
from typing import Any, Literal, TypeAlias, TypeVar, overload

from . import _aioxide

__all__ = ["gather", "map"]

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_T1 = TypeVar("_T1")
_T2 = TypeVar("_T2")
_T3 = TypeVar("_T3")
_T4 = TypeVar("_T4")
_T5 = TypeVar("_T5")
_T6 = TypeVar("_T6")
_Aw: TypeAlias = "asyncio.Future[_T] | Awaitable[_T]"
_Many: TypeAlias = "Iterable[_Aw[_T]] | AsyncIterable[_Aw[_T]]"
_Results: TypeAlias = "asyncio.Future[_T]"


@overload
def gather(
    aw1: _Aw[_T1], /, *, return_exceptions: Literal[False] = False, limit: int | None = None
) -> _Results[tuple[_T1]]: ...
@overload
def gather(
    aw1: _Aw[_T1], aw2: _Aw[_T2], /, *, return_exceptions: Literal[False] = False, limit: int | None = None
) -> _Results[tuple[_T1, _T2]]: ...
@overload
def gather(
    aw1: _Aw[_T1],
    aw2: _Aw[_T2],
    aw3: _Aw[_T3],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: int | None = None,
) -> _Results[tuple[_T1, _T2, _T3]]: ...
@overload
def gather(
    aw1: _Aw[_T1],
    aw2: _Aw[_T2],
    aw3: _Aw[_T3],
    aw4: _Aw[_T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: int | None = None,
) -> _Results[tuple[_T1, _T2, _T3, _T4]]: ...
@overload
def gather(
    aw1: _Aw[_T1],
    aw2: _Aw[_T2],
    aw3: _Aw[_T3],
    aw4: _Aw[_T4],
    aw5: _Aw[_T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: int | None = None,
) -> _Results[tuple[_T1, _T2, _T3, _T4, _T5]]: ...
@overload
def gather(
    aw1: _Aw[_T1],
    aw2: _Aw[_T2],
    aw3: _Aw[_T3],
    aw4: _Aw[_T4],
    aw5: _Aw[_T5],
    aw6: _Aw[_T6],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: int | None = None,
) -> _Results[tuple[_T1, _T2, _T3, _T4, _T5, _T6]]: ...
@overload
def gather(
    *coros_or_futures: _Aw[_T], return_exceptions: Literal[False] = False, limit: int | None = None
) -> _Results[list[_T]]: ...
@overload
def gather(aws: _Many[_T], /, *, return_exceptions: Literal[False] = False, limit: int) -> _Results[list[_T]]: ...
@overload
def gather(
    aw1: _Aw[_T1], /, *, return_exceptions: bool, limit: int | None = None
) -> _Results[tuple[_T1 | BaseException]]: ...
@overload
def gather(
    aw1: _Aw[_T1], aw2: _Aw[_T2], /, *, return_exceptions: bool, limit: int | None = None
) -> _Results[tuple[_T1 | BaseException, _T2 | BaseException]]: ...
@overload
def gather(
    aw1: _Aw[_T1], aw2: _Aw[_T2], aw3: _Aw[_T3], /, *, return_exceptions: bool, limit: int | None = None
) -> _Results[tuple[_T1 | BaseException, _T2 | BaseException, _T3 | BaseException]]: ...
@overload
def gather(
    aw1: _Aw[_T1], aw2: _Aw[_T2], aw3: _Aw[_T3], aw4: _Aw[_T4], /, *, return_exceptions: bool, limit: int | None = None
) -> _Results[tuple[_T1 | BaseException, _T2 | BaseException, _T3 | BaseException, _T4 | BaseException]]: ...
@overload
def gather(
    aw1: _Aw[_T1],
    aw2: _Aw[_T2],
    aw3: _Aw[_T3],
    aw4: _Aw[_T4],
    aw5: _Aw[_T5],
    /,
    *,
    return_exceptions: bool,
    limit: int | None = None,
) -> _Results[
    tuple[_T1 | BaseException, _T2 | BaseException, _T3 | BaseException, _T4 | BaseException, _T5 | BaseException]
]: ...
@overload
def gather(
    aw1: _Aw[_T1],
    aw2: _Aw[_T2],
    aw3: _Aw[_T3],
    aw4: _Aw[_T4],
    aw5: _Aw[_T5],
    aw6: _Aw[_T6],
    /,
    *,
    return_exceptions: bool,
    limit: int | None = None,
) -> _Results[
    tuple[
        _T1 | BaseException,
        _T2 | BaseException,
        _T3 | BaseException,
        _T4 | BaseException,
        _T5 | BaseException,
        _T6 | BaseException,
    ]
]: ...
@overload
def gather(
    *coros_or_futures: _Aw[_T], return_exceptions: bool, limit: int | None = None
) -> _Results[list[_T | BaseException]]: ...
@overload
def gather(aws: _Many[_T], /, *, return_exceptions: bool, limit: int) -> _Results[list[_T | BaseException]]: ...
def gather(*coros_or_futures: Any, return_exceptions: bool = False, limit: int | None = None) -> asyncio.Future[Any]:
    """Waits for all awaitables; returns their results in the order of the awaitables.

    `return_exceptions`: false: the first failure is raised to the caller at once, and the others go on; true:
    failures stand in the list of results at their places.
    `limit`: how many may run at a time. The awaitables may then come from one iterable, synchronous or not, given as
    the only argument: it is consumed only as places become free, and no further after a failure that is raised.

    # Cancel safety
    Cancelling it cancels those that run, with its message; coroutines that were given and not begun are closed.

    asyncio: `asyncio.gather`; `limit` is new.
    """
    if limit is None:
        return _aioxide.gather(*coros_or_futures, return_exceptions=return_exceptions)
    _check(limit)
    given = coros_or_futures
    source = given[0] if len(given) == 1 and _is_source(given[0]) else given
    if not isinstance(source, Collection):
        return asyncio.ensure_future(_gather_limited(source, limit, return_exceptions))
    # What was handed over is the gather's, also what it does not come to: no other will await it.
    rest = iter(source)
    gathering = asyncio.ensure_future(_gather_limited(rest, limit, return_exceptions))
    gathering.add_done_callback(functools.partial(_give_up, rest))
    return gathering


async def map(
    function: Callable[[_Item], Awaitable[_T]],
    iterable: Iterable[_Item] | AsyncIterable[_Item],
    *,
    limit: int,
) -> AsyncGenerator[_T, None]:
    """Yields `await function(item)` for each item, in the order of the items, with `limit` calls under way at most.

    The iterable, synchronous or not, is consumed only as results are, so memory is bounded however long it is. A
    failure is raised at its place; what still runs then is cancelled, as it is when the iteration is given up: leave it
    early inside of `contextlib.aclosing`.

    `limit`: how many calls may be under way, 1 or more, else ValueError.

    # Examples

        async def double(number):
            return 2 * number

        assert [result async for result in aioxide.map(double, range(4), limit=2)] == [0, 2, 4, 6]

    asyncio has no such function.
    """
    _check(limit)
    under_way: deque[asyncio.Future[_T]] = deque()
    try:
        async for item in _each(iterable):
            under_way.append(asyncio.ensure_future(function(item)))
            if len(under_way) >= limit:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for future in under_way:
            future.cancel()
        if under_way:
            await _aioxide.gather(*under_way, return_exceptions=True)


def _give_up(rest: Iterator[Any], gathering: object) -> None:
    """Closes the coroutines that were not begun when the gather ended."""
    for awaitable in rest:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()


def _check(limit: int) -> None:
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit!r}")


def _is_source(thing: Any) -> bool:
    return not hasattr(thing, "__await__") and (hasattr(thing, "__aiter__") or hasattr(thing, "__iter__"))


async def _each(iterable: Any) -> AsyncIterator[Any]:
    if hasattr(iterable, "__aiter__"):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item


class _Window:
    """The awaitables that run at a time: at most `limit`."""

    def __init__(self, limit: int, return_exceptions: bool) -> None:
        self.limit = limit
        self.return_exceptions = return_exceptions
        self.running: set[asyncio.Future[Any]] = set()
        self.results: list[Any] = []
        self.failure: BaseException | None = None
        self._changed: asyncio.Future[None] | None = None

    def start(self, awaitable: Any) -> None:
        future = asyncio.ensure_future(awaitable)
        self.running.add(future)
        future.add_done_callback(functools.partial(self._ended, len(self.results)))
        self.results.append(None)

    def _ended(self, index: int, future: asyncio.Future[Any]) -> None:
        self.running.discard(future)
        try:
            self.results[index] = future.result()
        except BaseException as failure:
            if self.return_exceptions:
                self.results[index] = failure
            elif self.failure is None:
                self.failure = failure
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def shrink_to(self, count: int) -> None:
        """Waits until no more than `count` run, or one has failed."""
        while len(self.running) > count and self.failure is None:
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed


async def _gather_limited(source: Any, limit: int, return_exceptions: bool) -> list[Any]:
    window = _Window(limit, return_exceptions)
    try:
        async for awaitable in _each(source):
            window.start(awaitable)
            await window.shrink_to(limit - 1)
            if window.failure is not None:
                break
        await window.shrink_to(0)
    except asyncio.CancelledError as error:
        message = error.args[0] if error.args else None
        for future in list(window.running):
            future.cancel(msg=message)
        await _aioxide.gather(*window.running, return_exceptions=True)
        raise
    if window.failure is not None:
        try:
            raise window.failure
        finally:
            window.failure = None
    return window.results
