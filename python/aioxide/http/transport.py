"""A transport for httpx or httpx2: `httpx.AsyncClient(transport=aioxide.http.Transport())`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from functools import cache
from types import ModuleType, TracebackType
from typing import Any

from .connector import TCPConnector, UnixConnector
from .errors import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientOSError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientResponseError,
    ConnectionTimeoutError,
    InvalidURL,
    ServerDisconnectedError,
    SocketTimeoutError,
)
from .response import ClientResponse
from .transport_settings import certificate, proxy_parts, socket_setup, verification


def _library_of(request: Any) -> ModuleType:
    """httpx or httpx2: the one that has made the request."""
    return sys.modules[type(request).__module__.partition(".")[0]]


class _Stream:
    """The body of an answer, as httpx wants it: raw, as it came."""

    def __init__(self, transport: Transport, request: Any, response: ClientResponse) -> None:
        self._transport = transport
        self._request = request
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (piece := await self._response._chunk()) is not None:
                yield piece
        except Exception as error:
            raise self._transport._translated(error, self._request, reading=True) from error

    async def aclose(self) -> None:
        self._response.release()


class _Asked:
    """What an exception wants to know of a request."""

    def __init__(self, request: Any) -> None:
        from yarl import URL

        self.original_url = self.url = URL(str(request.url), encoded=True)
        self.method = request.method
        self._request = request

    @property
    def request_info(self) -> Any:
        from .headers import proxy
        from .outgoing import RequestInfo

        return RequestInfo(self.url, self.method, proxy(list(self._request.headers.items())), self.url)

    @property
    def connection_key(self) -> Any:
        from .outgoing import ConnectionKey

        return ConnectionKey(self.url.host or "", self.url.port, self.url.scheme == "https", True, None, None, None)


@cache
def _stream_class(httpx: ModuleType) -> type[_Stream]:
    """The body of an answer as a class of that library's."""
    return type("Stream", (_Stream, httpx.AsyncByteStream), {})


class Transport:
    """Sends the requests of an `AsyncClient` of httpx or httpx2 through aioxide's session, on the loop's own thread.

    Takes what `AsyncHTTPTransport` takes; without `verify` the platform's authorities are trusted.
    Client and transport belong to one loop, which must be aioxide's.
    """

    def __init__(  # noqa: PLR0917
        self,
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = True,
        limits: Any = None,
        proxy: Any = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Any = None,
    ) -> None:
        if not http1:
            raise ValueError("http1=False cannot be had: the server decides between HTTP/1.1 and HTTP/2")
        self._options: dict[str, Any] = {
            "ssl": verification(verify),
            "http2": http2,
            "client_certificate": certificate(cert),
        }
        self._socket_options = None if socket_options is None else list(socket_options)
        socket_setup(self._socket_options)
        self._proxy = proxy_parts(proxy)
        self._limits = limits
        self._uds = uds
        self._local_address = local_address
        self._retries = retries
        self._connector: Any = None

    def _open(self) -> Any:
        """The connector, made on the loop of the first request."""
        if self._connector is None:
            limits = self._limits
            limit = 100 if limits is None else limits.max_connections or 0
            keepalive = 5.0 if limits is None else limits.keepalive_expiry
            keepalive = 3600.0 if keepalive is None else keepalive
            if limits is not None and limits.max_keepalive_connections == 0:
                keepalive = 0.0
            pool: dict[str, Any] = {
                "limit": limit,
                "keepalive_timeout": keepalive,
                "socket_options": self._socket_options,
            }
            if self._uds is not None:
                self._connector = UnixConnector(self._uds, **pool, **self._options)
            else:
                local = None if self._local_address is None else (self._local_address, 0)
                self._connector = TCPConnector(local_addr=local, **pool, **self._options)
        return self._connector

    def _ways(self, connector: Any, request: Any) -> tuple[Any, Any]:
        """TLS and the proxy of a request."""
        tls = None
        if request.url.scheme == "https":
            tls = connector._tls_for(connector._ssl, request.extensions.get("sni_hostname"))
        if self._proxy is None:
            return tls, None
        url, login, headers, context = self._proxy
        to_proxy = connector._tls_for(True if context is None else context, None) if url.startswith("https:") else None
        return tls, (url, login, headers, to_proxy)

    async def handle_async_request(self, request: Any) -> Any:
        """Sends one request; the body of the answer comes as it is read."""
        httpx = _library_of(request)
        connector = self._open()
        limits = request.extensions.get("timeout", {})
        seconds = (None, limits.get("pool"), limits.get("connect"), limits.get("read"))
        body, length = await self._body(request, httpx)
        headers = [(name.decode("latin-1"), value) for name, value in request.headers.raw]
        response: Any = ClientResponse()
        response._request = _Asked(request)
        try:
            tls, proxy = self._ways(connector, request)
        except ValueError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        for attempt in range(self._retries + 1):
            try:
                await connector._exchange(
                    response, request.method, str(request.url), headers, body, length, seconds, False, tls, proxy
                )
            except (ClientConnectorError, ConnectionTimeoutError) as error:
                if attempt == self._retries:
                    raise self._translated(error, request, reading=False) from error
                await asyncio.sleep(0.5 * 2 ** (attempt - 1) if attempt else 0)
            except Exception as error:
                raise self._translated(error, request, reading=False) from error
            else:
                break
        version = b"HTTP/%d.%d" % response._version if response._version[0] < 2 else b"HTTP/2"
        return httpx.Response(
            status_code=response.status,
            headers=list(response.raw_headers),
            stream=_stream_class(httpx)(self, request, response),
            extensions={"http_version": version, "reason_phrase": response.reason.encode("utf-8", "surrogateescape")},
        )

    async def _body(self, request: Any, httpx: ModuleType) -> tuple[Any, int | None]:
        stream = request.stream
        length = request.headers.get("content-length")
        if isinstance(stream, httpx.ByteStream):
            whole = b"".join([piece async for piece in stream])
            return (whole, None) if whole or length is not None else (None, None)
        return stream.__aiter__(), int(length) if length is not None else None

    def _translated(self, error: BaseException, request: Any, *, reading: bool) -> BaseException:
        httpx = _library_of(request)
        text = str(error) or type(error).__name__
        if isinstance(error, ConnectionTimeoutError):
            kind = httpx.PoolTimeout if error.phase == "pool" else httpx.ConnectTimeout
        elif isinstance(error, SocketTimeoutError | asyncio.TimeoutError):
            kind = httpx.ReadTimeout
        elif isinstance(error, ClientProxyConnectionError | ClientHttpProxyError):
            kind = httpx.ProxyError
        elif isinstance(error, ClientConnectorCertificateError | ClientConnectorError):
            kind = httpx.ConnectError
        elif isinstance(error, ServerDisconnectedError | ClientPayloadError | ClientResponseError):
            kind = httpx.RemoteProtocolError
        elif isinstance(error, ClientOSError):
            kind = httpx.ReadError
        elif isinstance(error, InvalidURL):
            kind = httpx.UnsupportedProtocol
        elif isinstance(error, ClientError):
            kind = httpx.ReadError if reading else httpx.WriteError
        else:
            return error
        return kind(text, request=request)  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        if self._connector is not None:
            self._connector._close()
            self._connector = None

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()
