"""The session: aiohttp's `ClientSession`, with its per-request work in Rust."""

from __future__ import annotations

import asyncio
import json as _json
import sys
import traceback
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict
from yarl import URL

from .._aioxide import _Session
from .auth import BasicAuth
from .connector import BaseConnector, TCPConnector
from .contexts import _RequestContextManager, _SessionRequestContextManager, _WSRequestContextManager
from .headers import prepared
from .outgoing import ClientRequest
from .requesting import perform
from .response import ClientResponse, DebugClientResponse
from .timeouts import DEFAULT_CHUNK_SIZE, DEFAULT_TIMEOUT, ClientTimeout, evolve
from .versions import HttpVersion, HttpVersion11

if TYPE_CHECKING:
    from .sse import ServerSentEvent
    from .websocket import ClientWebSocketResponse

_MISSING: Any = object()


class ClientSession(_Session):
    """Makes requests, keeps connections and cookies. Made and used on one loop of aioxide's.

    The arguments are aiohttp's; all have defaults. `base_url`: what relative URLs are joined to, ending in a slash.
    `headers`, `cookies`: sent with each request. `timeout`: a `ClientTimeout`, in seconds. `raise_for_status`: whether
    a status of 400 and up raises ClientResponseError. `connector`: a `TCPConnector` with limits, TLS, addresses.

    Requests raise ClientError for what went wrong, by its kind, and asyncio.TimeoutError. Close the session by
    `async with` or `close()`: requests that are under way then fail.

    # Cancel safety
    A request that is cancelled closes its connection; session and pool go on.

    >>> import aioxide
    >>> from aioxide import http
    >>> async def main() -> bool:
    ...     async with http.ClientSession() as session:
    ...         return session.closed
    >>> aioxide.run(main())
    False
    """

    _source_traceback: Any = None
    _connector: BaseConnector | None = None

    def __init__(  # noqa: PLR0915
        self,
        base_url: URL | str | None = None,
        *,
        connector: BaseConnector | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        cookies: Any = None,
        headers: Any = None,
        proxy: URL | str | None = None,
        proxy_auth: BasicAuth | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: BasicAuth | None = None,
        json_serialize: Callable[[Any], str] = _json.dumps,
        json_serialize_bytes: Callable[[Any], bytes] | None = None,
        request_class: type[ClientRequest] = ClientRequest,
        response_class: type[ClientResponse] = ClientResponse,
        ws_response_class: Any = None,
        version: HttpVersion = HttpVersion11,
        cookie_jar: Any = None,
        connector_owner: bool = True,
        raise_for_status: bool | Callable[[ClientResponse], Awaitable[None]] = False,
        read_timeout: Any = _MISSING,
        conn_timeout: float | None = None,
        timeout: Any = _MISSING,
        auto_decompress: bool = True,
        trust_env: bool = False,
        requote_redirect_url: bool = True,
        trace_configs: Sequence[Any] | None = None,
        read_bufsize: int = DEFAULT_CHUNK_SIZE,
        max_line_size: int = 8190,
        max_field_size: int = 8190,
        max_headers: int = 128,
        fallback_charset_resolver: Callable[[ClientResponse, bytes], str] | None = None,
        middlewares: Sequence[Any] = (),
        ssl_shutdown_timeout: Any = _MISSING,
    ) -> None:
        if loop is None:
            loop = connector._loop if connector is not None else asyncio.get_running_loop()
        self._loop = loop
        self._base_url = _base(base_url)
        self._base_url_origin = None if self._base_url is None else self._base_url.origin()
        self._timeout = _timeout(timeout, read_timeout, conn_timeout)
        if ssl_shutdown_timeout is not _MISSING:
            warnings.warn(
                "The ssl_shutdown_timeout parameter is deprecated and will be removed in aiohttp 4.0",
                DeprecationWarning,
                stacklevel=2,
            )
        for name, given in (("auth", auth), ("proxy_auth", proxy_auth)):
            if given is not None:
                _warn_of_auth(name, 3)
        if connector is None:
            connector = TCPConnector(loop=loop)
        if connector._loop is not loop:
            raise RuntimeError("Session and connector has to use same event loop")
        if loop.get_debug():
            self._source_traceback = traceback.extract_stack(sys._getframe(1))
            if response_class is ClientResponse:
                response_class = DebugClientResponse
        self._given_jar = cookie_jar
        self._jar: Any = cookie_jar
        if cookies:
            self.cookie_jar.update_cookies(cookies)
        self._connector_owner = connector_owner
        self._default_auth = auth
        self._version = version
        self._json_serialize = json_serialize
        self._json_serialize_bytes = json_serialize_bytes
        self._raise_for_status = raise_for_status
        self._auto_decompress = auto_decompress
        self._trust_env = trust_env
        self._requote_redirect_url = requote_redirect_url
        self._read_bufsize = read_bufsize
        self._max_line_size = max_line_size
        self._max_field_size = max_field_size
        self._max_headers = max_headers
        self._default_headers: CIMultiDict[str] = CIMultiDict(headers or ())
        self._skip_auto_headers = frozenset(CIMultiDict((name, None) for name in skip_auto_headers or ()))
        self._request_class = request_class
        self._response_class = response_class
        self._ws_response_class = ws_response_class
        self._trace_configs = list(trace_configs or ())
        for trace_config in self._trace_configs:
            trace_config.freeze()
        if self._trace_configs:
            connector._observe()
        self._resolve_charset = fallback_charset_resolver
        self._default_proxy = proxy
        self._default_proxy_auth = proxy_auth
        self._retry_connection = True
        self._tracer = None
        if "opentelemetry.trace" in sys.modules:
            from .telemetry import tracer

            self._tracer = tracer()
        self._middlewares = middlewares
        self._connector = connector
        self._look_for_plain_requests()

    def _look_for_plain_requests(self) -> None:
        """Has Rust do plain requests alone, if nothing of the session asks for Python."""
        connector = self._connector
        is_plain = (
            type(self)._request is ClientSession._request
            and type(connector) is TCPConnector
            and connector._is_plain
            and self._response_class in {ClientResponse, DebugClientResponse}
            and self._request_class is ClientRequest
            and self._jar is None
            and self._version == HttpVersion11
            and self._resolve_charset is None
            and self._json_serialize is _json.dumps
            and self._json_serialize_bytes is None
            and self._read_bufsize == DEFAULT_CHUNK_SIZE
            and (self._max_line_size, self._max_field_size, self._max_headers) == (8190, 8190, 128)
            and not (
                self._base_url
                or self._default_auth
                or self._default_proxy
                or self._trust_env
                or self._raise_for_status
                or self._skip_auto_headers
                or self._trace_configs
                or self._middlewares
                or self._tracer
                or self._source_traceback
            )
        )
        if is_plain and connector is not None:
            headers = list(self._default_headers.items())
            if connector.force_close and "Connection" not in self._default_headers:
                headers.append(("Connection", "close"))
            self._set_plain(connector, self._response_class, headers, self._timeout._seconds, self._auto_decompress)

    def __init_subclass__(cls) -> None:
        warnings.warn(
            f"Inheritance class {cls.__name__} from ClientSession is discouraged", DeprecationWarning, stacklevel=2
        )

    def __del__(self, _warnings: Any = warnings) -> None:
        if self.closed:
            return
        _warnings.warn(f"Unclosed client session {self!r}", ResourceWarning, source=self)
        context: dict[str, Any] = {"client_session": self, "message": "Unclosed client session"}
        if self._source_traceback is not None:
            context["source_traceback"] = self._source_traceback
        self._loop.call_exception_handler(context)

    # Requests. `get`, `post`, `put` and `patch` are Rust's, and come here when a request is not a plain one.

    def _start(self, method: str, url: Any, **options: Any) -> _RequestContextManager[ClientResponse]:
        if method == "GET":
            options.setdefault("allow_redirects", True)
        return _RequestContextManager(self._request(method, url, **options))

    def request(self, method: str, url: URL | str, **kwargs: Any) -> _RequestContextManager[ClientResponse]:
        """Starts a request: to be awaited, or entered with `async with`."""
        return _RequestContextManager(self._request(method, url, **kwargs))

    def options(
        self, url: URL | str, *, allow_redirects: bool = True, **kwargs: Any
    ) -> _RequestContextManager[ClientResponse]:
        """Starts an OPTIONS request."""
        return _RequestContextManager(self._request("OPTIONS", url, allow_redirects=allow_redirects, **kwargs))

    def head(
        self, url: URL | str, *, allow_redirects: bool = False, **kwargs: Any
    ) -> _RequestContextManager[ClientResponse]:
        """Starts a HEAD request; redirects are not followed unless told."""
        return _RequestContextManager(self._request("HEAD", url, allow_redirects=allow_redirects, **kwargs))

    def delete(self, url: URL | str, **kwargs: Any) -> _RequestContextManager[ClientResponse]:
        """Starts a DELETE request."""
        return _RequestContextManager(self._request("DELETE", url, **kwargs))

    def sse(self, url: URL | str, **options: Any) -> AsyncIterator[ServerSentEvent]:
        """Server-sent events: `async for event in session.sse(url)`.

        Takes the arguments of `request`, and: `method`; `reconnect` (True), `retry` (3 s), `max_retries` (None), if
        the connection ends; `idle_timeout`, the seconds of silence that count as an end; `last_event_id`.
        """
        from .sse import events

        return events(self, url, **options)

    def ws_connect(self, url: URL | str, **options: Any) -> _WSRequestContextManager[ClientWebSocketResponse]:
        """Starts a websocket: to be awaited, or entered with `async with`.

        Takes `method`, `protocols`, `timeout` (a `ClientWSTimeout`), `autoclose`, `autoping`, `heartbeat`, `origin`,
        `compress`, `max_msg_size`, `decode_text`, and those of `request` that a GET has.

        Raises WSServerHandshakeError if the server does not agree.
        """
        return _WSRequestContextManager(self._ws_connect(url, **options))

    async def _ws_connect(self, url: URL | str, **options: Any) -> ClientWebSocketResponse:
        from .websocket_start import connect

        return await connect(self, url, **options)

    def stats(self) -> dict[str, int]:
        """How many connections are `open`, and of these `idle` or `in_use`."""
        count, idle = (0, 0) if self._connector is None else self._connector._counts()
        return {"open": count, "idle": idle, "in_use": count - idle}

    # A wrong argument is refused when `get` or `post` is called, before anything is awaited.
    _request = perform

    def _fast_special(self, response: ClientResponse, method: str, **options: Any) -> Awaitable[ClientResponse] | None:
        """What Python has to do about the answer to a plain request: keep its cookies, follow its redirect."""
        cookies = response._header_values("set-cookie")
        if cookies:
            self.cookie_jar.update_cookies_from_headers(cookies, response.url)
        if response.status not in {301, 302, 303, 307, 308}:
            return None
        return perform(self, method, response.url, answered=response, **options)

    def _build_url(self, str_or_url: URL | str) -> URL:
        url = URL(str_or_url)
        return self._base_url.join(url) if self._base_url is not None and not url.absolute else url

    def _prepare_headers(self, headers: Any) -> CIMultiDict[str]:
        return prepared(self._default_headers, headers)

    # Its end.

    async def close(self) -> None:
        """Closes the session and its connector, unless that belongs to somebody else."""
        if not self.closed:
            if self._connector is not None and self._connector_owner:
                self._connector._close()
            self._set_special()
            self._connector = None

    def detach(self) -> None:
        """Lets the connector go without closing it."""
        self._set_special()
        self._connector = None

    @property
    def closed(self) -> bool:
        return self._connector is None or self._connector.closed

    def __enter__(self) -> None:
        raise TypeError("Use async with instead")

    def __exit__(self, *_exception: Any) -> None:
        """Never called: `with` ends in `__enter__`."""

    async def __aenter__(self) -> ClientSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # What it was made with.

    @property
    def connector(self) -> BaseConnector | None:
        return self._connector

    @property
    def cookie_jar(self) -> Any:
        """The cookies; made at the first look."""
        if self._jar is None:
            from .cookies import CookieJar

            self._jar = CookieJar(loop=self._loop)
            special = weakref.WeakMethod(self._set_special_for_cookies)
            self._jar._watchers.append(lambda: (call := special()) is not None and call())
        return self._jar

    def _set_special_for_cookies(self) -> None:
        self._set_special()

    @property
    def _cookie_jar(self) -> Any:
        return self.cookie_jar

    @property
    def version(self) -> tuple[int, int]:
        return self._version

    @property
    def requote_redirect_url(self) -> bool:
        """Whether the URLs that redirects lead to are quoted anew."""
        return self._requote_redirect_url

    @requote_redirect_url.setter
    def requote_redirect_url(self, value: bool) -> None:
        warnings.warn("session.requote_redirect_url modification is deprecated #2778", DeprecationWarning, stacklevel=2)
        self._requote_redirect_url = value

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        warnings.warn("client.loop property is deprecated", DeprecationWarning, stacklevel=2)
        return self._loop

    @property
    def timeout(self) -> ClientTimeout:
        return self._timeout

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers of every request."""
        # They may be changed from now on.
        self._set_special()
        return self._default_headers

    @property
    def skip_auto_headers(self) -> frozenset[str]:
        return self._skip_auto_headers

    @property
    def auth(self) -> BasicAuth | None:
        return self._default_auth

    @property
    def json_serialize(self) -> Callable[[Any], str]:
        return self._json_serialize

    @property
    def json_serialize_bytes(self) -> Callable[[Any], bytes] | None:
        return self._json_serialize_bytes

    @property
    def connector_owner(self) -> bool:
        return self._connector_owner

    @property
    def raise_for_status(self) -> Any:
        return self._raise_for_status

    @property
    def auto_decompress(self) -> bool:
        return self._auto_decompress

    @property
    def trust_env(self) -> bool:
        return self._trust_env

    @property
    def trace_configs(self) -> list[Any]:
        return self._trace_configs


def _warn_of_auth(name: str, level: int) -> None:
    header = "Proxy-Authorization" if name == "proxy_auth" else "Authorization"
    where = "proxy_headers" if name == "proxy_auth" else "headers"
    warnings.warn(
        f"The '{name}' parameter is deprecated and will be removed in v4; pass {where}={{'{header}': "
        "aiohttp.encode_basic_auth(login, password)} instead",
        DeprecationWarning,
        stacklevel=level,
    )


def _base(given: URL | str | None) -> URL | None:
    if given is None:
        return None
    url = URL(given)
    if not url.absolute:
        raise ValueError(f"base_url must be absolute, as http://host/path/, not {given!r}")
    if not url.path.endswith("/"):
        raise ValueError("base_url must have a trailing '/'")
    return url


def _timeout(timeout: Any, read_timeout: Any, conn_timeout: float | None) -> ClientTimeout:
    old = {"read_timeout": ("total", read_timeout, _MISSING), "conn_timeout": ("connect", conn_timeout, None)}
    if timeout is _MISSING or timeout is None:
        made = DEFAULT_TIMEOUT
        for name, (phase, seconds, nothing) in old.items():
            if seconds is not nothing:
                warnings.warn(f"{name} is deprecated, use timeout argument instead", DeprecationWarning, stacklevel=3)
                made = evolve(made, **{phase: seconds})
        return made
    if not isinstance(timeout, ClientTimeout):
        raise ValueError(
            f"timeout parameter cannot be of {type(timeout)} type, please use 'timeout=ClientTimeout(...)'"
        )
    for name, (_phase, seconds, nothing) in old.items():
        if seconds is not nothing:
            what = "read" if name == "read_timeout" else "connect"
            raise ValueError(f"{name} and timeout parameters conflict, please setup timeout.{what}")
    return timeout


def request(
    method: str,
    url: URL | str,
    *,
    version: HttpVersion = HttpVersion11,
    connector: BaseConnector | None = None,
    **options: Any,
) -> _SessionRequestContextManager[ClientResponse]:
    """Starts a request with a session of its own, which ends with it; for one request, not for many."""
    owns_connector = connector is None
    if connector is None:
        connector = TCPConnector(force_close=True)
    session = ClientSession(
        cookies=options.pop("cookies", None),
        version=version,
        timeout=options.pop("timeout", _MISSING),
        connector=connector,
        connector_owner=owns_connector,
    )
    return _SessionRequestContextManager(session._request(method, url, **options), session)
