"""OpenTelemetry: a span for each request where a provider is set, and nothing where none is."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from .conftest import Client, echo, web

pytest.importorskip("opentelemetry.sdk")


def test_request_has_a_span_and_carries_it(ours: Client, spans: Any) -> None:
    from opentelemetry import trace

    async def main(http: ModuleType, url: str) -> None:
        tracer = trace.get_tracer("test")
        with tracer.start_as_current_span("outer") as outer:
            async with http.ClientSession() as session:
                async with session.get(f"{url}/a?b=c") as response:
                    headers = dict((await response.json())["headers"])
        span, _outer = spans()
        assert (span.name, span.kind) == ("GET", trace.SpanKind.CLIENT)
        assert span.parent.span_id == outer.get_span_context().span_id
        port = int(url.rpartition(":")[2])
        assert dict(span.attributes) == {
            "http.request.method": "GET",
            "url.full": f"{url}/a?b=c",
            "server.address": "127.0.0.1",
            "server.port": port,
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
        }
        context = span.get_span_context()
        assert headers["Traceparent"].startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")

    ours.run(main, web.get("/a", echo))


def test_failures_and_redirects(ours: Client, spans: Any) -> None:
    from opentelemetry.trace import StatusCode

    async def away(_request: Any) -> Any:
        raise web.HTTPFound("/missing")

    async def main(http: ModuleType, url: str) -> None:
        async with http.ClientSession() as session:
            async with session.get(f"{url}/away".replace("//", "//me:secret@")) as response:
                assert response.status == 404
            with pytest.raises(http.ClientConnectorError):
                await session.request("BREW", "http://127.0.0.1:1/")
        first, second, third = spans()
        assert (first.attributes["http.response.status_code"], first.status.status_code) == (302, StatusCode.UNSET)
        assert "secret" not in json.dumps([dict(span.attributes) for span in spans()])
        assert second.attributes["http.request.resend_count"] == 1
        assert (second.attributes["error.type"], second.status.status_code) == ("404", StatusCode.ERROR)
        assert (third.name, third.attributes["http.request.method_original"]) == ("HTTP", "BREW")
        assert third.attributes["error.type"] == "aioxide.http.errors.ClientConnectorError"
        assert third.status.status_code is StatusCode.ERROR

    ours.run(main, web.get("/away", away))


NOTHING = """
import sys, aioxide
from aioxide import http
{imported}

async def main():
    async with http.ClientSession() as session:
        assert session._tracer is None
        assert "opentelemetry.sdk" not in sys.modules
        assert "aioxide.http.telemetry" in sys.modules or {is_unused}

aioxide.run(main())
"""


@pytest.mark.parametrize("imported", ["", "import opentelemetry.trace"])
def test_without_a_provider_nothing_happens(imported: str) -> None:
    program = NOTHING.format(imported=imported, is_unused=not imported)
    subprocess.run([sys.executable, "-c", program], check=True)
