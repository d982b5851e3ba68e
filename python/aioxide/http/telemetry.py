"""OpenTelemetry: a span for each request that is sent, where the program has set a provider; nothing otherwise.

Names are those of the semantic conventions for HTTP clients, version 1.23 and later. The current span goes along as
`traceparent`, in the way that the program has chosen for propagation.
"""

from __future__ import annotations

import sys
from typing import Any


def tracer() -> Any:
    """A tracer, if `opentelemetry-api` is in use and a provider of tracers is set; else None."""
    # Who sets a provider has imported it.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    from .._aioxide import _http_version

    schema = "https://opentelemetry.io/schemas/1.23.1"
    return trace.get_tracer("aioxide.http", _http_version, provider, schema_url=schema)


def begin(tracer: Any, request: Any, resends: int) -> Any:
    """Starts the span of a request, and adds what propagates it to its headers."""
    from opentelemetry import context, propagate, trace

    url = request.url
    attributes: dict[str, Any] = {
        "http.request.method": request.method if request.method in _METHODS else "_OTHER",
        "url.full": str(url.with_user(None)),
        "server.address": url.host or "",
        "server.port": url.port or 0,
    }
    if request.method not in _METHODS:
        attributes["http.request.method_original"] = request.method
    if resends:
        attributes["http.request.resend_count"] = resends
    name = request.method if request.method in _METHODS else "HTTP"
    span = tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
    propagate.inject(request.headers, context=trace.set_span_in_context(span, context.get_current()))
    return span


def answered(span: Any, response: Any) -> None:
    """The head of the answer is there: the span ends."""
    span.set_attribute("http.response.status_code", response.status)
    version = response.version
    if version is not None:
        span.set_attribute(
            "network.protocol.version", "2" if version.major == 2 else f"{version.major}.{version.minor}"
        )
    if response.status >= 400:
        span.set_attribute("error.type", str(response.status))
        _fail(span, "")
    span.end()


def failed(span: Any, error: BaseException) -> None:
    """There will be no answer."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.set_attribute("error.type", name)
    _fail(span, str(error))
    span.end()


def _fail(span: Any, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, why or None))


_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
