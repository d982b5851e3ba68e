"""Proxies of the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL

from .auth import BasicAuth, from_netrc, strip_auth


def from_environment(url: URL) -> tuple[URL, BasicAuth | None] | None:
    """The proxy for a URL, with the name and password that the variable or netrc has; None for none."""
    if url.host is not None and proxy_bypass(url.host):
        return None
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    found = getproxies().get(scheme)
    if not found:
        return None
    proxy, auth = strip_auth(URL(found))
    if proxy.scheme in {"https", "wss"}:
        return None
    if auth is None and proxy.host is not None:
        auth = from_netrc(proxy.host)
    return proxy, auth
