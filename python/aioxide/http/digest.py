"""Digest authentication (RFC 7616) as a middleware."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from yarl import URL

from .errors import ClientError

if TYPE_CHECKING:
    from .middlewares import ClientHandlerType
    from .outgoing import ClientRequest
    from .response import ClientResponse

ALGORITHMS: dict[str, Callable[[bytes], Any]] = {
    "MD5": hashlib.md5,
    "SHA": hashlib.sha1,
    "SHA256": hashlib.sha256,
    "SHA-256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "SHA-512": hashlib.sha512,
}
FIELDS = ("realm", "nonce", "qop", "algorithm", "opaque", "domain", "stale")
_QUOTED = {"username", "realm", "nonce", "uri", "response", "opaque", "cnonce"}
_PAIR = re.compile(r'(?:^|\s|,\s*)(\w+)(?![\w])(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+)))?')


def escape_quotes(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def unescape_quotes(value: str) -> str:
    return value.replace('\\"', '"').replace("\\\\", "\\")


def parse_header_pairs(header: str) -> dict[str, str]:
    """The parameters of the first challenge: a word without a value begins the next one."""
    pairs: dict[str, str] = {}
    for name, quoted, plain in ((found[1], found[2], found[3]) for found in _PAIR.finditer(header)):
        if quoted is None and plain is None:
            if pairs:
                break
        else:
            pairs[name] = plain if quoted is None else unescape_quotes(quoted)
    return pairs


class DigestAuthMiddleware:
    """Answers a server's challenge: `ClientSession(middlewares=(DigestAuthMiddleware(login, password),))`.

    The password is for the origin of the first request that it sees, and for what that origin names in `domain`;
    requests
    elsewhere pass untouched. `preemptive`: later requests prove themselves without being asked.
    """

    def __init__(self, login: str, password: str, preemptive: bool = True) -> None:
        if login is None:
            raise ValueError("None is not allowed as login value")
        if password is None:
            raise ValueError("None is not allowed as password value")
        if ":" in login:
            raise ValueError('A ":" is not allowed in username (RFC 1945#section-11.1)')
        self._login = login
        self._password = password
        self._preemptive = preemptive
        self._challenge: dict[str, str] = {}
        self._protection_space: list[str] = []
        self._origin: URL | None = None
        self._last_nonce_bytes = b""
        self._nonce_count = 0

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        origin = request.url.origin()
        if self._origin is None:
            self._origin = origin
        elif origin != self._origin and not self._in_protection_space(request.url):
            return await handler(request)  # type: ignore[no-any-return]
        knows = self._preemptive and self._challenge and self._in_protection_space(request.url)
        if knows:
            request.headers["Authorization"] = await self._encode(request.method, request.url, request.body)
        response: ClientResponse = await handler(request)
        if self._authenticate(response):
            request.headers["Authorization"] = await self._encode(request.method, request.url, request.body)
            response = await handler(request)
            self._authenticate(response)
        return response

    def _in_protection_space(self, url: URL) -> bool:
        text = str(url)
        for space in self._protection_space:
            if text.startswith(space) and (len(text) == len(space) or space[-1] == "/" or text[len(space)] == "/"):
                return True
        return False

    def _authenticate(self, response: ClientResponse) -> bool:
        """Takes the challenge of a 401 in; whether there is one to answer."""
        if response.status != 401:
            return False
        scheme, _, parameters = response.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() != "digest":
            return False
        pairs = parse_header_pairs(parameters)
        if not pairs:
            return False
        self._challenge = {field: pairs[field] for field in FIELDS if field in pairs}
        origin = response.url.origin()
        spaces = (uri.strip('"') for uri in self._challenge.get("domain", "").split())
        joined = [str(origin.join(URL(uri)) if uri.startswith("/") else URL(uri)) for uri in spaces if uri]
        self._protection_space = joined or [str(origin)]
        return bool(self._challenge)

    async def _encode(self, method: str, url: URL, body: Any) -> str:
        """The header that answers the challenge. ClientError: it is not one that can be answered."""
        challenge = self._challenge
        for field in ("realm", "nonce"):
            if field not in challenge:
                raise ClientError(f"Malformed Digest auth challenge: Missing '{field}' parameter")
        realm, nonce = challenge["realm"], challenge["nonce"]
        if not nonce:
            raise ClientError("Security issue: Digest auth challenge contains empty 'nonce' value")
        qop = self._quality(challenge.get("qop", ""))
        named = challenge.get("algorithm", "MD5")
        function = ALGORITHMS.get(named.upper().removesuffix("-SESS"))
        if function is None:
            supported = ", ".join(sorted([*ALGORITHMS, *(f"{name}-SESS" for name in ALGORITHMS)]))
            raise ClientError(
                f"Digest auth error: Unsupported hash algorithm: {named.upper()}. Supported algorithms: {supported}"
            )

        def digest(*parts: str | bytes) -> str:
            joined = b":".join(part if isinstance(part, bytes) else part.encode() for part in parts)
            return str(function(joined).hexdigest())

        path = URL(url).raw_path_qs
        action = [method.upper(), path]
        if qop == "auth-int":
            entity = await body.as_bytes() if hasattr(body, "as_bytes") else bytes(body)
            action.append(digest(entity))
        self._nonce_count = self._nonce_count + 1 if nonce.encode() == self._last_nonce_bytes else 1
        self._last_nonce_bytes = nonce.encode()
        count = f"{self._nonce_count:08x}"
        own_nonce = hashlib.sha1(f"{self._nonce_count}{nonce}{time.ctime()}".encode() + os.urandom(8)).hexdigest()[:16]
        secret = digest(self._login, realm, self._password)
        if named.upper().endswith("-SESS"):
            secret = digest(secret, nonce, own_nonce)
        between = (nonce, count, own_nonce, qop) if qop else (nonce,)
        fields = {
            "username": escape_quotes(self._login),
            "realm": escape_quotes(realm),
            "nonce": escape_quotes(nonce),
            "uri": path,
            "response": digest(secret, *between, digest(*action)),
            "algorithm": named,
        }
        if opaque := challenge.get("opaque"):
            fields["opaque"] = escape_quotes(opaque)
        if qop:
            fields |= {"qop": qop, "nc": count, "cnonce": own_nonce}
        shown = (f'{name}="{value}"' if name in _QUOTED else f"{name}={value}" for name, value in fields.items())
        return f"Digest {', '.join(shown)}"

    @staticmethod
    def _quality(offered: str) -> str:
        if not offered:
            return ""
        known = {"auth", "auth-int"} & {quality.strip() for quality in offered.split(",")}
        if not known:
            raise ClientError(f"Digest auth error: Unsupported Quality of Protection (qop) value(s): {offered}")
        return "auth-int" if "auth-int" in known else "auth"
