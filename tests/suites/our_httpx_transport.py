"""A pytest plugin: httpx's tests of its client run over `aioxide.http.Transport` in place of httpx's own transport."""

from __future__ import annotations

import importlib

from aioxide import http


def pytest_configure() -> None:
    for name in ("httpx", "httpx._client", "httpx._transports.default"):
        module = importlib.import_module(name)
        if hasattr(module, "AsyncHTTPTransport"):
            module.AsyncHTTPTransport = http.Transport
