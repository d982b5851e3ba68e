"""The exceptions of a client: aiohttp's names, bases and texts."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidict import MultiMapping
    from yarl import URL

    from .outgoing import ConnectionKey, RequestInfo


class ClientError(Exception):
    """The base of all of them."""


class ClientResponseError(ClientError):
    """There is an answer, and it is not what was wanted."""

    def __init__(
        self,
        request_info: RequestInfo,
        history: tuple[Any, ...],
        *,
        code: int | None = None,
        status: int | None = None,
        message: str = "",
        headers: MultiMapping[str] | None = None,
    ) -> None:
        if code is not None:
            if status is not None:
                raise ValueError("Both code and status arguments are provided; code is deprecated, use status instead")
            warnings.warn("code argument is deprecated, use status instead", DeprecationWarning, stacklevel=2)
            status = code
        self.request_info = request_info
        self.history = history
        self.status = status or 0
        self.message = message
        self.headers = headers
        self.args = (request_info, history)

    def __str__(self) -> str:
        return f"{self.status}, message={self.message!r}, url={str(self.request_info.real_url)!r}"

    def __repr__(self) -> str:
        parts = [repr(self.request_info), repr(self.history)]
        if self.status:
            parts.append(f"status={self.status!r}")
        if self.message:
            parts.append(f"message={self.message!r}")
        if self.headers is not None:
            parts.append(f"headers={self.headers!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    @property
    def code(self) -> int:
        """The status, by its old name."""
        warnings.warn("code property is deprecated, use status instead", DeprecationWarning, stacklevel=2)
        return self.status

    @code.setter
    def code(self, value: int) -> None:
        warnings.warn("code property is deprecated, use status instead", DeprecationWarning, stacklevel=2)
        self.status = value


class ContentTypeError(ClientResponseError):
    """The body is not of the type that was asked for."""


class WSServerHandshakeError(ClientResponseError):
    """The server does not agree to a websocket."""


class ClientHttpProxyError(ClientResponseError):
    """The proxy refused to connect."""


class TooManyRedirects(ClientResponseError):
    """There were more redirects than `max_redirects`."""


class ClientConnectionError(ClientError):
    """The connection failed."""


class ClientConnectionResetError(ClientConnectionError, ConnectionResetError):
    """The connection was gone when something was to be written."""


class ClientOSError(ClientConnectionError, OSError):
    """The system says why."""


class ClientConnectorError(ClientOSError):
    """No connection could be made."""

    def __init__(self, connection_key: ConnectionKey, os_error: OSError) -> None:
        self._conn_key = connection_key
        self._os_error = os_error
        super().__init__(os_error.errno, os_error.strerror)
        self.args = (connection_key, os_error)

    @property
    def os_error(self) -> OSError:
        return self._os_error

    @property
    def host(self) -> str:
        return self._conn_key.host

    @property
    def port(self) -> int | None:
        return self._conn_key.port

    @property
    def ssl(self) -> Any:
        return self._conn_key.ssl

    @property
    def _ssl_text(self) -> Any:
        return "default" if self.ssl is True else self.ssl

    def __str__(self) -> str:
        return f"Cannot connect to host {self.host}:{self.port} ssl:{self._ssl_text} [{self.strerror}]"

    # OSError's own makes something else of two arguments.
    __reduce__ = BaseException.__reduce__


class ClientConnectorDNSError(ClientConnectorError):
    """The name has no address."""


class ClientProxyConnectionError(ClientConnectorError):
    """No connection to the proxy could be made."""


class UnixClientConnectorError(ClientConnectorError):
    """No connection to the socket in the file system could be made."""

    def __init__(self, path: str, connection_key: ConnectionKey, os_error: OSError) -> None:
        self._path = path
        super().__init__(connection_key, os_error)

    @property
    def path(self) -> str:
        return self._path

    def __str__(self) -> str:
        return f"Cannot connect to unix socket {self.path} ssl:{self._ssl_text} [{self.strerror}]"


class ServerConnectionError(ClientConnectionError):
    """The server's end failed."""


class ServerDisconnectedError(ServerConnectionError):
    """The server closed the connection without an answer."""

    def __init__(self, message: object = None) -> None:
        self.message = "Server disconnected" if message is None else message
        self.args = (self.message,)


class ServerTimeoutError(ServerConnectionError, asyncio.TimeoutError):
    """The server took too long."""


class ConnectionTimeoutError(ServerTimeoutError):
    """Making the connection took too long, the wait for a place in the pool included."""

    # Which of its phases did: "pool", "connect timeout" or "sock connect timeout".
    phase = "connect timeout"


class SocketTimeoutError(ServerTimeoutError):
    """The server sent nothing for too long."""


class ServerFingerprintMismatch(ServerConnectionError):
    """The certificate is not the one that was expected."""

    def __init__(self, expected: bytes, got: bytes, host: str, port: int) -> None:
        self.expected = expected
        self.got = got
        self.host = host
        self.port = port
        self.args = (expected, got, host, port)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} expected={self.expected!r} got={self.got!r} host={self.host!r} port={self.port!r}>"
        )


class ClientPayloadError(ClientError):
    """The body of the answer is broken or cut short."""


class UploadAbortedError(ClientError):
    """The body of the request was not sent in full."""


class InvalidURL(ClientError, ValueError):
    """What was given for a URL cannot be fetched."""

    def __init__(self, url: URL | str, description: str | None = None) -> None:
        self._url = url
        self._description = description
        super().__init__(*((url, description) if description else (url,)))

    @property
    def url(self) -> URL | str:
        return self._url

    @property
    def description(self) -> str | None:
        return self._description

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        return f"{self._url} - {self._description}" if self._description else str(self._url)


class InvalidUrlClientError(InvalidURL):
    """The URL of the request is not valid."""


class RedirectClientError(ClientError):
    """The answer leads to where nothing can be fetched."""


class NonHttpUrlClientError(ClientError):
    """The URL is not for HTTP."""


class InvalidUrlRedirectClientError(InvalidUrlClientError, RedirectClientError):
    """The URL of the redirect is not valid."""


class NonHttpUrlRedirectClientError(NonHttpUrlClientError, RedirectClientError):
    """The redirect leads out of HTTP."""


class ClientSSLError(ClientConnectorError):
    """TLS failed."""


class ClientConnectorSSLError(ClientSSLError, ssl.SSLError):
    """TLS failed, but not for the certificate."""


class ClientConnectorCertificateError(ClientSSLError, ssl.CertificateError):
    """The server's certificate is not to be trusted."""

    def __init__(self, connection_key: ConnectionKey, certificate_error: Exception) -> None:
        os_error = certificate_error if isinstance(certificate_error, OSError) else OSError()
        super().__init__(connection_key, os_error)
        self._certificate_error = certificate_error
        self.args = (connection_key, certificate_error)

    @property
    def certificate_error(self) -> Exception:
        return self._certificate_error

    @property
    def ssl(self) -> bool:
        return self._conn_key.is_ssl

    def __str__(self) -> str:
        error = self.certificate_error
        return f"Cannot connect to host {self.host}:{self.port} ssl:{self.ssl} [{type(error).__name__}: {error.args}]"


class WSMessageTypeError(TypeError):
    """A websocket's message is of another type than was asked for."""


class InvalidHeader(Exception):
    """An answer whose head breaks the rules; what `ClientResponseError` names as its cause."""
