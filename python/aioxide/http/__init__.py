"""aiohttp's client on aioxide's loop: `from aioxide import http as aiohttp`.

Names are imported from their modules when they are first used. Needs the packages `yarl` and `multidict`, which the
extra
`aioxide[http]` installs.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "auth": ["BasicAuth", "encode_basic_auth"],
    "connector": ["BaseConnector", "NamedPipeConnector", "TCPConnector", "UnixConnector"],
    "cookies": ["AbstractCookieJar", "CookieJar", "DummyCookieJar"],
    "digest": ["DigestAuthMiddleware"],
    "dispositions": [
        "BadContentDispositionHeader",
        "BadContentDispositionParam",
        "content_disposition_filename",
        "parse_content_disposition",
    ],
    "errors": [
        "ClientConnectionError",
        "ClientConnectionResetError",
        "ClientConnectorCertificateError",
        "ClientConnectorDNSError",
        "ClientConnectorError",
        "ClientConnectorSSLError",
        "ClientError",
        "ClientHttpProxyError",
        "ClientOSError",
        "ClientPayloadError",
        "ClientProxyConnectionError",
        "ClientResponseError",
        "ClientSSLError",
        "ConnectionTimeoutError",
        "ContentTypeError",
        "InvalidURL",
        "InvalidUrlClientError",
        "InvalidUrlRedirectClientError",
        "NonHttpUrlClientError",
        "NonHttpUrlRedirectClientError",
        "RedirectClientError",
        "ServerConnectionError",
        "ServerDisconnectedError",
        "ServerFingerprintMismatch",
        "ServerTimeoutError",
        "SocketTimeoutError",
        "TooManyRedirects",
        "UnixClientConnectorError",
        "UploadAbortedError",
        "WSMessageTypeError",
        "WSServerHandshakeError",
    ],
    "forms": ["FormData"],
    "middlewares": ["ClientHandlerType", "ClientMiddlewareType"],
    "payloads": [
        "AsyncIterablePayload",
        "BufferedReaderPayload",
        "BytesIOPayload",
        "BytesPayload",
        "IOBasePayload",
        "JsonPayload",
        "PAYLOAD_REGISTRY",
        "Payload",
        "StringIOPayload",
        "StringPayload",
        "TextIOPayload",
        "get_payload",
        "payload_type",
    ],
    "multipart": [
        "BodyPartReader",
        "BodyPartReaderPayload",
        "MultipartReader",
        "MultipartWriter",
    ],
    "outgoing": ["ClientRequest", "RequestInfo"],
    "resolver": ["AbstractResolver", "AsyncResolver", "DefaultResolver", "ThreadedResolver"],
    "response": ["ClientResponse"],
    "session": ["ClientSession", "request"],
    "sse": ["EventParser", "ServerSentEvent"],
    "streams": ["StreamReader"],
    "timeouts": ["ClientTimeout", "ClientWSTimeout"],
    "tls": ["Fingerprint"],
    "tracing": [
        "TraceConfig",
        "TraceConnectionCreateEndParams",
        "TraceConnectionCreateStartParams",
        "TraceConnectionQueuedEndParams",
        "TraceConnectionQueuedStartParams",
        "TraceConnectionReuseconnParams",
        "TraceDnsCacheHitParams",
        "TraceDnsCacheMissParams",
        "TraceDnsResolveHostEndParams",
        "TraceDnsResolveHostStartParams",
        "TraceRequestChunkSentParams",
        "TraceRequestEndParams",
        "TraceRequestExceptionParams",
        "TraceRequestHeadersSentParams",
        "TraceRequestRedirectParams",
        "TraceRequestStartParams",
        "TraceResponseChunkReceivedParams",
    ],
    "transport": ["Transport"],
    "uploads": ["UploadTracker"],
    "websocket": ["ClientWebSocketResponse", "WSCloseCode", "WSMessage", "WSMsgType", "WebSocketError"],
    "versions": ["HttpVersion", "HttpVersion10", "HttpVersion11"],
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name == "hdrs":
        return importlib.import_module(".hdrs", __name__)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{home}", __name__)
    except ModuleNotFoundError as error:
        if error.name in {"yarl", "multidict"}:
            raise ImportError(
                f"aioxide.http needs the package {error.name}: pip install 'aioxide[http]'", name=error.name
            ) from error
        raise
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
