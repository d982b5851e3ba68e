"""aiohttp's client on aioxide's loop: `from aioxide import http as aiohttp`.

Names are imported from their modules when they are first used. Needs the packages `yarl` and `multidict`, which the
extra `aioxide[http]` installs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth import BasicAuth as BasicAuth
    from .auth import encode_basic_auth as encode_basic_auth
    from .connector import BaseConnector as BaseConnector
    from .connector import NamedPipeConnector as NamedPipeConnector
    from .connector import TCPConnector as TCPConnector
    from .connector import UnixConnector as UnixConnector
    from .cookies import AbstractCookieJar as AbstractCookieJar
    from .cookies import CookieJar as CookieJar
    from .cookies import DummyCookieJar as DummyCookieJar
    from .digest import DigestAuthMiddleware as DigestAuthMiddleware
    from .dispositions import BadContentDispositionHeader as BadContentDispositionHeader
    from .dispositions import BadContentDispositionParam as BadContentDispositionParam
    from .dispositions import content_disposition_filename as content_disposition_filename
    from .dispositions import parse_content_disposition as parse_content_disposition
    from .errors import ClientConnectionError as ClientConnectionError
    from .errors import ClientConnectionResetError as ClientConnectionResetError
    from .errors import ClientConnectorCertificateError as ClientConnectorCertificateError
    from .errors import ClientConnectorDNSError as ClientConnectorDNSError
    from .errors import ClientConnectorError as ClientConnectorError
    from .errors import ClientConnectorSSLError as ClientConnectorSSLError
    from .errors import ClientError as ClientError
    from .errors import ClientHttpProxyError as ClientHttpProxyError
    from .errors import ClientOSError as ClientOSError
    from .errors import ClientPayloadError as ClientPayloadError
    from .errors import ClientProxyConnectionError as ClientProxyConnectionError
    from .errors import ClientResponseError as ClientResponseError
    from .errors import ClientSSLError as ClientSSLError
    from .errors import ConnectionTimeoutError as ConnectionTimeoutError
    from .errors import ContentTypeError as ContentTypeError
    from .errors import InvalidURL as InvalidURL
    from .errors import InvalidUrlClientError as InvalidUrlClientError
    from .errors import InvalidUrlRedirectClientError as InvalidUrlRedirectClientError
    from .errors import NonHttpUrlClientError as NonHttpUrlClientError
    from .errors import NonHttpUrlRedirectClientError as NonHttpUrlRedirectClientError
    from .errors import RedirectClientError as RedirectClientError
    from .errors import ServerConnectionError as ServerConnectionError
    from .errors import ServerDisconnectedError as ServerDisconnectedError
    from .errors import ServerFingerprintMismatch as ServerFingerprintMismatch
    from .errors import ServerTimeoutError as ServerTimeoutError
    from .errors import SocketTimeoutError as SocketTimeoutError
    from .errors import TooManyRedirects as TooManyRedirects
    from .errors import UnixClientConnectorError as UnixClientConnectorError
    from .errors import UploadAbortedError as UploadAbortedError
    from .errors import WSMessageTypeError as WSMessageTypeError
    from .errors import WSServerHandshakeError as WSServerHandshakeError
    from .forms import FormData as FormData
    from .middlewares import ClientHandlerType as ClientHandlerType
    from .middlewares import ClientMiddlewareType as ClientMiddlewareType
    from .multipart import BodyPartReader as BodyPartReader
    from .multipart import BodyPartReaderPayload as BodyPartReaderPayload
    from .multipart import MultipartReader as MultipartReader
    from .multipart import MultipartWriter as MultipartWriter
    from .outgoing import ClientRequest as ClientRequest
    from .outgoing import RequestInfo as RequestInfo
    from .payloads import PAYLOAD_REGISTRY as PAYLOAD_REGISTRY
    from .payloads import AsyncIterablePayload as AsyncIterablePayload
    from .payloads import BufferedReaderPayload as BufferedReaderPayload
    from .payloads import BytesIOPayload as BytesIOPayload
    from .payloads import BytesPayload as BytesPayload
    from .payloads import IOBasePayload as IOBasePayload
    from .payloads import JsonPayload as JsonPayload
    from .payloads import Payload as Payload
    from .payloads import StringIOPayload as StringIOPayload
    from .payloads import StringPayload as StringPayload
    from .payloads import TextIOPayload as TextIOPayload
    from .payloads import get_payload as get_payload
    from .payloads import payload_type as payload_type
    from .resolver import AbstractResolver as AbstractResolver
    from .resolver import AsyncResolver as AsyncResolver
    from .resolver import DefaultResolver as DefaultResolver
    from .resolver import ThreadedResolver as ThreadedResolver
    from .response import ClientResponse as ClientResponse
    from .session import ClientSession as ClientSession
    from .session import request as request
    from .sse import EventParser as EventParser
    from .sse import ServerSentEvent as ServerSentEvent
    from .streams import StreamReader as StreamReader
    from .timeouts import ClientTimeout as ClientTimeout
    from .timeouts import ClientWSTimeout as ClientWSTimeout
    from .tls import Fingerprint as Fingerprint
    from .tracing import TraceConfig as TraceConfig
    from .tracing import TraceConnectionCreateEndParams as TraceConnectionCreateEndParams
    from .tracing import TraceConnectionCreateStartParams as TraceConnectionCreateStartParams
    from .tracing import TraceConnectionQueuedEndParams as TraceConnectionQueuedEndParams
    from .tracing import TraceConnectionQueuedStartParams as TraceConnectionQueuedStartParams
    from .tracing import TraceConnectionReuseconnParams as TraceConnectionReuseconnParams
    from .tracing import TraceDnsCacheHitParams as TraceDnsCacheHitParams
    from .tracing import TraceDnsCacheMissParams as TraceDnsCacheMissParams
    from .tracing import TraceDnsResolveHostEndParams as TraceDnsResolveHostEndParams
    from .tracing import TraceDnsResolveHostStartParams as TraceDnsResolveHostStartParams
    from .tracing import TraceRequestChunkSentParams as TraceRequestChunkSentParams
    from .tracing import TraceRequestEndParams as TraceRequestEndParams
    from .tracing import TraceRequestExceptionParams as TraceRequestExceptionParams
    from .tracing import TraceRequestHeadersSentParams as TraceRequestHeadersSentParams
    from .tracing import TraceRequestRedirectParams as TraceRequestRedirectParams
    from .tracing import TraceRequestStartParams as TraceRequestStartParams
    from .tracing import TraceResponseChunkReceivedParams as TraceResponseChunkReceivedParams
    from .transport import Transport as Transport
    from .uploads import UploadTracker as UploadTracker
    from .versions import HttpVersion as HttpVersion
    from .versions import HttpVersion10 as HttpVersion10
    from .versions import HttpVersion11 as HttpVersion11
    from .websocket import ClientWebSocketResponse as ClientWebSocketResponse
    from .websocket import WebSocketError as WebSocketError
    from .websocket import WSCloseCode as WSCloseCode
    from .websocket import WSMessage as WSMessage
    from .websocket import WSMsgType as WSMsgType

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
