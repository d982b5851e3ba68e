"""A request as middlewares see it, and what goes out of it."""

from __future__ import annotations

import asyncio
import re
import warnings
import zlib
from collections.abc import AsyncIterator, Mapping
from http.cookies import Morsel, SimpleCookie
from typing import TYPE_CHECKING, Any, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from yarl import URL

from . import payloads
from .auth import BasicAuth
from .errors import InvalidURL
from .forms import FormData
from .headers import AGENT, DEFAULTS
from .versions import HttpVersion, HttpVersion11

if TYPE_CHECKING:
    from .session import ClientSession
    from .tls import Fingerprint

_DIGITS = re.compile(r"\d+")
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class _RequestInfo(NamedTuple):
    url: URL
    method: str
    headers: CIMultiDictProxy[str]
    real_url: URL


class RequestInfo(_RequestInfo):
    """What was asked for: URL, method and headers. `real_url` has the fragment too."""

    def __new__(cls, url: URL, method: str, headers: CIMultiDictProxy[str], real_url: URL | None = None) -> RequestInfo:
        return super().__new__(cls, url, method, headers, url if real_url is None else real_url)


class ConnectionKey(NamedTuple):
    """What connections have in common when one may serve for another."""

    host: str
    port: int | None
    is_ssl: bool
    ssl: Any
    proxy: URL | None
    proxy_auth: BasicAuth | None
    proxy_headers_hash: int | None
    server_hostname: str | None = None


