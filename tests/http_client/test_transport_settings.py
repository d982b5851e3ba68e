"""What httpx's transports take, through `aioxide.http.Transport`, beside httpx's own."""

from __future__ import annotations

import asyncio
import base64
import importlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, echo, serving, web
from .test_ssl_contexts import Authority, looking, own_certificate, trusting
from .test_ssl_contexts import serving as secured

httpx: Any = None
LIBRARIES = ["httpx", "httpx2"]


@pytest.fixture(params=[(library, kind) for library in LIBRARIES for kind in ("own", "ours")])
def make(request: pytest.FixtureRequest) -> Any:
    """A library's own transport or aioxide's, and what runs it."""
    global httpx  # noqa: PLW0603
    library, kind = request.param
    httpx = pytest.importorskip(library)
    if kind == "ours":
        return importlib.import_module("aioxide.http").Transport
    pytest.importorskip("anyio")
    return httpx.AsyncHTTPTransport


def run(make: Any, main: Any) -> None:
    if make is httpx.AsyncHTTPTransport:
        asyncio.run(main)
    else:
        import aioxide

        aioxide.run(main)


async def get(make: Any, url: str, extensions: Any = None, **settings: Any) -> Any:
    async with httpx.AsyncClient(transport=make(**settings)) as client:
        return (await client.get(url, extensions=extensions)).json()


def test_verify(make: Any, authority: Authority) -> None:
    async def main() -> None:
        async with looking(authority[1]) as url:
            for verify in (True, ssl.create_default_context()):
                with pytest.raises(httpx.ConnectError):
                    await get(make, url, verify=verify)
            for verify in (False, trusting(authority)):
                assert (await get(make, url, verify=verify))["version"] == "TLSv1.3"
            other_name = url.replace("localhost", "127.0.0.1")
            with pytest.raises(httpx.ConnectError):
                await get(make, other_name, verify=trusting(authority))
            assert await get(make, other_name, {"sni_hostname": "localhost"}, verify=trusting(authority))

    run(make, main())


@pytest.mark.filterwarnings("ignore:.*verify=<str>:DeprecationWarning")
def test_verify_by_path(ours: Client, authority: Authority, tmp_path: Path) -> None:
    global httpx  # noqa: PLW0603
    httpx = pytest.importorskip("httpx")
    (tmp_path / "ca.pem").write_bytes(authority[0].read_bytes())

    async def main() -> None:
        async with looking(authority[1]) as url:
            for path in (str(authority[0]), tmp_path):
                assert await get(ours.http.Transport, url, verify=path)
        with pytest.raises(TypeError, match="verify is True"):
            ours.http.Transport(verify=1.5)

    run(ours.http.Transport, main())


@pytest.mark.filterwarnings("ignore:.*cert=:DeprecationWarning")
def test_cert(make: Any, authority: Authority, tmp_path: Path) -> None:
    chain, key = own_certificate(tmp_path, authority[0])
    both = tmp_path / "both.pem"
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    server = secured(authority)
    server.verify_mode = ssl.CERT_REQUIRED

    async def main() -> None:
        async with looking(server) as url:
            with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
                await get(make, url, verify=trusting(authority))
            for cert in ((str(chain), str(key)), str(both), (str(chain), str(key), None)):
                verify = trusting(authority)
                assert (await get(make, url, verify=verify, cert=cert))["client"] == "somebody"

    run(make, main())


def test_cert_with_a_password_is_refused(ours: Client, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
    path = str(tmp_path / "key")
    for cert in ((path, path, "secret"), (path, path), path):
        with pytest.raises(ValueError, match="decrypt it first"):
            ours.http.Transport(cert=cert)


@asynccontextmanager
async def forwarding(wanted: str | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that passes everything on to where the first request names; what it was asked for."""
    heads: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        if wanted is not None and base64.b64encode(wanted.encode()) not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        method, target, _ = head.split(b" ", 2)
        authority = target if method == b"CONNECT" else target.split(b"/")[2]
        host, port = authority.decode().rsplit(":", 1)
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            there_writer.write(head.replace(b"http://" + authority, b"", 1))
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()


def test_proxy(make: Any, authority: Authority) -> None:
    async def main() -> None:
        async with (
            looking(authority[1]) as secure_url,
            serving(web.get("/a", echo)) as url,
            forwarding("me:secret") as (address, heads),
        ):
            for proxy in (
                f"http://me:secret@{address}",
                httpx.URL(f"http://me:secret@{address}"),
                httpx.Proxy(f"http://{address}", auth=("me", "secret"), headers={"X-Own": "1"}),
            ):
                assert (await get(make, f"{url}/a", proxy=proxy))["path"] == "/a"
                assert heads[-1].startswith(f"GET {url}/a HTTP/1.1\r\n".encode())
                assert (await get(make, secure_url, proxy=proxy, verify=trusting(authority)))["version"] == "TLSv1.3"
                assert heads[-1].startswith(b"CONNECT localhost:")
            assert b"x-own: 1" in heads[-1].lower()
            with pytest.raises(httpx.ProxyError, match="407"):
                await get(make, secure_url, proxy=f"http://{address}", verify=False)
            with pytest.raises(ValueError, match="Unknown scheme for proxy URL"):
                make(proxy="ftp://127.0.0.1:1")

    run(make, main())


def test_socket_options(make: Any) -> None:
    found: list[int] = []

    async def main() -> None:
        async with serving(web.get("/a", echo)) as url:
            options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)]
            async with httpx.AsyncClient(transport=make(socket_options=options)) as client:
                await client.get(f"{url}/a")
                port = int(url.rpartition(":")[2])
                found.extend(_idle_times(port))

    run(make, main())
    assert 77 in found


def _idle_times(port: int) -> list[int]:
    """Of this process's connections to a port."""
    import os

    times = []
    for name in os.listdir("/proc/self/fd"):
        try:
            one = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with one:
            try:
                if one.getpeername()[1] == port:
                    times.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
            except (OSError, IndexError, TypeError):
                continue
    return times


def test_socket_option_that_the_system_refuses(ours: Client) -> None:
    async def main(http: Any, url: str) -> None:
        connector = http.TCPConnector(socket_options=[(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, -1)])
        async with http.ClientSession(connector=connector) as session:
            with pytest.raises(http.ClientConnectorError) as caught:
                await session.get(url)
            assert caught.value.errno == 22
        with pytest.raises(ValueError, match="level, option, value"):
            http.TCPConnector(socket_options=[(1, 2)])
        with pytest.raises(ValueError, match="socket_options="):
            http.TCPConnector(socket_factory=lambda _info: socket.socket())

    ours.run(main)


def test_wait_for_a_place_is_a_time_out_of_its_own(make: Any) -> None:
    async def slow(_request: Any) -> Any:
        await asyncio.sleep(1)
        return web.Response()

    async def main() -> None:
        async with serving(web.get("/a", slow)) as url:
            limits = httpx.Limits(max_connections=1)
            timeout = httpx.Timeout(5, pool=0.1)
            async with httpx.AsyncClient(transport=make(limits=limits), timeout=timeout) as client:
                first = asyncio.ensure_future(client.get(f"{url}/a"))
                await asyncio.sleep(0.05)
                with pytest.raises(httpx.PoolTimeout):
                    await client.get(f"{url}/a")
                await first

    run(make, main())
