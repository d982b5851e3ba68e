"""How connections are made and kept: what a session's pool is like."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from .._aioxide import _Connector, _Ready, _ready, _Tls, _WebSocket
from .errors import InvalidURL
from .tls import key_log, merged, settings_of
from .versions import HttpVersion11

_MISSING: Any = object()
_HTTP = frozenset({"", "http", "https", "ws", "wss"})


class BaseConnector(_Connector):
    """What all connectors have in common: limits, and how long connections are kept.

    `keepalive_timeout`: seconds. `force_close`: each request has a connection of its own. `limit`, `limit_per_host`:
    how many
    connections there may be, 0 for no limit.
    """

    allowed_protocol_schema_set = _HTTP
    _closed = True
    # gql looks here for connections to wait for when it closes; those of Rust are closed at once.
    _conns: Mapping[Any, Any] = MappingProxyType({})
    _ssl: Any = True
    _certificate: tuple[bytes, bytes] | None = None

    def __init__(
        self,
        *,
        keepalive_timeout: Any = _MISSING,
        force_close: bool = False,
        limit: int = 100,
        limit_per_host: int = 0,
        enable_cleanup_closed: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_ceil_threshold: float = 5,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
        **settings: Any,
    ) -> None:
        if force_close:
            if keepalive_timeout is not None and keepalive_timeout is not _MISSING:
                raise ValueError("keepalive_timeout cannot be set if force_close is True")
            keepalive_timeout = 0
        elif keepalive_timeout is _MISSING:
            keepalive_timeout = 15.0
        self._loop = loop or asyncio.get_running_loop()
        self._limit = limit
        self._limit_per_host = limit_per_host
        self._force_close = force_close
        self._keepalive_timeout = keepalive_timeout
        self._source_traceback = None
        self._tls: dict[Any, tuple[_Tls | None, Any]] = {}
        if socket_options is not None:
            from .transport_settings import socket_setup

            settings["socket_setup"] = socket_setup(socket_options)
        self._open(
            {
                "limit": limit,
                "limit_per_host": limit_per_host,
                "keepalive_timeout": float(keepalive_timeout or 0),
                **self._rust_settings(settings),
            }
        )
        self._closed = False

    @property
    def _is_plain(self) -> bool:
        """Whether every connection is made in the same way, without Python."""
        return False

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
        """Sends one request and fills `response` with the head of the answer."""
        tls, proxy = self._ways(request)
        happened: list[Any] | None = [] if response._traces else None
        url = request.url
        if url.scheme in {"ws", "wss"}:
            url = url.with_scheme("https" if url.scheme == "wss" else "http")
        try:
            await self._exchange(
                response,
                request.method,
                str(url),
                headers,
                body,
                length,
                seconds,
                decompress,
                tls,
                proxy,
                happened,
                request.version < HttpVersion11,
            )
        finally:
            for name, host in happened or ():
                for trace in response._traces:
                    await trace.send_happened(name, host)

    async def _websocket_for(
        self, request: Any, response: Any, settings: dict[str, Any], seconds: tuple[float | None, ...]
    ) -> _WebSocket:
        """Connects a websocket, which begins with this request."""
        tls, proxy = self._ways(request)
        settings["headers"] = request._wire_headers()
        return await self._websocket(response, str(request.url), settings, seconds, tls, proxy)

    def _ways(self, request: Any) -> tuple[_Tls | None, Any]:
        """TLS and the proxy of a request."""
        ssl = request.ssl if request.ssl is not True else self._ssl
        tls = self._tls_for(ssl, request.server_hostname) if request.is_ssl() else None
        if request.proxy is None:
            return tls, None
        if not request.proxy.raw_host:
            raise InvalidURL(request.proxy)
        login = None if request.proxy_auth is None else tuple(request.proxy_auth)[:2]
        named = list(request.proxy_headers.items()) if request.proxy_headers else []
        # As in aiohttp: what the request says of TLS holds for its proxy, too.
        to_proxy = self._tls_for(ssl, None) if request.proxy.scheme == "https" else None
        return tls, (str(request.proxy), login, named, to_proxy)

    def _tls_for(self, ssl: Any, server_name: str | None) -> _Tls | None:
        """The settings for a value of `ssl=`; each is read once, at its first request."""
        key = (ssl if isinstance(ssl, bool) else id(ssl), server_name)
        found = self._tls.get(key)
        if found is None:
            settings = settings_of(ssl, server_name, self._certificate)
            # The value is kept, so that no other one gets its id.
            found = self._tls[key] = (_Tls(settings) if settings else None, ssl)
        return found[0]

    def _rust_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        from .headers import AGENT

        return {"user_agent": AGENT, **settings}

    def __del__(self, _warnings: Any = warnings) -> None:
        if self._closed:
            return
        count, _idle = self._counts()
        self._close()
        if not count:
            return
        _warnings.warn(f"Unclosed connector {self!r}", ResourceWarning, source=self)
        self._loop.call_exception_handler({"connector": self, "connections": [count], "message": "Unclosed connector"})

    def __enter__(self) -> BaseConnector:
        warnings.warn('"with Connector():" is deprecated, use "async with Connector():" instead', DeprecationWarning, 2)
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._close()

    async def __aenter__(self) -> BaseConnector:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        self._close()

    @property
    def force_close(self) -> bool:
        return self._force_close

    @property
    def limit(self) -> int:
        """The most connections there may be; 0 for no limit."""
        return self._limit

    @property
    def limit_per_host(self) -> int:
        """The most connections to one host; 0 for no limit."""
        return self._limit_per_host

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, *, abort_ssl: bool = False) -> _Ready:
        """Closes its connections; who waits for an answer gets ClientConnectionError. Awaiting it is optional."""
        self._close()
        return _ready

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._shut()


class TCPConnector(BaseConnector):
    """Connections to hosts.

    `ssl`, `verify_ssl`, `fingerprint`, `ssl_context`: as for a request. `resolver`: see `AbstractResolver`.
    `family`, `local_addr`: the
    addresses to use. `happy_eyeballs_delay`, `interleave`, `ttl_dns_cache`, `use_dns_cache`: how a name with many
    addresses is tried. `socket_options`: arguments of `socket.setsockopt`, for each connection.
    """

    def __init__(
        self,
        *,
        verify_ssl: bool = True,
        fingerprint: bytes | None = None,
        use_dns_cache: bool = True,
        ttl_dns_cache: float | None = 10,
        family: socket.AddressFamily = socket.AddressFamily.AF_UNSPEC,
        ssl_context: Any = None,
        ssl: Any = True,
        local_addr: tuple[str, int] | None = None,
        resolver: Any = None,
        keepalive_timeout: Any = _MISSING,
        force_close: bool = False,
        limit: int = 100,
        limit_per_host: int = 0,
        enable_cleanup_closed: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_ceil_threshold: float = 5,
        happy_eyeballs_delay: float | None = 0.25,
        interleave: int | None = None,
        socket_factory: Any = None,
        ssl_shutdown_timeout: Any = None,
        http2: bool = True,
        client_certificate: tuple[bytes, bytes] | None = None,
        deny: str | Iterable[str] | None = None,
        allow: str | Iterable[str] | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> None:
        if socket_factory is not None:
            raise ValueError("socket_factory: sockets are made in Rust; use socket_options= for what is set on them")
        self._ssl = merged(ssl, verify_ssl, ssl_context, fingerprint)
        self._certificate = client_certificate
        if resolver is None and family != socket.AF_UNSPEC:
            from .resolver import ThreadedResolver

            resolver = ThreadedResolver()
        caching = None
        if resolver is not None:
            from .resolver import CachingResolver

            caching = CachingResolver(resolver, _ttl(ttl_dns_cache) if use_dns_cache else 0.0)
        super().__init__(
            keepalive_timeout=keepalive_timeout,
            force_close=force_close,
            limit=limit,
            limit_per_host=limit_per_host,
            loop=loop,
            local_address=_address(local_addr),
            resolver=None if caching is None else (caching, int(family)),
            # A resolver of the program's own may tell ports apart, which Rust's cache does not.
            ttl_dns_cache=_ttl(ttl_dns_cache) if use_dns_cache and caching is None else 0.0,
            deny=_networks(deny),
            allow=_networks(allow),
            happy_eyeballs_delay=happy_eyeballs_delay,
            http2=http2,
            socket_options=socket_options,
        )
        self._resolver = resolver
        self._caching = caching
        self._family = family
        self._use_dns_cache = use_dns_cache

    @property
    def _is_plain(self) -> bool:
        return self._ssl is True and self._certificate is None and key_log() is None

    @property
    def family(self) -> int:
        return self._family

    @property
    def use_dns_cache(self) -> bool:
        return self._use_dns_cache

    def clear_dns_cache(self, host: str | None = None, port: int | None = None) -> None:
        """Forgets the addresses of one name, or of all."""
        if (host is None) != (port is None):
            raise ValueError("either both host and port or none of them are allowed")
        if self._caching is not None:
            self._caching.forget(host, port)


def _address(local_addr: tuple[str, int] | None) -> Any:
    if local_addr is None:
        return None
    from ipaddress import ip_address

    host, port = local_addr[:2]
    if port:
        raise ValueError(f"local_addr: connections of a pool cannot all have the port {port}; use 0")
    return ip_address(host)


def _ttl(seconds: float | None) -> float:
    # None: without end.
    return 1e9 if seconds is None else float(seconds)


def _networks(given: str | Iterable[str] | None) -> list[str]:
    return [] if given is None else [given] if isinstance(given, str) else list(given)


class UnixConnector(BaseConnector):
    """Connections to a socket in the file system; the URL's host does not matter."""

    allowed_protocol_schema_set = _HTTP | {"unix"}

    def __init__(  # noqa: PLR0917
        self,
        path: str,
        force_close: bool = False,
        keepalive_timeout: Any = _MISSING,
        limit: int = 100,
        limit_per_host: int = 0,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        ssl: Any = True,
        http2: bool = True,
        client_certificate: tuple[bytes, bytes] | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> None:
        self._path = path
        self._ssl = merged(ssl, None, None, None)
        self._certificate = client_certificate
        super().__init__(
            force_close=force_close,
            keepalive_timeout=keepalive_timeout,
            limit=limit,
            limit_per_host=limit_per_host,
            loop=loop,
            path=path,
            http2=http2,
            socket_options=socket_options,
        )

    @property
    def path(self) -> str:
        return self._path


class NamedPipeConnector(BaseConnector):
    """Windows alone has such pipes."""

    def __init__(self, path: str, *arguments: Any, **options: Any) -> None:
        raise RuntimeError("Named pipes are only available on Windows, with its proactor loop")
