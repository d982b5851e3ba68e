"""What an `ssl.SSLContext` asks for, as Rust is told it; what Rust cannot do is refused, never left out."""

from __future__ import annotations

import ssl
import sys
from functools import cache
from typing import Any

from .handshakes import Hello, examine, hello_of

# What Rust speaks, by the numbers in IANA's registries.
_SUITES = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}
_GROUPS = {0x0017: "secp256r1", 0x0018: "secp384r1", 0x001D: "x25519"}
_SIGNATURES = frozenset({0x0401, 0x0403, 0x0501, 0x0503, 0x0601, 0x0804, 0x0805, 0x0806, 0x0807})
# Extensions of a client's first message.
_SUPPORTED_GROUPS = 10
_SIGNATURE_ALGORITHMS = 13
_PRE_SHARED_KEY = 41


def read_context(context: ssl.SSLContext, settings: dict[str, Any], *, has_certificate: bool) -> None:
    """Adds to `settings` what the context asks for. `has_certificate`: one was given beside it.

    ValueError: it asks for what Rust cannot do, or what cannot be read out of it.
    """
    kind = type(context)
    if kind.wrap_bio is not ssl.SSLContext.wrap_bio or context.sslobject_class is not ssl.SSLObject:
        raise ValueError(
            f"ssl: {kind.__name__} shakes hands in a way of its own, which cannot be taken over: use a plain "
            "ssl.SSLContext, or ssl=True for the platform's authorities"
        )
    _read_versions(context, settings)
    try:
        hello = hello_of(context)
    except ssl.SSLError as error:
        raise ValueError(f"ssl: the context cannot begin a connection: {error}") from error
    _read_hello(context, hello, settings)
    findings = examine(context)
    if findings.has_certificate and not has_certificate:
        raise ValueError(
            "ssl: the context has a certificate of its own (load_cert_chain), which cannot be read out of it: use "
            "TCPConnector(ssl=context, client_certificate=(chain_pem, key_pem))"
        )
    if context.post_handshake_auth and has_certificate:
        raise ValueError(
            "ssl: the context has post_handshake_auth, and aioxide.http shows its certificate in the handshake alone"
        )
    if context.verify_mode == ssl.CERT_NONE:
        settings["any_certificate"] = True
    else:
        _read_trust(context, settings, trusts_platform=findings.trusts_platform)
    if context.keylog_filename is not None:
        settings["key_log"] = context.keylog_filename
    if context.options & ssl.OP_NO_TICKET:
        settings["resumption"] = False


def _read_versions(context: ssl.SSLContext, settings: dict[str, Any]) -> None:
    versions = ssl.TLSVersion
    oldest, newest = context.minimum_version, context.maximum_version
    if oldest in {versions.TLSv1_3, versions.MAXIMUM_SUPPORTED} or context.options & ssl.OP_NO_TLSv1_2:
        settings["min_version"] = "TLSv1.3"
    if newest not in {versions.MAXIMUM_SUPPORTED, versions.TLSv1_3, versions.TLSv1_2}:
        raise ValueError(f"ssl: the context speaks no more than {newest.name}; aioxide.http speaks TLS 1.2 and 1.3")
    if newest == versions.TLSv1_2 or context.options & ssl.OP_NO_TLSv1_3:
        settings["max_version"] = "TLSv1.2"


def _read_hello(context: ssl.SSLContext, hello: Hello, settings: dict[str, Any]) -> None:
    psk = {
        cipher["id"] & 0xFFFF for cipher in context.get_ciphers() if "psk" in f"{cipher.get('kea')} {cipher['auth']}"
    }
    if _PRE_SHARED_KEY in hello.extensions or psk.intersection(hello.suites):
        raise ValueError("ssl: the context has a pre-shared key, which aioxide.http does not use")
    suites = [name for number, name in _SUITES.items() if number in hello.suites]
    if not suites:
        raise ValueError(f"ssl: the context's ciphers are none of those of aioxide.http: {', '.join(_SUITES.values())}")
    if len(suites) < len(_SUITES):
        settings["cipher_suites"] = suites
    if context.security_level > 2:
        raise ValueError(f"ssl: the context has security level {context.security_level}; aioxide.http keeps to 2")
    usual = hello_of(_usual(context))
    groups = hello.numbers(_SUPPORTED_GROUPS)
    if set(usual.numbers(_SUPPORTED_GROUPS)).difference(groups):
        names = [name for number, name in _GROUPS.items() if number in groups]
        if not names:
            raise ValueError(
                f"ssl: the context's curves are none of those of aioxide.http: {', '.join(_GROUPS.values())}"
            )
        settings["groups"] = names
    missing = set(usual.numbers(_SIGNATURE_ALGORITHMS)).difference(hello.numbers(_SIGNATURE_ALGORITHMS))
    if missing & _SIGNATURES:
        raise ValueError("ssl: the context takes fewer kinds of signatures than usual, which aioxide.http cannot do")
    protocols = hello.protocols()
    if protocols is not None:
        strange = [name for name in protocols if name not in {"h2", "http/1.1"}]
        if strange or "http/1.1" not in protocols:
            raise ValueError(
                f"ssl: the context offers {', '.join(protocols)} (set_alpn_protocols); aioxide.http can offer "
                "http/1.1, with or without h2"
            )
        settings["http2"] = "h2" in protocols


def _usual(context: ssl.SSLContext) -> ssl.SSLContext:
    """A new context of the same versions."""
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    usual.options = context.options
    usual.minimum_version, usual.maximum_version = context.minimum_version, context.maximum_version
    return usual


def _others(context: ssl.SSLContext) -> int:
    """How many of the loaded certificates are no authorities."""
    stats = context.cert_store_stats()
    return stats["x509"] - stats["x509_ca"]


@cache
def _others_of_platform() -> int:
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    usual.load_default_certs()
    return _others(usual)


def _read_trust(context: ssl.SSLContext, settings: dict[str, Any], *, trusts_platform: bool) -> None:
    if not context.check_hostname:
        settings["any_name"] = True
    if context.verify_flags & (ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN):
        raise ValueError("ssl: the context checks lists of revoked certificates, which aioxide.http does not")
    # From 3.13 on it is part of every default context.
    if context.verify_flags & ssl.VERIFY_X509_STRICT and sys.version_info < (3, 13):
        raise ValueError("ssl: the context has VERIFY_X509_STRICT, and aioxide.http does not check all that it does")
    others = _others(context)
    if others and others > _others_of_platform():
        raise ValueError(
            f"ssl: the context trusts {others} certificate(s) that are no authorities, which cannot be read out of it: "
            "use ssl=Fingerprint(sha256)"
        )
    roots = context.get_ca_certs(binary_form=True)
    if not context.verify_flags & getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000):
        # One that another has signed is trusted only with that one.
        owners = context.get_ca_certs()
        roots = [root for root, owner in zip(roots, owners, strict=True) if owner["subject"] == owner["issuer"]]
    if not roots and not trusts_platform:
        raise ValueError(
            "ssl: the context trusts no authority that can be read out of it: load them by cafile= or cadata= (not "
            "capath=), or the platform's by load_default_certs()"
        )
    if roots:
        settings["roots"] = roots
    if not trusts_platform:
        settings["only_these_roots"] = True
