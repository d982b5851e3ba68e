"""aiofastnet: transports of its own over `add_reader` and `add_writer`, which aiohttp's speed-ups are made of."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiofastnet
import pytest


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(asyncio.Protocol):
    """Collects what comes, and tells when there is enough of it and when all is over."""

    def __init__(self, wanted: int) -> None:
        loop = asyncio.get_running_loop()
        self.data, self.wanted = bytearray(), wanted
        self.complete, self.lost = loop.create_future(), loop.create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.wanted and not self.complete.done():
            self.complete.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    path: Path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", "req", "-x509", *key, *subject, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("theirs", ["both", "client", "server"])
def test_data_both_ways(run: Any, contexts: Any, secure: bool, theirs: str) -> None:
    """Also one end of theirs and one of the loop's own."""
    data = bytes(range(256)) * 8000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        serve = {"ssl": contexts[0]} if secure else {}
        connect = {"ssl": contexts[1], "server_hostname": "localhost"} if secure else {}
        if theirs == "client":
            server = await loop.create_server(Echo, "127.0.0.1", 0, **serve)
        else:
            server = await aiofastnet.create_server(loop, Echo, "127.0.0.1", 0, **serve)
        address = server.sockets[0].getsockname()

        async def one() -> None:
            def factory() -> Client:
                return Client(len(data))

            if theirs == "server":
                transport, client = await loop.create_connection(factory, *address, **connect)
            else:
                transport, client = await aiofastnet.create_connection(loop, factory, *address, **connect)
            for start in range(0, len(data), 100_000):
                transport.write(data[start : start + 100_000])
            await client.complete
            assert bytes(client.data) == data
            transport.close()
            await client.lost

        await asyncio.gather(*[one() for _ in range(5)])
        server.close()
        await server.wait_closed()

    run(main())
