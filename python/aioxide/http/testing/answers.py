"""Answers by matcher, which count their calls."""

from __future__ import annotations

import asyncio
import inspect
import json as _json
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ..errors import ClientConnectionError
from .stand_in import Exchange, answer, in_place, whole_body, within


@dataclass
class Call:
    """A request that was made: `method`, `url`, `headers`, `body` in bytes, and the `route` that answered it."""

    method: str
    url: URL
    headers: CIMultiDictProxy[str]
    body: bytes
    route: Route | None = None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return _json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass
class Route:
    """What is answered to what. `calls`: those that it has answered."""

    method: str
    url: str | re.Pattern[str] | URL
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    reason: str | None = None
    exception: BaseException | type[BaseException] | None = None
    delay: float = 0.0
    times: int | None = None
    when: Callable[[Call], bool] | None = None
    reply: Callable[[Call], Any] | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def called(self) -> bool:
        return bool(self.calls)

    @property
    def count(self) -> int:
        """How often it has answered."""
        return len(self.calls)

    def fits(self, call: Call) -> bool:
        """Whether it answers `call`, and still may."""
        if self.times is not None and len(self.calls) >= self.times:
            return False
        if self.method not in {"*", call.method}:
            return False
        if isinstance(self.url, re.Pattern):
            fits = self.url.search(str(call.url)) is not None
        elif isinstance(self.url, str) and "*" in self.url:
            fits = fnmatchcase(str(call.url), self.url.replace("[", "[[]").replace("?", "[?]"))
        else:
            own = URL(self.url)
            # Without a query of its own it answers any; the order of names in a query does not matter.
            fits = own.with_query(None) == call.url.with_query(None)
            if fits and own.query_string:
                fits = sorted(own.query.items()) == sorted(call.url.query.items())
        return fits and (self.when is None or self.when(call))

    def __str__(self) -> str:
        shown = self.url.pattern if isinstance(self.url, re.Pattern) else self.url
        limit = "" if self.times is None else f", {len(self.calls)} of {self.times} times"
        return f"{self.method} {shown}{limit}"


class Answers:
    """Answers the requests of all sessions, as long as its block lasts; nothing goes over the network.

    The first route that fits answers. A request that none fits raises ClientConnectionError, which lists the routes.
    `passing`: hosts whose requests go out as ever, a test's own server for example. `check`: at the end of the block
    every route must have been called.

    >>> import aioxide
    >>> from aioxide import http
    >>> from aioxide.http.testing import Answers
    >>> async def main() -> int:
    ...     with Answers() as answers:
    ...         route = answers.get("http://a.example/x", json={"n": 1})
    ...         async with http.ClientSession() as session, session.get("http://a.example/x?y=z") as response:
    ...             return (await response.json())["n"] + route.count
    >>> aioxide.run(main())
    2
    """

    def __init__(self, *, passing: Iterable[str] = (), check: bool = False) -> None:
        self.routes: list[Route] = []
        self.calls: list[Call] = []
        self._passing = frozenset(passing)
        self._check = check
        self._stack = ExitStack()

    def add(
        self,
        method: str,
        url: str | re.Pattern[str] | URL,
        *,
        status: int = 200,
        json: Any = None,
        text: str | None = None,
        body: bytes = b"",
        headers: Any = None,
        reason: str | None = None,
        exception: BaseException | type[BaseException] | None = None,
        delay: float = 0.0,
        times: int | None = None,
        when: Callable[[Call], bool] | None = None,
        reply: Callable[[Call], Any] | None = None,
    ) -> Route:
        """Adds a route.

        `method`: "*" for any. `url`: whole, with `*` for anything, or a pattern of `re`; one without a query answers
        any query. `exception`: is raised in place of an answer. `delay`: seconds before it. `times`: how often it
        answers. `when(call)`: whether it does. `reply(call)`: returns the body (bytes, text, or what JSON can hold),
        or a status and a body; it may be a coroutine function.
        """
        made: CIMultiDict[str] = CIMultiDict(headers or ())
        body, kind = _body_of(json, text, body)
        if kind:
            made.setdefault("Content-Type", kind)
        pairs = list(made.items())
        route = Route(method.upper(), url, status, pairs, body, reason, exception, delay, times, when, reply)
        self.routes.append(route)
        return route

    def get(self, url: str | re.Pattern[str] | URL, **options: Any) -> Route:
        """Answers GET."""
        return self.add("GET", url, **options)

    def post(self, url: str | re.Pattern[str] | URL, **options: Any) -> Route:
        """Answers POST."""
        return self.add("POST", url, **options)

    def put(self, url: str | re.Pattern[str] | URL, **options: Any) -> Route:
        """Answers PUT."""
        return self.add("PUT", url, **options)

    def patch(self, url: str | re.Pattern[str] | URL, **options: Any) -> Route:
        """Answers PATCH."""
        return self.add("PATCH", url, **options)

    def delete(self, url: str | re.Pattern[str] | URL, **options: Any) -> Route:
        """Answers DELETE."""
        return self.add("DELETE", url, **options)

    def assert_all_called(self) -> None:
        """AssertionError: a route was never called."""
        idle = [str(route) for route in self.routes if not route.calls]
        assert not idle, f"never called: {', '.join(idle)}"

    def __enter__(self) -> Answers:
        self._stack.enter_context(in_place(self._exchange, "Answers has no websockets"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        self._stack.close()
        if kind is None and self._check:
            self.assert_all_called()

    def _exchange(self, real: Exchange) -> Exchange:
        async def exchange(  # noqa: PLR0917
            connector: Any,
            request: Any,
            response: Any,
            headers: list[tuple[str, str]],
            body: Any,
            length: int | None,
            seconds: tuple[float | None, ...],
            decompress: bool,
        ) -> None:
            if request.url.host in self._passing:
                await real(connector, request, response, headers, body, length, seconds, decompress)
                return
            names: CIMultiDict[str] = CIMultiDict(headers)
            call = Call(request.method, request.url, CIMultiDictProxy(names), await whole_body(body))
            await within(self._answer(call, request, response), seconds, response)

        return exchange

    async def _answer(self, call: Call, request: Any, response: Any) -> None:
        self.calls.append(call)
        route = next((route for route in self.routes if route.fits(call)), None)
        if route is None:
            known = "; ".join(map(str, self.routes)) or "none"
            raise ClientConnectionError(f"{call} has no answer here; the routes are: {known}")
        call.route = route
        route.calls.append(call)
        if route.delay:
            await asyncio.sleep(route.delay)
        if route.exception is not None:
            raise route.exception
        status, headers, body = route.status, route.headers, route.body
        if route.reply is not None:
            status, body, kind = await _replied(route.reply, call, status)
            if kind and not any(name.lower() == "content-type" for name, _ in headers):
                headers = [*headers, ("Content-Type", kind)]
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(body)))]
        answer(response, request, status, headers, body, route.reason)


def _body_of(json: Any, text: str | None, body: bytes) -> tuple[bytes, str]:
    if json is not None:
        return _json.dumps(json).encode(), "application/json"
    if text is not None:
        return text.encode(), "text/plain; charset=utf-8"
    return body, ""


async def _replied(reply: Callable[[Call], Any], call: Call, status: int) -> tuple[int, bytes, str]:
    made = reply(call)
    if inspect.isawaitable(made):
        made = await made
    if isinstance(made, tuple):
        status, made = made
    if isinstance(made, bytes):
        return status, made, ""
    if isinstance(made, str):
        return (status, *_body_of(None, made, b""))
    return (status, *_body_of(made, None, b""))
