"""TLS: what `ssl=` may be."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client, echo, serving


@asynccontextmanager
async def secure(context: ssl.SSLContext) -> AsyncIterator[str]:
    async with serving(web.get("/", echo), context=context) as url:
        yield f"{url}/"


def test_certificate_of_nobody_is_refused_unless_told(client: Client, server_context: ssl.SSLContext) -> None:
    async def main(http: ModuleType, _url: str) -> None:
        async with secure(server_context) as url:
            async with http.ClientSession() as session:
                with pytest.raises(http.ClientConnectorCertificateError) as caught:
                    await session.get(url)
                assert isinstance(caught.value, ssl.CertificateError)
                assert caught.value.host == "localhost"
                async with session.get(url, ssl=False) as response:
                    assert response.status == 200
                # What one request was told is not for the others, over whatever connection.
                with pytest.raises(http.ClientConnectorCertificateError):
                    await session.get(url)
            async with http.ClientSession(connector=http.TCPConnector(ssl=False)) as session:
                async with session.get(url) as response:
                    assert response.status == 200

    client.run(main)


def test_context_with_the_authority_is_enough(client: Client, authority: tuple[Path, ssl.SSLContext]) -> None:
    client_context = ssl.create_default_context(cafile=str(authority[0]))

    async def main(http: ModuleType, _url: str) -> None:
        async with secure(authority[1]) as url, http.ClientSession() as session:
            async with session.get(url, ssl=client_context) as response:
                assert response.status == 200
            # The certificate is for localhost alone.
            with pytest.raises(http.ClientConnectorCertificateError):
                await session.get(url.replace("localhost", "127.0.0.1"), ssl=client_context)
            async with session.get(
                url.replace("localhost", "127.0.0.1"), ssl=client_context, server_hostname="localhost"
            ) as response:
                assert response.status == 200

    client.run(main)


def test_fingerprint(client: Client, server_context: ssl.SSLContext, certificate: Path) -> None:
    pem = certificate.read_text()
    begin = pem.index("-----BEGIN CERTIFICATE")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[begin:])).digest()

    async def main(http: ModuleType, _url: str) -> None:
        async with secure(server_context) as url, http.ClientSession() as session:
            async with session.get(url, ssl=http.Fingerprint(digest)) as response:
                assert response.status == 200
            with pytest.raises(http.ServerFingerprintMismatch) as caught:
                await session.get(url, ssl=http.Fingerprint(bytes(32)))
            assert (caught.value.expected, caught.value.got) == (bytes(32), digest)
            async with http.ClientSession(connector=http.TCPConnector(ssl=http.Fingerprint(bytes(32)))) as other:
                with pytest.raises(http.ServerFingerprintMismatch) as caught:
                    await other.get(url)
                assert (caught.value.expected, caught.value.got) == (bytes(32), digest)
            assert caught.value.host == ("localhost" if client.is_ours else "127.0.0.1")

    client.run(main)


def test_what_cannot_be_taken_over_is_refused(ours: Client) -> None:
    async def main(http: ModuleType, _url: str) -> None:
        checking = ssl.create_default_context()
        checking.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        async with http.ClientSession() as session:
            with pytest.raises(ValueError, match="revoked"):
                await session.get("https://127.0.0.1:1/", ssl=checking)
            with pytest.raises(TypeError, match="SSLContext"):
                await session.get("https://127.0.0.1:1/", ssl="yes")
            for digest in (b"x", bytes(16), bytes(20)):
                with pytest.raises(ValueError, match=r"md5|length"):
                    http.Fingerprint(digest)

    ours.run(main)


def test_many_connections_at_once(client: Client, server_context: ssl.SSLContext) -> None:
    async def main(http: ModuleType, _url: str) -> None:
        async with secure(server_context) as url, http.ClientSession() as session:

            async def one() -> Any:
                async with session.get(url, ssl=False) as response:
                    return await response.json()

            assert len(await asyncio.gather(*(one() for _ in range(20)))) == 20

    client.run(main)
