"""A pytest plugin: aiohttp's tests get the client of `aioxide.http`; the server that they talk to stays aiohttp's."""

from __future__ import annotations

import importlib

from aioxide import http

# Where tests and aiohttp's own test client look for the names. `aiohttp.payload` and `aiohttp.multipart` are the
# server's, too.
MODULES = (
    "aiohttp",
    "aiohttp.abc",
    "aiohttp._cookie_helpers",
    "aiohttp.client",
    "aiohttp.client_exceptions",
    "aiohttp.client_middleware_digest_auth",
    "aiohttp.client_middlewares",
    "aiohttp.client_reqrep",
    "aiohttp.client_ws",
    "aiohttp.connector",
    "aiohttp.cookiejar",
    "aiohttp.formdata",
    "aiohttp.helpers",
    "aiohttp.resolver",
    "aiohttp.test_utils",
    "aiohttp.tracing",
)
# The enumerations of websockets, which both sides' messages are compared with.
MESSAGES = ("WSCloseCode", "WSMessage", "WSMsgType", "WebSocketError")
# What the server uses, too, and aiohttp's own serves both.
SHARED = {name for name in http.__all__ if name.endswith("Payload") or name.startswith("HttpVersion")}
SHARED |= {*MESSAGES, "PAYLOAD_REGISTRY", "StreamReader", "get_payload", "payload_type"}
# Names that no program sees, which the tests import all the same.
PRIVATE = {
    "_RequestContextManager": "contexts",
    "_SessionRequestContextManager": "contexts",
    "_BaseRequestContextManager": "contexts",
    "ConnectionKey": "outgoing",
    "parse_cookie_header": "cookies",
    "parse_set_cookie_headers": "cookies",
    "build_client_middlewares": "middlewares",
    "Signal": "tracing",
    "Trace": "tracing",
}


def ours(name: str) -> object:
    if name in PRIVATE:
        return getattr(importlib.import_module(f"aioxide.http.{PRIVATE[name]}"), name)
    return getattr(http, name)


def pytest_configure() -> None:
    import aiohttp.http
    from aioxide.http import websocket

    for name in MESSAGES:
        setattr(websocket, name, getattr(aiohttp.http, name))
    websocket._CLOSED = aiohttp.http.WSMessage(aiohttp.http.WSMsgType.CLOSED, None, None)
    websocket._CLOSING = aiohttp.http.WSMessage(aiohttp.http.WSMsgType.CLOSING, None, None)
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in (*http.__all__, *PRIVATE):
            if hasattr(module, name) and name not in SHARED:
                setattr(module, name, ours(name))
