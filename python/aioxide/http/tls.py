"""What `ssl=` may be."""

from __future__ import annotations

import os
import sys
import warnings
from hashlib import sha256
from typing import Any


class Fingerprint:
    """The SHA-256 digest that the server's certificate must have.

    ValueError: it is of another length; MD5 and SHA-1 are refused, as they can be forged.
    """

    def __init__(self, fingerprint: bytes) -> None:
        if len(fingerprint) in {16, 20}:
            raise ValueError("md5 and sha1 are insecure and not supported. Use sha256.")
        if len(fingerprint) != 32:
            raise ValueError("fingerprint has invalid length")
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> bytes:
        return self._fingerprint

    def check(self, transport: Any) -> None:
        """Compares with what an asyncio transport shows. ServerFingerprintMismatch: it is another one."""
        from .errors import ServerFingerprintMismatch

        ssl_object = transport.get_extra_info("ssl_object")
        if not transport.get_extra_info("sslcontext") or ssl_object is None:
            return
        got = sha256(ssl_object.getpeercert(binary_form=True)).digest()
        if got != self._fingerprint:
            host, port, *_rest = transport.get_extra_info("peername")
            raise ServerFingerprintMismatch(self._fingerprint, got, host, port)


def merged(ssl: Any, verify_ssl: bool | None, ssl_context: Any, fingerprint: bytes | None) -> Any:
    """`ssl=` and the three arguments that it replaced, as one value."""
    from ssl import SSLContext

    if ssl is None:
        ssl = True
    old: dict[str, tuple[bool, Any]] = {
        "verify_ssl is deprecated, use ssl=False instead": (verify_ssl is not None and not verify_ssl, lambda: False),
        "ssl_context is deprecated, use ssl=context instead": (ssl_context is not None, lambda: ssl_context),
        "fingerprint is deprecated, use ssl=Fingerprint(fingerprint) instead": (
            fingerprint is not None,
            lambda: Fingerprint(fingerprint or b""),
        ),
    }
    for message, (is_given, value) in old.items():
        if is_given:
            warnings.warn(message, DeprecationWarning, stacklevel=4)
            if ssl is not True:
                raise ValueError("verify_ssl, ssl_context, fingerprint and ssl parameters are mutually exclusive")
            ssl = value()
    if not isinstance(ssl, SSLContext | bool | Fingerprint):
        raise TypeError(f"ssl should be SSLContext, bool, Fingerprint or None, got {ssl!r} instead.")
    return ssl


def settings_of(ssl: Any, server_name: str | None, certificate: tuple[bytes, bytes] | None) -> dict[str, Any] | None:
    """What Rust is told of `ssl=` and of the client's certificate; None for what is the default.

    ValueError: a context asks for what cannot be taken over.
    """
    import ssl as module

    settings: dict[str, Any] = {}
    if certificate is not None:
        settings["certificate"] = certificate
    if server_name is not None:
        settings["server_name"] = server_name
    if ssl is False:
        settings["any_certificate"] = True
    elif ssl is True:
        if (path := key_log()) is not None:
            settings["key_log"] = path
    elif isinstance(ssl, Fingerprint):
        settings["fingerprint"] = ssl.fingerprint
    elif isinstance(ssl, module.SSLContext):
        from .ssl_contexts import read_context

        read_context(ssl, settings, has_certificate=certificate is not None)
    return settings or None


def key_log() -> str | None:
    """Where the secrets of connections are written, by the environment: as Python's own default context does it."""
    return None if sys.flags.ignore_environment else os.environ.get("SSLKEYLOGFILE") or None
