"""A request from the call to the response: URL, headers, cookies, hooks, and one redirect after the other."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict
from yarl import URL

from . import errors, payloads
from .auth import BasicAuth, from_netrc, strip_auth
from .headers import prepared
from .timeouts import ClientTimeout
from .tls import merged
from .versions import HttpVersion11

if TYPE_CHECKING:
    from .outgoing import ClientRequest
    from .response import ClientResponse
    from .session import ClientSession

_MISSING: Any = object()
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRETS = ("Authorization", "Cookie", "Proxy-Authorization")
# What URL parsers strip at both ends.
_BLANK = "".join(map(chr, range(0x21)))


async def perform(
    session: ClientSession,
    method: str,
    str_or_url: URL | str,
    *,
    params: Any = None,
    data: Any = None,
    json: Any = None,
    cookies: Any = None,
    headers: Any = None,
    skip_auto_headers: Any = None,
    auth: BasicAuth | None = None,
    allow_redirects: bool = True,
    max_redirects: int = 10,
    compress: str | bool | None = None,
    chunked: bool | None = None,
    expect100: bool = False,
    raise_for_status: Any = None,
    read_until_eof: bool = True,
    proxy: URL | str | None = None,
    proxy_auth: BasicAuth | None = None,
    timeout: Any = _MISSING,
    verify_ssl: bool | None = None,
    fingerprint: bytes | None = None,
    ssl_context: Any = None,
    ssl: Any = True,
    server_hostname: str | None = None,
    proxy_headers: Any = None,
    trace_request_ctx: Any = None,
    read_bufsize: int | None = None,
    auto_decompress: bool | None = None,
    max_line_size: int | None = None,
    max_field_size: int | None = None,
    max_headers: int | None = None,
    middlewares: Any = None,
    upload_tracker: Any = None,
    answered: ClientResponse | None = None,
) -> ClientResponse:
    """Does what `ClientSession.request` promises. `answered`: the first answer is there already."""
    if upload_tracker is not None:
        upload_tracker._bind()
    try:
        if session.closed:
            raise RuntimeError("Session is closed")
        for name, given in (("auth", auth), ("proxy_auth", proxy_auth)):
            if given is not None:
                from .session import _warn_of_auth

                _warn_of_auth(name, 3)
        if chunked is not None and not isinstance(chunked, bool):
            warnings.warn("Chunk size is deprecated #1615", DeprecationWarning, stacklevel=3)
        ssl = merged(ssl, verify_ssl, ssl_context, fingerprint)
        data = _data(session, data, json)
        url = _url(session, str_or_url)
        if proxy is None:
            proxy = session._default_proxy
        if proxy_auth is None:
            proxy_auth = session._default_proxy_auth
        if proxy is not None:
            proxy_headers = prepared(CIMultiDict(), proxy_headers)
            try:
                proxy = URL(proxy)
            except ValueError as error:
                raise errors.InvalidURL(proxy) from error
        if timeout is _MISSING:
            limits = session._timeout
        else:
            limits = timeout if isinstance(timeout, ClientTimeout) else ClientTimeout(total=timeout)
        hops = Hops(session, method.upper(), url, params or {}, session._prepare_headers(headers), data)
        hops.cookies = cookies
        hops.auth = auth
        hops.given_auth = auth
        hops.limits = limits
        hops.proxy = proxy
        hops.proxy_auth = proxy_auth
        hops.options = {
            "compress": compress,
            "chunked": chunked,
            "expect100": expect100,
            "server_hostname": server_hostname,
            "ssl": ssl,
            "proxy_headers": proxy_headers if proxy is not None else None,
            "skip_auto_headers": _skipped(session, skip_auto_headers),
        }
        hops.decompress = session._auto_decompress if auto_decompress is None else auto_decompress
        hops.head_limits = (
            session._max_line_size if max_line_size is None else max_line_size,
            session._max_field_size if max_field_size is None else max_field_size,
            session._max_headers if max_headers is None else max_headers,
        )
        hops.limit = session._read_bufsize if read_bufsize is None else read_bufsize
        hops.middlewares = session._middlewares if middlewares is None else middlewares
        hops.tracker = upload_tracker
        hops.max_redirects = max_redirects if allow_redirects else -1
        hops.raise_for_status = session._raise_for_status if raise_for_status is None else raise_for_status
        return await hops.run(trace_request_ctx, answered)
    finally:
        if upload_tracker is not None:
            upload_tracker._finalize()


# It is the session's method, and named so where an argument is wrong.
perform.__qualname__ = "ClientSession._request"


def _data(session: ClientSession, data: Any, json: Any) -> Any:
    if data is not None and json is not None:
        raise ValueError("data and json parameters can not be used at the same time")
    if json is None:
        return data
    if session._json_serialize_bytes is not None:
        return payloads.JsonBytesPayload(json, dumps=session._json_serialize_bytes)
    return payloads.JsonPayload(json, dumps=session._json_serialize)


def _url(session: ClientSession, str_or_url: URL | str) -> URL:
    try:
        url = session._build_url(str_or_url)
    except ValueError as error:
        raise errors.InvalidUrlClientError(str_or_url) from error
    connector = session._connector
    if connector is not None and url.scheme not in connector.allowed_protocol_schema_set:
        raise errors.NonHttpUrlClientError(url)
    return url


def _skipped(session: ClientSession, names: Any) -> Any:
    own = session._skip_auto_headers
    return own if names is None else own | {str(name) for name in names}


class Hops:
    """One request on its way through redirects."""

    cookies: Any
    auth: BasicAuth | None
    given_auth: BasicAuth | None
    limits: ClientTimeout
    proxy: URL | None
    proxy_auth: BasicAuth | None
    options: dict[str, Any]
    decompress: bool
    limit: int
    head_limits: tuple[int, int, int]
    middlewares: Any
    tracker: Any
    # -1: redirects are not followed.
    max_redirects: int
    raise_for_status: Any

    def __init__(  # noqa: PLR0917
        self, session: ClientSession, method: str, url: URL, params: Any, headers: CIMultiDict[str], data: Any
    ) -> None:
        self.session = session
        self.method = method
        self.url = url
        self.params = params
        self.headers = headers
        self.data = data
        self.history: list[ClientResponse] = []
        self.traces: list[Any] = []
        self.request: ClientRequest | None = None
        self.response: ClientResponse | None = None
        self.deadline: float | None = None

    @property
    def _shown_url(self) -> URL:
        return self.url.update_query(self.params) if self.params else self.url

    async def run(self, trace_request_ctx: Any, answered: ClientResponse | None) -> ClientResponse:
        loop = asyncio.get_running_loop()
        if self.limits.total and self.limits.total > 0:
            self.deadline = loop.time() + self.limits.total
        try:
            for config in self.session._trace_configs:
                from .tracing import Trace

                context = config.trace_config_ctx(trace_request_ctx=trace_request_ctx)
                trace = Trace(self.session, config, context)
                await trace.send_request_start(self.method, self._shown_url, self.headers)
                self.traces.append(trace)
            response = await self._follow(answered)
            await self._close_body()
            if callable(self.raise_for_status):
                await self.raise_for_status(response)
            elif self.raise_for_status:
                response.raise_for_status()
            response._history = tuple(self.history)
            for trace in self.traces:
                await trace.send_request_end(self.method, self._shown_url, self.headers, response)
        except BaseException as error:
            if self.response is not None:
                self.response.close()
            if self.tracker is not None:
                self.tracker._failed(error)
            await self._close_body()
            for trace in self.traces:
                await trace.send_request_exception(self.method, self._shown_url, self.headers, error)
            raise
        return response

    async def _close_body(self) -> None:
        if self.request is not None and self.request._body is not None:
            await self.request._body.close()

    async def _follow(self, answered: ClientResponse | None) -> ClientResponse:
        while True:
            response = answered
            answered = None
            if response is None:
                request = await self._next_request()
                response = await self._send(request)
                cookies = response._header_values("set-cookie")
                if cookies:
                    self.session._cookie_jar.update_cookies_from_headers(cookies, response.url)
            self.response = response
            if response.status not in REDIRECTS or self.max_redirects < 0:
                return response
            if not await self._redirect(response):
                return response

    async def _next_request(self) -> ClientRequest:
        session = self.session
        self.url, auth_of_url = strip_auth(self.url)
        if not self.url.raw_host:
            raise (errors.InvalidUrlRedirectClientError if self.history else errors.InvalidUrlClientError)(self.url)
        if not self.history and self.auth and auth_of_url:
            raise ValueError("Cannot combine AUTH argument with credentials encoded in URL")
        if self.auth is None or (self.history and auth_of_url is not None):
            self.auth = auth_of_url
        auth = self.auth
        is_own = not session._base_url or session._base_url_origin == self.url.origin()
        if auth is None and session._default_auth and is_own:
            self.auth = auth = session._default_auth
        loop = asyncio.get_running_loop()
        if auth is None and session._trust_env and self.url.host is not None:
            self.auth = auth = await loop.run_in_executor(None, from_netrc, self.url.host)
        if auth is not None and "Authorization" in self.headers:
            raise ValueError("Cannot combine AUTHORIZATION header with AUTH argument or credentials encoded in URL")
        proxy, proxy_auth = self.proxy, self.proxy_auth
        if proxy is None and session._trust_env:
            from .proxies import from_environment

            found = await loop.run_in_executor(None, from_environment, self.url)
            if found is not None:
                proxy, proxy_auth = found
        self.request = session._request_class(
            self.method,
            self.url,
            params=self.params,
            headers=self.headers,
            data=self.data,
            cookies=self._cookies(),
            auth=auth,
            version=session._version,
            loop=session._loop,
            response_class=session._response_class,
            proxy=proxy,
            proxy_auth=proxy_auth,
            session=session,
            traces=self.traces,
            trust_env=session._trust_env,
            **self.options,
        )
        return self.request

    def _cookies(self) -> Any:
        jar = self.session._jar
        found = None
        if jar is not None:
            found = jar.filter_cookies(self.url)
        if self.cookies is not None:
            from .cookies import RequestCookies

            jar = self.session._cookie_jar
            if found is None:
                found = jar.filter_cookies(self.url)
            own = RequestCookies(
                unsafe=jar.unsafe, quote_cookie=jar.quote_cookie, treat_as_secure_origin=jar.treat_as_secure_origin
            )
            own.update_cookies(self.cookies)
            if chosen := own.filter_cookies(self.url):
                found.load(chosen)
        return found

    async def _send(self, request: ClientRequest) -> ClientResponse:
        handler: Any = self._exchange
        if self.middlewares:
            from .middlewares import build_client_middlewares

            handler = build_client_middlewares(handler, self.middlewares)
        can_retry = self.session._retry_connection and self.method in {
            "GET",
            "HEAD",
            "OPTIONS",
            "TRACE",
            "PUT",
            "DELETE",
        }
        while True:
            try:
                response: ClientResponse = await handler(request)
            except (errors.ConnectionTimeoutError, errors.ClientConnectorError):
                raise
            except (errors.ClientOSError, errors.ServerDisconnectedError):
                # Rust has tried a connection that was dead already again; this is for what the server did since.
                if not can_retry or (request._body is not None and request._body.consumed):
                    raise
                can_retry = False
            except errors.ClientError:
                raise
            except OSError as error:
                if error.errno is None and isinstance(error, asyncio.TimeoutError):
                    raise
                raise errors.ClientOSError(*error.args) from error
            else:
                return response

    async def _exchange(self, request: ClientRequest) -> ClientResponse:
        """Sends one request: the innermost of the middlewares."""
        session = self.session
        connector = session._connector
        if connector is None or connector.closed:
            raise errors.ClientConnectionError("Connector is closed.")
        response: Any = session._response_class()
        response.method = request.method
        response._request = request
        response._traces = self.traces
        response._limit = self.limit
        response._set_head_limits(*self.head_limits)
        response._resolve_charset = session._resolve_charset
        if self.traces:
            # What is read is told to the hooks, which Python does.
            response._stream()
        if session._source_traceback is not None:
            response._loop = session._loop
            response._source_traceback = session._source_traceback
        body, length = request._wire_body(self.tracker)
        if "Connection" not in request.headers:
            if connector.force_close and request.version >= HttpVersion11:
                request.headers["Connection"] = "close"
            elif request.version < HttpVersion11 and not connector.force_close:
                request.headers["Connection"] = "keep-alive"
        span = None
        if session._tracer is not None:
            from . import telemetry

            span = telemetry.begin(session._tracer, request, len(self.history))
        headers = request._wire_headers()
        seconds = list(self.limits._seconds)
        if self.deadline is not None:
            left = self.deadline - asyncio.get_running_loop().time()
            seconds[0] = left if left > 0 else -1.0
        for trace in self.traces:
            await trace.send_request_headers(request.method, request.url, request.headers)
        try:
            await connector._exchange_for(request, response, headers, body, length, tuple(seconds), self.decompress)
        except BaseException as error:
            if span is not None:
                telemetry.failed(span, error)
            raise
        if span is not None:
            telemetry.answered(span, response)
        return response  # type: ignore[no-any-return]

    async def _redirect(self, response: ClientResponse) -> bool:
        """Makes the next request of a redirect; False when the answer leads nowhere, and so is the last one."""
        for trace in self.traces:
            await trace.send_request_redirect(self.method, self._shown_url, self.headers, response)
        self.history.append(response)
        if self.max_redirects and len(self.history) >= self.max_redirects:
            raise errors.TooManyRedirects(self.history[0].request_info, tuple(self.history))
        status = response.status
        body = None if self.request is None else self.request._body
        becomes_get = (status == 303 and self.method != "HEAD") or (status in {301, 302} and self.method == "POST")
        if becomes_get:
            self.method = "GET"
            self.data = None
            self.headers.popall("Content-Length", None)
        elif body is not None and body.consumed:
            raise errors.ClientPayloadError(
                "Cannot follow redirect with a consumed request body. Use bytes, a seekable file-like object, or set "
                "allow_redirects=False."
            )
        elif self.request is not None:
            self.data = body
        target = response._header("location") or response._header("uri")
        if target is None:
            return False
        response.release()
        url = self._target(target)
        if self.url.origin() != url.origin():
            self.auth = None
            self.cookies = None
            for name in _SECRETS:
                self.headers.popall(name, None)
        self.url = url
        self.params = {}
        return True

    def _target(self, target: str) -> URL:
        try:
            url = URL(target, encoded=not self.session._requote_redirect_url)
        except ValueError as error:
            message = "Server attempted redirecting to a location that does not look like a URL"
            raise errors.InvalidUrlRedirectClientError(target, message) from error
        if url.scheme not in {"", "http", "https"}:
            raise errors.NonHttpUrlRedirectClientError(target)
        if not url.scheme or (url.scheme == self.url.scheme and _has_no_authority(target, url.scheme)):
            url = self.url.join(url)
        try:
            url.origin()
        except ValueError as error:
            raise errors.InvalidUrlRedirectClientError(url, "Invalid redirect URL origin") from error
        return url


def _has_no_authority(location: str, scheme: str) -> bool:
    """Whether no `//` (or `\\\\`, which browsers take for the same) follows the scheme."""
    location = location.strip(_BLANK).translate(str.maketrans("", "", "\t\n\r"))
    after = location[len(scheme) + 1 : len(scheme) + 3]
    return len(after) < 2 or after[0] not in "/\\" or after[1] not in "/\\"
