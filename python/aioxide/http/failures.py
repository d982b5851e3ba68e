"""What Rust reports, as the exceptions of `aioxide.http.errors`."""

from __future__ import annotations

import asyncio
import errno as errnos
import os
import re
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from . import errors
from .tls import Fingerprint

if TYPE_CHECKING:
    from .response import ClientResponse


_URL = re.compile(r" \(https?://[^)\s]*\)")


def exception(  # noqa: PLR0917
    response: ClientResponse, kind: str, text: str, errno: int | None, detail: Any, is_body: bool
) -> BaseException:
    """The exception for a failure of `kind`, in the body of the response or before its head was there.

    `detail`: the exception that was the cause; of a certificate that is not pinned its SHA-256.
    """
    if kind == "not pinned":
        key = response._connection_key
        return errors.ServerFingerprintMismatch(_fingerprint_of(response), detail, key.host, key.port or 0)
    cause: BaseException | None = detail
    # Rust says which URL; exceptions of a connection name the host alone, as queries hold secrets.
    text = _URL.sub("", text, count=1)
    if kind in {"closed", "session closed"} and _is_session_closed(response):
        return errors.ClientConnectionError("Connection closed")
    made = _of_body(kind, text, errno) if is_body else _of_head(response, kind, text, errno, cause)
    if cause is not None and made is not cause:
        made.__cause__ = cause
    return made


def _session_of(response: ClientResponse) -> Any:
    request = response._request
    return response._plain_session if request is None else getattr(request, "session", None)


def _is_session_closed(response: ClientResponse) -> bool:
    """Whether its session was closed while it was under way."""
    session = _session_of(response)
    return session is not None and session.closed


def _fingerprint_of(response: ClientResponse) -> bytes:
    """What the request was told to expect, or else its connector."""
    told = response._connection_key.ssl
    if not isinstance(told, Fingerprint):
        told = getattr(getattr(_session_of(response), "connector", None), "_ssl", None)
    return told.fingerprint if isinstance(told, Fingerprint) else b""


def _of_body(kind: str, text: str, errno: int | None) -> BaseException:
    if kind == "total":
        return asyncio.TimeoutError()
    if kind == "read timeout":
        return errors.SocketTimeoutError("Timeout on reading data from socket")
    if kind == "given up":
        return errors.ClientConnectionError(text)
    made = errors.ClientPayloadError(f"Response payload is not completed: {text}")
    if kind == "closed" and errno is not None:
        made.__cause__ = OSError(errno, os.strerror(errno))
    return made


def _of_head(
    response: ClientResponse, kind: str, text: str, errno: int | None, cause: BaseException | None
) -> BaseException:
    if kind == "total":
        return asyncio.TimeoutError()
    if kind in {"pool", "connect timeout", "sock connect timeout"}:
        late = errors.ConnectionTimeoutError(f"Connection timeout to host {response.real_url}")
        late.phase = kind
        return late
    if kind == "read timeout":
        return errors.SocketTimeoutError("Timeout on reading data from socket")
    if kind == "upgrade":
        what = "Invalid response status" if errno != HTTPStatus.SWITCHING_PROTOCOLS else text
        return errors.WSServerHandshakeError(response.request_info, response.history, status=errno, message=what)
    if kind == "proxy status" and errno is not None:
        message = HTTPStatus(errno).phrase if errno in set(HTTPStatus) else text
        return errors.ClientHttpProxyError(response.request_info, response.history, status=errno, message=message)
    if kind in {"connect", "lookup", "tls", "denied", "proxy"}:
        return _of_connection(response, kind, text, errno)
    if kind == "closed":
        if errno is not None:
            made = errors.ClientOSError(errno, os.strerror(errno))
            made.__cause__ = OSError(errno, os.strerror(errno))
            return made
        return errors.ServerDisconnectedError()
    if kind == "upload":
        return _of_upload(response, text, cause)
    if kind == "url":
        return errors.InvalidUrlClientError(response.real_url)
    if kind == "request":
        return ValueError(text)
    if kind == "head":
        return errors.ClientResponseError(response.request_info, response.history, status=400, message=text)
    if kind == "session closed":
        return RuntimeError("Session is closed")
    return errors.ClientResponseError(response.request_info, response.history, status=400, message=text)


def _of_connection(response: ClientResponse, kind: str, text: str, errno: int | None) -> BaseException:
    key = response._connection_key
    path = response._unix_path
    if kind == "tls":
        if "certificate" in text:
            return errors.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError(1, text))
        return errors.ClientConnectorSSLError(key, ssl.SSLError(1, text))
    reason = OSError(errno, os.strerror(errno)) if errno is not None else OSError(None, text)
    if path is not None:
        return errors.UnixClientConnectorError(path, key, reason)
    if kind == "denied":
        return errors.ClientConnectorError(key, PermissionError(errnos.EACCES, text))
    if kind == "proxy":
        return errors.ClientProxyConnectionError(key, reason)
    if kind == "lookup":
        why = text.rpartition(_LOOKUP)[2]
        code = socket.EAI_AGAIN if "emporary" in why else socket.EAI_NONAME
        return errors.ClientConnectorDNSError(key, socket.gaierror(code, why))
    return errors.ClientConnectorError(key, reason)


# What Rust says in front of the resolver's own words.
_LOOKUP = "failed to lookup address information: "


def _of_upload(response: ClientResponse, text: str, cause: BaseException | None) -> BaseException:
    if isinstance(cause, asyncio.CancelledError):
        return cause
    if isinstance(cause, OSError) and cause.errno is not None:
        return errors.ClientOSError(cause.errno, f"Can not write request body for {response.url}")
    shown = text if cause is None else repr(cause)
    return errors.ClientConnectionError(f"Failed to send bytes into the underlying connection: {shown}")
