"""The loops that every behaviour test runs on, and the check that a test leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
Run = Callable[[Awaitable[T]], T]

# A test that waits longer than this has lost a wake-up.
TIMEOUT = 20.0
COUNTED = (asyncio.Handle, asyncio.Future, asyncio.BaseTransport, asyncio.AbstractServer)


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Returns the loop factory of one of the loops under test."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    import aioxide

    return aioxide.new_event_loop


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loops", default="asyncio,aioxide", help="comma-separated: asyncio, aioxide, uvloop")


def pytest_configure() -> None:
    """Takes back that a shell has its background jobs ignore interrupts, and with them every child."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Takes what the imports made out of the collector's sight: the census then counts in a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_name" in metafunc.fixturenames:
        metafunc.parametrize("loop_name", metafunc.config.getoption("--loops").split(","), scope="session")


@pytest.fixture
def loop_factory(loop_name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes loops of the kind under test."""
    return factory(loop_name)


class Reports(list[dict[str, Any]]):
    """The contexts that the loop's exception handler was called with; a test takes out those it expects."""

    def take(self, *messages: str) -> list[dict[str, Any]]:
        """Removes and returns the reports; their messages must contain the given texts, in order."""
        taken = list(self)
        self.clear()
        found = [report["message"] for report in taken]
        assert len(found) == len(messages), found
        for text, message in zip(messages, found, strict=True):
            assert text in message, found
        return taken


@pytest.fixture
def reports() -> Reports:
    """Collects the calls of the loop's exception handler."""
    return Reports()


@pytest.fixture
def loop(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], reports: Reports
) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of the kind under test; after the test nothing may be left of it."""
    before = census()
    loop = loop_factory()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        yield loop
    finally:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
    join_child_watchers()
    gc.collect()
    unexpected = [(report["message"], report.get("exception")) for report in reports]
    reports.clear()
    del loop
    after = census()
    assert not unexpected, f"the exception handler was called: {unexpected}"
    left = {name: (before[name], count) for name, count in after.items() if count > before[name]}
    assert not left, f"left behind (before, after): {left}"


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Run[Any]:
    """Runs an awaitable on the loop under test, and fails when it takes too long."""

    def run(awaitable: Awaitable[T]) -> T:
        return loop.run_until_complete(asyncio.wait_for(awaitable, TIMEOUT))

    return run


@pytest.fixture(params=["asyncio", "aioxide"])
def package(request: pytest.FixtureRequest) -> ModuleType:
    """Where a test takes its locks and queues from, whichever loop it runs on."""
    return importlib.import_module(request.param)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "30", *key, *subject, "-out", f"{path}.crt"],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_context(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def join_child_watchers() -> None:
    """Waits for the threads in which stock asyncio waits for child processes: they outlive the end that they told."""
    for thread in threading.enumerate():
        if "waitpid-" in thread.name:
            thread.join(TIMEOUT)


def census() -> Counter[str]:
    """Counts what a test could leave behind."""
    gc.collect()
    counts: Counter[str] = Counter()
    for thing in gc.get_objects():
        # isinstance would ask proxies and mocks for their class
        if issubclass(type(thing), COUNTED):
            counts[type(thing).__name__] += 1
    counts["descriptors"] = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    counts["threads"] = threading.active_count()
    return counts


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenTelemetry's spans that have ended, of a provider that is taken back: a process may set one only once."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter.get_finished_spans