class ClientRequest:
    """One request, before it is sent. A middleware may change its headers, URL and body."""

    GET_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
    POST_METHODS = frozenset({"PATCH", "POST", "PUT"})
    ALL_METHODS = GET_METHODS | POST_METHODS | {"DELETE"}
    DEFAULT_HEADERS = DEFAULTS

    def __init__(
        self,
        method: str,
        url: URL,
        *,
        params: Any = None,
        headers: Any = None,
        skip_auto_headers: Any = None,
        data: Any = None,
        cookies: Any = None,
        auth: BasicAuth | None = None,
        version: HttpVersion = HttpVersion11,
        compress: str | bool | None = None,
        chunked: bool | None = None,
        expect100: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        response_class: Any = None,
        proxy: URL | None = None,
        proxy_auth: BasicAuth | None = None,
        session: ClientSession | None = None,
        ssl: Any = True,
        proxy_headers: Any = None,
        traces: Any = None,
        trust_env: bool = False,
        server_hostname: str | None = None,
        **_options: Any,
    ) -> None:
        if not _METHOD.fullmatch(method):
            found = next((letter for letter in method if not _METHOD.fullmatch(letter)), "")
            raise ValueError(f"Method cannot contain non-token characters {method!r} (found at least {found!r})")
        if type(url) is not URL:
            raise TypeError(f"url should be yarl.URL instance, got {type(url)!r}")
        if params:
            url = url.extend_query(params)
        self.original_url = url
        self.url = url.with_fragment(None) if url.raw_fragment else url
        self.method = method.upper()
        self.chunked = chunked
        self.compress = compress
        self.loop = loop
        self.response_class = response_class
        self.server_hostname = server_hostname
        self.version = version
        self.auth = auth
        self.proxy = proxy
        self.proxy_auth = proxy_auth
        self.proxy_headers = proxy_headers
        self._ssl = ssl
        self._session = session
        self._traces = traces or []
        self._skip: frozenset[str] = frozenset(name.lower() for name in skip_auto_headers or ())
        self._body: Any = None
        self.headers = self._own_headers(headers)
        self._add_defaults()
        self._add_cookies(cookies)
        self._announce_coding(data)
        if auth is not None:
            if not isinstance(auth, tuple) or not hasattr(auth, "encode"):
                raise TypeError("BasicAuth() tuple is required instead")
            self.headers["Authorization"] = auth.encode()
        if proxy_auth is not None and not hasattr(proxy_auth, "encode"):
            raise ValueError("proxy_auth must be None or BasicAuth() tuple")
        self.update_body_from_data(data)
        if data is not None or self.method not in self.GET_METHODS:
            self._announce_framing()
        if expect100:
            self.headers["Expect"] = "100-continue"

    def _own_headers(self, headers: Any) -> CIMultiDict[str]:
        host = self.url.host_port_subcomponent
        if not host:
            raise InvalidURL(self.url)
        own: CIMultiDict[str] = CIMultiDict({"Host": host})
        if isinstance(headers, Mapping | MultiDict | MultiDictProxy):
            headers = headers.items()
        for name, value in headers or ():
            if name.lower() == "host":
                own[name] = value
            else:
                own.add(name, value)
        return own

    def _add_defaults(self) -> None:
        headers = self.headers
        for name, value in (*self.DEFAULT_HEADERS.items(), ("User-Agent", AGENT)):
            if name not in headers and name.lower() not in self._skip:
                headers[name] = value

    def _add_cookies(self, cookies: Any) -> None:
        if not cookies:
            return
        from .cookies import kept_morsel, parse_cookie_header

        header: SimpleCookie = SimpleCookie()
        if "Cookie" in self.headers:
            header.update(parse_cookie_header(self.headers["Cookie"]))
            del self.headers["Cookie"]
        for name, value in cookies.items() if isinstance(cookies, Mapping) else cookies:
            header[name] = kept_morsel(value) if isinstance(value, Morsel) else value
        self.headers["Cookie"] = header.output(header="", sep=";").strip()

    def _announce_coding(self, data: Any) -> None:
        if not data:
            self.compress = None
        elif self.headers.get("Content-Encoding"):
            if self.compress:
                raise ValueError("compress can not be set if Content-Encoding header is set")
        elif self.compress:
            if not isinstance(self.compress, str):
                self.compress = "deflate"
            self.headers["Content-Encoding"] = self.compress
            self.chunked = True

    def _announce_framing(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            if self.chunked:
                raise ValueError('chunked can not be set if "Transfer-Encoding: chunked" header is set')
        elif self.chunked:
            if "Content-Length" in self.headers:
                raise ValueError("chunked can not be set if Content-Length header is set")
            self.headers["Transfer-Encoding"] = "chunked"

    def update_body_from_data(self, body: Any) -> None:
        """Takes `body` for the body, and announces it in the headers."""
        headers = self.headers
        if body is None:
            self._body = None
            if self.method not in self.GET_METHODS and not self.chunked and "Content-Length" not in headers:
                headers["Content-Length"] = "0"
            return
        if isinstance(body, FormData) or (callable(body) and type(body).__name__ == "FormData"):
            body = body()
        try:
            payload = payloads.PAYLOAD_REGISTRY.get(body, disposition=None)
        except payloads.LookupError:
            payload = FormData(body)()
        self._body = payload
        if not self.chunked and "Content-Length" not in headers:
            if (size := payload.size) is not None:
                headers["Content-Length"] = str(size)
            else:
                self.chunked = True
        for name, value in payload.headers.items():
            if name not in headers and name.lower() not in self._skip:
                headers[name] = value

    def _replace_body(self, body: Any) -> None:
        self.headers.popall("Content-Length", None)
        if self.chunked:
            self.headers.popall("Transfer-Encoding", None)
        self.update_body_from_data(body)
        if body is not None or self.method not in self.GET_METHODS:
            self._announce_framing()

    async def update_body(self, body: Any) -> None:
        """Takes another body in place of the one there is, which is closed."""
        if self._body is not None:
            await self._body.close()
        self._replace_body(body)

    @property
    def body(self) -> Any:
        """The body: a `Payload`, or empty bytes."""
        return self._body or b""

    @body.setter
    def body(self, value: Any) -> None:
        before = self._body
        if before is not None:
            if not before.autoclose and not before.consumed:
                warnings.warn(
                    "The previous request body contains unclosed resources. Use await request.update_body() instead of "
                    "setting request.body directly to properly close resources and avoid leaks.",
                    ResourceWarning,
                    stacklevel=2,
                )
            before._close()
        self._replace_body(value)

    @property
    def skip_auto_headers(self) -> CIMultiDict[None]:
        return CIMultiDict((name, None) for name in sorted(self._skip))

    @property
    def session(self) -> Any:
        """The session, for a middleware's own requests."""
        return self._session

    @property
    def ssl(self) -> bool | Fingerprint | Any:
        return self._ssl

    def is_ssl(self) -> bool:
        return self.url.scheme in {"https", "wss"}

    @property
    def host(self) -> str:
        return self.url.raw_host or ""

    @property
    def port(self) -> int | None:
        return self.url.port

    @property
    def connection_key(self) -> ConnectionKey:
        hashed = hash(tuple(self.proxy_headers.items())) if self.proxy_headers else None
        return ConnectionKey(
            self.host, self.port, self.is_ssl(), self._ssl, self.proxy, self.proxy_auth, hashed, self.server_hostname
        )

    @property
    def request_info(self) -> RequestInfo:
        headers: CIMultiDictProxy[str] = CIMultiDictProxy(self.headers)
        return RequestInfo(self.url, self.method, headers, self.original_url)

    def _wire_body(self, tracker: Any = None) -> tuple[Any, int | None]:
        """What Rust takes: None, bytes, or an asynchronous iterator with its length."""
        headers = self.headers
        if self.method in self.POST_METHODS and "content-type" not in self._skip and "Content-Type" not in headers:
            headers["Content-Type"] = "application/octet-stream"
        length = headers.get("Content-Length")
        if length is not None and not _DIGITS.fullmatch(length):
            raise ValueError(f"Invalid Content-Length header: {length!r}")
        if tracker is not None:
            tracker._begin(is_empty=self._body is None)
        if self._body is None:
            return (b"", None) if self.chunked else (None, None)
        traced = [trace for trace in self._traces if trace.wants_chunks]
        if isinstance(self._body, payloads.BytesPayload) and not self.compress and not traced and tracker is None:
            whole = self._body.whole()
            if not self.chunked and (length is None or int(length) == len(whole)):
                return whole, None
        pieces = payloads.pieces_of(self._body)
        if tracker is not None:
            pieces = tracker._watch(pieces, self._body.size)
        if self.compress:
            pieces = _compressed(pieces, str(self.compress))
        if traced:
            pieces = _told(pieces, traced, self.method, self.url)
        if self.chunked or length is None:
            return pieces.__aiter__(), None
        return _cut(pieces, int(length)), int(length)

    def _wire_headers(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.headers.items()]

    async def close(self) -> None:
        """Nothing is left open by a request of this kind."""

    def terminate(self) -> None:
        """As `close`."""


async def _compressed(pieces: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    compressor = zlib.compressobj(wbits=31 if coding == "gzip" else zlib.MAX_WBITS)
    async for piece in pieces:
        if coded := compressor.compress(piece):
            yield coded
    yield compressor.flush()


async def _told(pieces: AsyncIterator[bytes], traces: Any, method: str, url: URL) -> AsyncIterator[bytes]:
    async for piece in pieces:
        for trace in traces:
            await trace.send_request_chunk_sent(method, url, piece)
        yield piece


async def _cut(pieces: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
    """No more than the headers have announced."""
    async for piece in pieces:
        yield piece[:length]
        length -= len(piece)
        if length <= 0:
            return
