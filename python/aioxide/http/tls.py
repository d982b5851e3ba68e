"""What `ssl=` may be."""

from __future__ import annotations

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


def settings_of(ssl: Any, server_name: str | None) -> dict[str, Any] | None:
    """What Rust is told of `ssl=`; None for what is the default.

    A context is taken over as far as it can be read: verification, check of the name, loaded authorities, versions.
    Where
    authorities were loaded they alone are trusted; a context without any is taken for one with the platform's. Its
    own certificate
    and key cannot be read: use `TCPConnector(client_certificate=(chain, key))`. ValueError: it asks for what cannot
    be taken over.
    """
    import ssl as module

    settings: dict[str, Any] = {}
    if server_name is not None:
        settings["server_name"] = server_name
    if ssl is False:
        settings["any_certificate"] = True
    elif isinstance(ssl, Fingerprint):
        settings["fingerprint"] = ssl.fingerprint
    elif isinstance(ssl, module.SSLContext):
        _read_context(ssl, settings)
    return settings or None


def _read_context(context: Any, settings: dict[str, Any]) -> None:
    import ssl as module

    if context.verify_mode == module.CERT_NONE:
        settings["any_certificate"] = True
    else:
        if not context.check_hostname:
            settings["any_name"] = True
        if context.verify_flags & (module.VERIFY_CRL_CHECK_LEAF | module.VERIFY_CRL_CHECK_CHAIN):
            raise ValueError("ssl: the context checks lists of revoked certificates, which aioxide.http does not")
        roots = context.get_ca_certs(binary_form=True)
        if roots:
            settings["roots"] = roots
            settings["only_these_roots"] = True
    versions = module.TLSVersion
    if context.minimum_version == versions.TLSv1_3 or context.options & module.OP_NO_TLSv1_2:
        settings["min_version"] = "TLSv1.3"
    newest = context.maximum_version
    if newest not in {versions.MAXIMUM_SUPPORTED, versions.TLSv1_3, versions.TLSv1_2}:
        raise ValueError(f"ssl: the context speaks no more than {newest.name}; aioxide.http speaks TLS 1.2 and 1.3")
    if newest == versions.TLSv1_2 or context.options & module.OP_NO_TLSv1_3:
        settings["max_version"] = "TLSv1.2"
