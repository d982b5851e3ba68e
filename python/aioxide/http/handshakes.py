"""Handshakes in memory, which tell what an `ssl.SSLContext` does where it cannot be asked."""

from __future__ import annotations

import binascii
import contextlib
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple


class Hello(NamedTuple):
    """What a client says first: numbers of cipher suites, and extensions by their numbers."""

    suites: list[int]
    extensions: dict[int, bytes]

    def numbers(self, extension: int) -> list[int]:
        """The list of two-byte numbers that an extension holds."""
        data = self.extensions.get(extension, b"")[2:]
        return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]

    def protocols(self) -> list[str] | None:
        """What ALPN offers; None without it."""
        data = self.extensions.get(16)
        if data is None:
            return None
        return [name.decode("latin-1") for name in _counted(data[2:])]


def _counted(data: bytes) -> Iterator[bytes]:
    while data:
        yield data[1 : 1 + data[0]]
        data = data[1 + data[0] :]


def hello_of(context: ssl.SSLContext) -> Hello:
    """The first message of a client with this context, which goes nowhere. ssl.SSLError: it is none for clients."""
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    message = b""
    records = outgoing.read()
    while records:
        length = int.from_bytes(records[3:5], "big")
        message += records[5 : 5 + length]
        records = records[5 + length :]
    # A header of 4 bytes, the version, 32 random bytes, a session's name.
    at = 38
    at += 1 + message[at]
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    suites = [int.from_bytes(message[place : place + 2], "big") for place in range(at + 2, end, 2)]
    # The list of compressions, then how long the extensions are.
    at = end + 1 + message[end] + 2
    extensions = {}
    while at < len(message):
        kind, length = (int.from_bytes(message[place : place + 2], "big") for place in (at, at + 2))
        extensions[kind] = message[at + 4 : at + 4 + length]
        at += 4 + length
    return Hello(suites, extensions)


class Findings(NamedTuple):
    """What a context does in a handshake."""

    # It shows a certificate of its own to who asks for one.
    has_certificate: bool
    # It looks for authorities in the folder that OpenSSL was built with.
    trusts_platform: bool


def examine(context: ssl.SSLContext) -> Findings:
    """Shakes hands with the context in memory, as a server that asks for a certificate.

    Neither verification nor anything else of the context is changed. The server's own certificate says that it was
    signed by an authority of the platform which the context has not loaded: OpenSSL then looks for that in the
    context's folders, and loads it where it finds it.
    """
    known = set(context.get_ca_certs(binary_form=True))
    # Its whole number also counts those that are not shown.
    before = context.cert_store_stats()["x509"]
    authority = next((found for found in _platform_authorities() if found not in known and _is_authority(found)), None)
    issuer = _NAME if authority is None else _subject(authority)
    # What TLS 1.2 has no signature for, 1.3 may have.
    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    has_certificate = any(_shows_certificate(context, version, issuer) for version in versions)
    return Findings(has_certificate, context.cert_store_stats()["x509"] > before)


def _shows_certificate(context: ssl.SSLContext, version: ssl.TLSVersion, issuer: bytes) -> bool:
    server_context = _server_context(issuer)
    # A server that trusts nobody, and can do without a certificate: it fails only where one was shown.
    server_context.verify_mode = ssl.CERT_OPTIONAL
    server_context.minimum_version = server_context.maximum_version = version
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname = False
    own.verify_mode = ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = own.wrap_bio(back, there)
    # The certificate and the authorities become the context's; that nothing is verified stays.
    client.context = context
    server = server_context.wrap_bio(there, back, server_side=True)
    for side in (client, server) * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return True
    return False


# A throw-away key for handshakes in memory. It protects nothing.
_KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgiKRXpgr/QCzZvc/q1P16wQoQnciYeveJpWrGFb2Wlz+hRANCAAQlrAN11Naya0Ci"
    "yeXjOZxxot2O6n9R+mfrZ/2YziGTiPnvx32YqXo4l7rHomfLjD4xA7HNgus9pKMwLzlEto/+"
)


def _server_context(issuer: bytes) -> ssl.SSLContext:
    with tempfile.NamedTemporaryFile(mode="w", suffix=".pem") as file:
        file.write(_pem("PRIVATE KEY", binascii.a2b_base64(_KEY)) + _pem("CERTIFICATE", _certificate(issuer)))
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.name)
    return context


def _pem(kind: str, der: bytes) -> str:
    text = binascii.b2a_base64(der, newline=False).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"


# DER, as far as one certificate needs it.


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def _elements(der: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Of each element: its tag, its content, and all of it."""
    at = 0
    while at < len(der):
        length, begin = der[at + 1], at + 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(der[at + 2 : begin], "big")
        yield der[at], der[begin : begin + length], der[at : begin + length]
        at = begin + length


_SEQUENCE = 0x30
# ecdsa-with-SHA256; a common name.
_ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")
_NAME = _der(_SEQUENCE, _der(0x31, _der(_SEQUENCE, bytes.fromhex("0603550403"), _der(0x0C, b"aioxide"))))
# A public key on P-256, up to its point.
_PUBLIC = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def _certificate(issuer: bytes) -> bytes:
    """A certificate for the key, which `issuer` has not signed."""
    times = _der(_SEQUENCE, _der(0x17, b"200101000000Z"), _der(0x17, b"491231235959Z"))
    public = _PUBLIC + binascii.a2b_base64(_KEY)[-65:]
    body = _der(_SEQUENCE, _der(0x02, b"\x01"), _ALGORITHM, issuer, times, _NAME, public)
    signature = _der(0x03, b"\x00", _der(_SEQUENCE, _der(0x02, b"\x01"), _der(0x02, b"\x01")))
    return _der(_SEQUENCE, body, _ALGORITHM, signature)


def _subject(certificate: bytes) -> bytes:
    """Whose certificate it is, as it stands there."""
    (_, whole, _), *_rest = _elements(certificate)
    (_, body, _), *_rest = _elements(whole)
    # A version that is not the first comes before the serial number.
    elements = [element for tag, _, element in _elements(body) if tag != 0xA0]
    return elements[4]


def _is_authority(certificate: bytes) -> bool:
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    store.load_verify_locations(cadata=certificate)
    return store.cert_store_stats()["x509_ca"] == 1


def _platform_authorities() -> Iterator[bytes]:
    """The certificates that OpenSSL finds in its folder."""
    folder: Any = ssl.get_default_verify_paths().capath
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return
    for name in names:
        if re.fullmatch(r"[0-9a-f]{8}\.0", name):
            try:
                with open(os.path.join(folder, name), encoding="latin-1") as file:
                    text = file.read()
                begin = text.index("-----BEGIN CERTIFICATE-----")
                end = text.index("-----END CERTIFICATE-----", begin)
                yield ssl.PEM_cert_to_DER_cert(text[begin:end] + "-----END CERTIFICATE-----")
            except (OSError, ValueError):
                continue
