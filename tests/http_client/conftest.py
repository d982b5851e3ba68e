"""The clients under test, and a server for them: aiohttp's own."""

from __future__ import annotations

import asyncio
import importlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# aiohttp is the server of these tests, and the client to compare with.
web = pytest.importorskip("aiohttp.web")

TIMEOUT = 20.0


class Client:
    """A client library and a loop for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_ours = name == "aioxide.http"
        self.http: ModuleType = importlib.import_module(name)

    def run(self, main: Callable[[ModuleType, str], Awaitable[Any]], *routes: Any) -> Any:
        """Runs `main(http, url)` beside a server with these routes."""

        async def whole() -> Any:
            async with serving(*routes) as url:
                return await asyncio.wait_for(main(self.http, url), TIMEOUT)

        if self.is_ours:
            import aioxide

            return aioxide.run(whole())
        return run_on_stock(whole())


def run_on_stock(main: Awaitable[Any]) -> Any:
    """Runs it on a loop of asyncio's own (Python 3.10 has no `asyncio.Runner`)."""
    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@asynccontextmanager
async def serving(*routes: Any, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server with these routes, over TLS with a context; its URL without a slash at the end."""
    app = web.Application()
    app.router.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        # Certificates are for the name.
        start = "https://localhost" if context else "http://127.0.0.1"
        yield f"{start}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(params=["aiohttp", "aioxide.http"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


@pytest.fixture
def ours() -> Client:
    """aioxide.http alone, for what aiohttp does not have or does in another way."""
    return Client("aioxide.http")


async def echo(request: Any) -> Any:
    """Answers with what came."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": [[name.title(), value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The certificate of an authority, and a server's context with one for localhost that it has signed."""
    folder = tmp_path_factory.mktemp("authority")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    # From 3.13 on Python demands what the authority's key may do, and whose key has signed.
    subject = ["-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign"]
    (folder / "extensions").write_text(
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
    )
    signing = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out server.pem"
    for command in (
        ["req", "-x509", "-days", "30", *key, *subject, "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        signing.split(),
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return folder / "ca.pem", context
