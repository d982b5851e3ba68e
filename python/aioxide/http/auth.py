"""Name and password: Basic authentication, by argument, by URL or from netrc."""

from __future__ import annotations

import base64
import binascii
import netrc
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from yarl import URL


class _Login(NamedTuple):
    login: str
    password: str = ""
    encoding: str = "latin1"


class BasicAuth(_Login):
    """A name and a password for `auth=` and `proxy_auth=`.

    >>> BasicAuth("user", "pass").encode()
    'Basic dXNlcjpwYXNz'
    """

    def __new__(cls, login: str, password: str = "", encoding: str = "latin1") -> BasicAuth:
        if login is None:
            raise ValueError("None is not allowed as login value")
        if password is None:
            raise ValueError("None is not allowed as password value")
        if ":" in login:
            raise ValueError('A ":" is not allowed in login (RFC 1945#section-11.1)')
        return super().__new__(cls, login, password, encoding)

    @classmethod
    def decode(cls, auth_header: str, encoding: str = "latin1") -> BasicAuth:
        """From the value of an `Authorization` header.

        ValueError: it is of another kind, or damaged.
        """
        kind, space, coded = auth_header.strip().partition(" ")
        if not space:
            raise ValueError("Could not parse authorization header.")
        if kind.lower() != "basic":
            raise ValueError(f"Unknown authorization method {kind}")
        try:
            text = base64.b64decode(coded.encode("ascii"), validate=True).decode(encoding)
        except binascii.Error:
            raise ValueError("Invalid base64 encoding.") from None
        login, colon, password = text.partition(":")
        if not colon:
            raise ValueError("Invalid credentials.")
        return cls(login, password, encoding=encoding)

    @classmethod
    def from_url(cls, url: URL, *, encoding: str = "latin1") -> BasicAuth | None:
        """From `user:password@` in a URL; None without."""
        from yarl import URL

        if not isinstance(url, URL):
            raise TypeError("url should be yarl.URL instance")
        if url.raw_user is None and url.raw_password is None:
            return None
        return cls(url.user or "", url.password or "", encoding=encoding)

    def encode(self) -> str:
        """The value of the header."""
        return encode_basic_auth(self.login, self.password, self.encoding)


def encode_basic_auth(login: str, password: str = "", encoding: str = "utf-8") -> str:
    """The value of an `Authorization` header for a name and a password."""
    if ":" in login:
        raise ValueError('A ":" is not allowed in login (RFC 1945#section-11.1)')
    coded = base64.b64encode(f"{login}:{password}".encode(encoding))
    return f"Basic {coded.decode('ascii')}"


def strip_auth(url: URL) -> tuple[URL, BasicAuth | None]:
    """The URL without its user, and the user."""
    if url.raw_user is None and url.raw_password is None:
        return url, None
    return url.with_user(None), BasicAuth(url.user or "", url.password or "")


def from_netrc(host: str) -> BasicAuth | None:
    """What the file of the variable NETRC, or of the home directory, has for a host."""
    named = os.environ.get("NETRC")
    path = Path(named) if named else None
    if path is None:
        try:
            path = Path.home() / ".netrc"
        except RuntimeError:
            return None
    try:
        found = netrc.netrc(str(path)).authenticators(host)
    except (netrc.NetrcParseError, OSError) as error:
        if named:
            warnings.warn(f"could not read the netrc file {path}: {error}", stacklevel=2)
        return None
    if found is None:
        return None
    login, account, password = found
    return BasicAuth(login or account or "", password or "")
