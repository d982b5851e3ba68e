"""The beginning of a websocket: a request whose answer is one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict
from yarl import URL

from .requesting import Hops, _url
from .timeouts import ClientWSTimeout
from .tls import merged
from .websocket import DEFAULT_WS_TIMEOUT, ClientWebSocketResponse

if TYPE_CHECKING:
    from .outgoing import ClientRequest
    from .session import ClientSession

_MISSING: Any = object()


async def connect(
    session: ClientSession,
    url: Any,
    *,
    method: str = "GET",
    protocols: Iterable[str] = (),
    timeout: Any = _MISSING,
    receive_timeout: float | None = None,
    autoclose: bool = True,
    autoping: bool = True,
    heartbeat: float | None = None,
    auth: Any = None,
    origin: str | None = None,
    params: Any = None,
    headers: Any = None,
    proxy: Any = None,
    proxy_auth: Any = None,
    ssl: Any = True,
    verify_ssl: bool | None = None,
    fingerprint: bytes | None = None,
    ssl_context: Any = None,
    server_hostname: str | None = None,
    proxy_headers: Any = None,
    compress: int = 0,
    max_msg_size: int = 4 * 1024 * 1024,
    decode_text: bool = True,
) -> ClientWebSocketResponse:
    """Does what `ClientSession.ws_connect` promises."""
    if session.closed:
        raise RuntimeError("Session is closed")
    if method.upper() != "GET":
        raise ValueError(f"a websocket begins with GET, not {method}")
    if compress and not 9 <= compress <= 15:
        raise ValueError("Compress wbits must between 9 and 15, zlib does not support wbits=8")
    limits = _limits(timeout, receive_timeout)
    hops = Hops(session, "GET", _url(session, url), params or {}, session._prepare_headers(headers), None)
    if origin is not None:
        hops.headers["Origin"] = origin
    hops.cookies = None
    hops.auth = hops.given_auth = auth
    hops.limits = session._timeout
    proxy = session._default_proxy if proxy is None else proxy
    hops.proxy = None if proxy is None else URL(proxy)
    hops.proxy_auth = session._default_proxy_auth if proxy_auth is None else proxy_auth
    hops.options = {
        "server_hostname": server_hostname,
        "ssl": merged(ssl, verify_ssl, ssl_context, fingerprint),
        "proxy_headers": None if proxy is None else CIMultiDict(proxy_headers or ()),
        "skip_auto_headers": {"accept-encoding", *session._skip_auto_headers},
    }
    hops.middlewares = session._middlewares
    settings = {
        "protocols": list(protocols),
        "compress": bool(compress),
        "max_message_size": max_msg_size,
        "heartbeat": heartbeat,
        "answer_pings": autoping,
    }
    begun: list[Any] = []

    async def exchange(request: ClientRequest) -> Any:
        connector = session._connector
        if connector is None:
            raise RuntimeError("Session is closed")
        response: Any = session._response_class()
        response._request = request
        seconds = (session._timeout.total, session._timeout.connect, session._timeout.sock_connect, None)
        begun[:] = [await connector._websocket_for(request, response, settings, seconds), response]
        return response

    handler: Any = exchange
    if hops.middlewares:
        from .middlewares import build_client_middlewares

        handler = build_client_middlewares(exchange, hops.middlewares)
    request = await hops._next_request()
    await handler(request)
    if not begun:
        raise RuntimeError("a middleware answered in place of the server: a websocket needs the handler's answer")
    socket, response = begun
    cookies = [value for name, value in socket.headers if name == "set-cookie"]
    if cookies:
        session._cookie_jar.update_cookies_from_headers(cookies, request.url)
    kind = session._ws_response_class or ClientWebSocketResponse
    return kind(
        socket,
        response,
        limits,
        autoclose=autoclose,
        autoping=autoping,
        heartbeat=heartbeat,
        decode_text=decode_text,
    )


def _limits(timeout: Any, receive_timeout: float | None) -> ClientWSTimeout:
    if timeout is _MISSING:
        limits = DEFAULT_WS_TIMEOUT
    elif isinstance(timeout, ClientWSTimeout):
        limits = timeout
    else:
        warnings.warn(
            "parameter 'timeout' of type 'float' is deprecated, please use 'timeout=ClientWSTimeout(ws_close=...)'",
            DeprecationWarning,
            stacklevel=5,
        )
        limits = ClientWSTimeout(ws_close=timeout)
    if receive_timeout is not None:
        warnings.warn(
            "float parameter 'receive_timeout' is deprecated, please use parameter "
            "'timeout=ClientWSTimeout(ws_receive=...)'",
            DeprecationWarning,
            stacklevel=5,
        )
        limits = ClientWSTimeout(ws_receive=receive_timeout, ws_close=limits.ws_close)
    return limits
