"""What httpx's transports take, as connectors take it: certificates, proxies, options of sockets."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from yarl import URL

_PROXIES = frozenset({"http", "https", "socks5", "socks5h"})


def verification(verify: Any) -> Any:
    """`verify=` as `ssl=`: True, False, a context, or the path of a file or folder with authorities."""
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    if not isinstance(verify, str | os.PathLike):
        raise TypeError(f"verify is True, False, an ssl.SSLContext or a path, not {type(verify).__name__}")
    if not os.path.isdir(verify):
        return ssl.create_default_context(cafile=verify)
    return ssl.create_default_context(cadata="".join(_pem_texts(verify)))


def _pem_texts(folder: str | os.PathLike[str]) -> Iterable[str]:
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, encoding="latin-1") as file:
                text = file.read()
            if "-----BEGIN CERTIFICATE-----" in text:
                yield text


def certificate(cert: Any) -> tuple[bytes, bytes] | None:
    """`cert=` as `client_certificate=`: the path of a file with chain and key, or the paths of both."""
    if cert is None:
        return None
    if isinstance(cert, str | os.PathLike):
        cert = (cert, cert)
    chain, key, *password = cert
    if password and password[0] is not None:
        raise ValueError("cert: a key with a password cannot be read: decrypt it first (openssl pkey)")
    with open(chain, "rb") as chain_file, open(key, "rb") as key_file:
        pair = (chain_file.read(), key_file.read())
    if b"ENCRYPTED" in pair[1]:
        raise ValueError(f"cert: the key in {os.fspath(key)!r} is encrypted: decrypt it first (openssl pkey)")
    return pair


def proxy_parts(proxy: Any) -> tuple[str, tuple[str, str] | None, list[tuple[str, str]], ssl.SSLContext | None] | None:
    """`proxy=`: a URL, or a `Proxy` of httpx; URL, login, headers, and how TLS to it is made."""
    if proxy is None:
        return None
    headers: list[tuple[str, str]] = []
    login = context = None
    text = proxy
    if hasattr(proxy, "raw_auth"):
        text, login, context = proxy.url, proxy.auth, proxy.ssl_context
        headers = list(proxy.headers.multi_items())
    url = URL(str(text))
    if url.scheme not in _PROXIES or not url.host:
        raise ValueError(f"Unknown scheme for proxy URL {url.with_password(None) if url.host else url!r}")
    if login is None and url.user is not None:
        login = (url.user, url.password or "")
    return str(url.with_user(None)), login, headers, context


def socket_setup(options: Iterable[tuple[Any, ...]] | None) -> Callable[[int], None] | None:
    """`socket_options=`: arguments of `socket.setsockopt`, for each socket once it is connected."""
    if options is None:
        return None
    options = [tuple(option) for option in options]
    for option in options:
        if len(option) not in {3, 4}:
            raise ValueError(f"socket_options: {option!r} is no (level, option, value)")

    def setup(number: int) -> None:
        # The number stays the connection's.
        own = socket.socket(fileno=number)
        try:
            for option in options:
                own.setsockopt(*option)
        finally:
            own.detach()

    return setup
