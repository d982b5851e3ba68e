"""The answer to a request."""

from __future__ import annotations

import codecs
import json as _json
import os
import re
import warnings
from collections.abc import Callable, Coroutine
from functools import cached_property
from http.cookies import SimpleCookie
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._aioxide import _Ready, _ready, _Response
from .errors import ClientConnectionError, ClientResponseError, ContentTypeError
from .timeouts import DEFAULT_CHUNK_SIZE
from .versions import HttpVersion

if TYPE_CHECKING:
    from multidict import MultiDictProxy
    from yarl import URL

    from .outgoing import ClientRequest, ConnectionKey, RequestInfo
    from .streams import StreamReader

_JSON = re.compile(r"^application/(?:[\w.+-]+?\+)?json", re.IGNORECASE)
_LINK = re.compile(r"""\s*(\w*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;]*))\s*""")


class ContentDisposition(NamedTuple):
    """The header `Content-Disposition`."""

    type: str | None
    parameters: MappingProxyType[str, str]
    filename: str | None


class ClientResponse(_Response):
    """Status and headers are there; the body is read when it is asked for.

    Leave it by `async with`, `release()` or by reading it all: then its connection serves other requests.
    """

    method = "GET"
    _request: ClientRequest | None = None
    _history: tuple[ClientResponse, ...] = ()
    _traces: Any = ()
    _in_context = False
    _cookies: SimpleCookie | None = None
    # Of a plain request that failed: its method and its URL.
    _asked: tuple[str, str | None] = ("GET", None)
    # What a plain request was called with.
    _keywords: dict[str, Any] = {}  # noqa: RUF012
    _limit = DEFAULT_CHUNK_SIZE
    _resolve_charset: Callable[[ClientResponse, bytes], str] | None = None
    _unix_path: str | None = None
    _callbacks: Any = ()

    @property
    def version(self) -> HttpVersion:
        """1.0, 1.1 or 2.0, as a pair of numbers."""
        return HttpVersion(*self._version)

    @cached_property
    def real_url(self) -> URL:
        """The URL, with its fragment."""
        from yarl import URL

        if self._request is not None:
            return self._request.original_url
        return URL(self._url_text if self._is_started else self._asked[1] or "", encoded=True)

    @cached_property
    def url(self) -> URL:
        """The URL, without its fragment."""
        return self.real_url.with_fragment(None) if self.real_url.raw_fragment else self.real_url

    @property
    def url_obj(self) -> URL:
        warnings.warn("Deprecated, use .url #1654", DeprecationWarning, stacklevel=2)
        return self.url

    @property
    def host(self) -> str:
        return self.url.host or ""

    @cached_property
    def request_info(self) -> RequestInfo:
        """What was asked for."""
        if self._request is not None:
            return self._request.request_info
        from .headers import prepared
        from .outgoing import ClientRequest

        session = self._plain_session
        headers = None if session is None else prepared(session._default_headers, self._keywords.get("headers"))
        return ClientRequest(self.method, self.real_url, headers=headers).request_info

    @property
    def _connection_key(self) -> ConnectionKey:
        if self._request is not None:
            return self._request.connection_key
        from .outgoing import ClientRequest

        return ClientRequest(self.method, self.real_url).connection_key

    @property
    def history(self) -> tuple[ClientResponse, ...]:
        """The redirects that led here, the oldest first."""
        return self._history

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that this answer sets."""
        if self._cookies is None:
            from .cookies import parse_set_cookie_headers

            self._cookies = SimpleCookie()
            if self._is_started:
                self._cookies.update(parse_set_cookie_headers(self._header_values("set-cookie")))
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: SimpleCookie) -> None:
        self._cookies = cookies

    @cached_property
    def content(self) -> StreamReader:
        """The body as a stream."""
        from .streams import StreamReader

        self._stream()
        stream = StreamReader(self, self._limit)
        if self._body is not None:
            stream._end()
        return stream

    @cached_property
    def _mimetype(self) -> tuple[str, dict[str, str]]:
        from .headers import parse_type

        return parse_type(self._header("content-type"))

    @property
    def content_type(self) -> str:
        """Type and subtype, without parameters; `application/octet-stream` when there is none."""
        return self._mimetype[0] or "application/octet-stream"

    @property
    def charset(self) -> str | None:
        return self._mimetype[1].get("charset")

    @property
    def content_length(self) -> int | None:
        length = self._header("content-length")
        return int(length) if length is not None else None

    @cached_property
    def content_disposition(self) -> ContentDisposition | None:
        from .dispositions import content_disposition_filename, parse_content_disposition

        raw = self._header("content-disposition")
        if raw is None:
            return None
        kind, parameters = parse_content_disposition(raw)
        return ContentDisposition(kind, MappingProxyType(parameters), content_disposition_filename(parameters))

    @cached_property
    def links(self) -> MultiDictProxy[Any]:
        """The header `Link`: by relation, its parameters and the absolute URL."""
        from multidict import MultiDict, MultiDictProxy
        from yarl import URL

        links: MultiDict[Any] = MultiDict()
        for value in re.split(r",(?=\s*<)", ", ".join(self.headers.getall("link", []))):
            found = re.match(r"\s*<(.*)>(.*)", value)
            if found is None:
                continue
            target, parameters = found.groups()
            link: MultiDict[Any] = MultiDict()
            for parameter in parameters.split(";")[1:]:
                if (pair := _LINK.fullmatch(parameter)) is not None:
                    link.add(pair[1], next((text for text in pair.groups()[1:] if text is not None), ""))
            relation = link.get("rel", target)
            link.add("url", self.url.join(URL(target)))
            links.add(str(relation), MultiDictProxy(link))
        return MultiDictProxy(links)

    @property
    def _is_chunked(self) -> bool:
        return "chunked" in (self._header("transfer-encoding") or "").lower()

    @property
    def closed(self) -> bool:
        """Whether no more of the body will come."""
        return self._is_closed or self._is_over

    @property
    def connection(self) -> Any:
        """True while it has its connection; the object itself is Rust's."""
        return None if self.closed else self

    def close(self) -> None:
        """Closes the connection, unless everything was received."""
        self._end(close=True)

    def release(self) -> _Ready:
        """Leaves the connection to others; what is left of the body is received and dropped if it is short."""
        self._end()
        return _ready

    def _end(self, *, close: bool = False) -> None:
        self._release()
        if "content" in self.__dict__ and not self.content._eof and self.content._exception is None:
            self.content.set_exception(ClientConnectionError("Connection closed"))

    def raise_for_status(self) -> None:
        """ClientResponseError: the status is 400 or higher."""
        if self.ok:
            return
        if not self._in_context:
            self.release()
        raise ClientResponseError(
            self.request_info, self.history, status=self.status, message=self.reason or "", headers=self.headers
        )

    async def wait_for_close(self) -> None:
        self.release()

    async def _read_rest(self) -> bytes:
        """`read` where the body is read by pieces, is traced, or was given up."""
        if self._body is not None:
            if self._is_closed:
                raise ClientConnectionError("Connection closed")
            return self._body
        if self._is_closed:
            raise ClientConnectionError("Connection closed")
        try:
            body = await self.content.read()
            self._body = body
            for trace in self._traces:
                await trace.send_response_chunk_received(self.method, self.url, body)
        except BaseException:
            self.close()
            raise
        return body

    async def _tell_chunk(self, piece: bytes) -> None:
        """Every piece that is received by pieces comes by here."""

    def get_encoding(self) -> str:
        """The encoding of the text: as announced, or UTF-8 for JSON; else as the session's resolver says."""
        kind, parameters = self._mimetype
        if encoding := parameters.get("charset"):
            try:
                # Some are no encodings of text.
                return codecs.lookup(encoding).name
            except (LookupError, ValueError):
                pass
        if kind in {"application/json", "application/rdap"}:
            return "utf-8"
        if self._body is None:
            raise RuntimeError("Cannot compute fallback encoding of a not yet read body")
        return "utf-8" if self._resolve_charset is None else self._resolve_charset(self, self._body)

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The whole body as text."""
        body = self._body
        if body is None:
            body = await self.read()
        return body.decode(self.get_encoding() if encoding is None else encoding, errors=errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] = _json.loads,
        content_type: str | None = "application/json",
    ) -> Any:
        """The body as JSON; None when it is empty.

        ContentTypeError: the server says that it is something else; `content_type=None` does not ask.
        """
        body = self._body
        if body is None:
            body = await self.read()
        if content_type:
            actual = (self._header("content-type") or "").lower()
            if content_type == "application/json":
                expected = _JSON.match(actual.partition(";")[0].strip()) is not None
            else:
                expected = content_type in actual
            if not expected:
                raise ContentTypeError(
                    self.request_info,
                    self.history,
                    status=self.status,
                    message=f"Attempt to decode JSON with unexpected mimetype: {actual}",
                    headers=self.headers,
                )
        stripped = body.strip()
        if not stripped:
            return None
        return loads(stripped.decode(self.get_encoding() if encoding is None else encoding))

    async def save(
        self, path: str | os.PathLike[str], *, progress: Callable[[int, int | None], None] | None = None
    ) -> int:
        """Writes the body to a file, which gets its name when it is whole; returns its length in bytes.

        `progress(so_far, all_or_none)` is called for each piece.
        """
        from .saving import save

        return await save(self, path, progress=progress)

    def __aenter__(self) -> Coroutine[Any, Any, ClientResponse]:
        self._in_context = True
        return super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_context = False
        self._end()

    def __repr__(self) -> str:
        if not self._is_started:
            return f"<ClientResponse({self.real_url}) [None None]>\nNone\n"
        reason = (self.reason or "None").encode("ascii", "backslashreplace").decode("ascii")
        return f"<ClientResponse({self.url}) [{self.status} {reason}]>\n{self.headers}\n"


class DebugClientResponse(ClientResponse):
    """A response of a loop in debug mode: it says when it was left unread and unreleased."""

    _source_traceback: Any = None
    _loop: Any = None

    def __del__(self, _warnings: Any = warnings) -> None:
        if not self._is_started or self.closed:
            return
        self._release()
        _warnings.warn(f"Unclosed response {self!r}", ResourceWarning, source=self)
        if self._loop is not None:
            context = {"client_response": self, "message": "Unclosed response"}
            if self._source_traceback:
                context["source_traceback"] = self._source_traceback
            self._loop.call_exception_handler(context)
