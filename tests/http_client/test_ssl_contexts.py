"""An `ssl.SSLContext`: what it asks for is done, or refused; never less than it asks for."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client
from .conftest import serving as site

Authority = tuple[Path, ssl.SSLContext]


async def look(request: Any) -> Any:
    """Answers with what was agreed on."""
    found = request.transport.get_extra_info("ssl_object")
    peer = found.getpeercert()
    return web.json_response(
        {
            "cipher": found.cipher()[0],
            "version": found.version(),
            "protocol": found.selected_alpn_protocol(),
            "client": None if not peer else peer["subject"][0][0][1],
            "is_resumed": found.session_reused,
        }
    )


@asynccontextmanager
async def looking(context: ssl.SSLContext) -> AsyncIterator[str]:
    async with site(web.get("/", look), context=context) as url:
        yield f"{url}/"


async def seen(http: ModuleType, url: str, context: Any, count: int = 1, **options: Any) -> Any:
    async with http.ClientSession(connector=http.TCPConnector(force_close=True, **options)) as session:
        for _ in range(count):
            async with session.get(url, ssl=context) as response:
                found = await response.json()
        return found


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority[0]))


def serving(authority: Authority) -> ssl.SSLContext:
    """A context for a server, which a test may change."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority[0]))
    context.load_cert_chain(authority[0].with_name("server.pem"), authority[0].with_name("server.key"))
    return context


def own_certificate(folder: Path, authority: Path) -> tuple[Path, Path]:
    """A client's certificate of the authority, and its key."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=somebody"]
    (folder / "extensions").write_text("basicConstraints=CA:FALSE\n")
    by = [
        "-extfile",
        "extensions",
        "-CA",
        str(authority),
        "-CAkey",
        str(authority.with_name("ca.key")),
        "-CAcreateserial",
    ]
    for command in (
        ["req", *key, "-keyout", "client.key", "-out", "client.csr"],
        ["x509", "-req", "-in", "client.csr", *by, "-out", "client.pem"],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=folder)
    return folder / "client.pem", folder / "client.key"


def test_suites_and_versions_are_the_contexts(client: Client, authority: Authority) -> None:
    only = trusting(authority)
    only.maximum_version = ssl.TLSVersion.TLSv1_2
    only.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    newest = trusting(authority)
    newest.minimum_version = ssl.TLSVersion.TLSv1_3

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            found = await seen(http, url, only)
            assert (found["cipher"], found["version"]) == ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2")
            assert (await seen(http, url, newest))["version"] == "TLSv1.3"

    client.run(main)


def test_curve_is_the_contexts(client: Client, authority: Authority) -> None:
    server = serving(authority)
    server.set_ecdh_curve("secp384r1")
    same, other = trusting(authority), trusting(authority)
    same.set_ecdh_curve("secp384r1")
    other.set_ecdh_curve("prime256v1")

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(server) as url:
            assert await seen(http, url, same)
            with pytest.raises(http.ClientConnectorError):
                await seen(http, url, other)

    client.run(main)


def test_protocols_of_alpn_are_the_contexts(client: Client, authority: Authority) -> None:
    server = serving(authority)
    server.set_alpn_protocols(["h2", "http/1.1"])
    only = trusting(authority)
    only.set_alpn_protocols(["http/1.1"])

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(server) as url:
            assert (await seen(http, url, only))["protocol"] == "http/1.1"

    client.run(main)


def test_secrets_are_logged_where_the_context_says(
    client: Client, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = trusting(authority)
    context.keylog_filename = str(tmp_path / "context")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "environment"))
    by_environment = trusting(authority)

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            await seen(http, url, context)
            assert len(lines_of("context")) > 0
            await seen(http, url, by_environment)
            assert len(lines_of("environment")) > 0

    def lines_of(name: str) -> list[str]:
        lines = (tmp_path / name).read_text().splitlines()
        return [line for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0 ") and len(line.split()) == 3]

    client.run(main)


def test_environment_logs_secrets_without_a_context(
    ours: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "log"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            await seen(http, url, True)
            assert "CLIENT_TRAFFIC_SECRET_0 " in (tmp_path / "log").read_text()

    ours.run(main)


def test_no_session_is_taken_up_again_without_tickets(ours: Client, authority: Authority) -> None:
    context = trusting(authority)
    context.options |= ssl.OP_NO_TICKET

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            assert (await seen(http, url, trusting(authority), 3))["is_resumed"]
            assert not (await seen(http, url, context, 3))["is_resumed"]

    ours.run(main)


def test_own_certificate_is_shown_or_refused(client: Client, authority: Authority, tmp_path: Path) -> None:
    chain, key = own_certificate(tmp_path, authority[0])
    server = serving(authority)
    server.verify_mode = ssl.CERT_REQUIRED
    having = trusting(authority)
    having.load_cert_chain(chain, key)

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(server) as url:
            with pytest.raises(http.ClientError):
                await seen(http, url, trusting(authority))
            if not client.is_ours:
                assert (await seen(http, url, having))["client"] == "somebody"
                return
            with pytest.raises(ValueError, match=r"client_certificate=\(chain_pem, key_pem\)"):
                await seen(http, url, having)
            pair = (chain.read_bytes(), key.read_bytes())
            for context in (having, trusting(authority)):
                assert (await seen(http, url, context, client_certificate=pair))["client"] == "somebody"

    client.run(main)


def _certificate_of_its_own(kind: str) -> Callable[[ssl.SSLContext, Path], None]:
    def change(context: ssl.SSLContext, folder: Path) -> None:
        command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=me", "-keyout", "k", "-out", "c", "-newkey"]
        subprocess.run([*command, *kind.split()], check=True, capture_output=True, cwd=folder)
        context.load_cert_chain(folder / "c", folder / "k")

    return change


def _leaf(context: ssl.SSLContext, folder: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-subj",
        "/CN=leaf",
        "-keyout",
        "k",
        "-out",
        "c",
        "-newkey",
        "ed25519",
    ]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    # The platform may have one such itself, which is not counted.
    context.load_verify_locations(folder / "c")


class _Own(ssl.SSLContext):
    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*arguments, **options)


def _psk(context: ssl.SSLContext, _folder: Path) -> None:
    context.set_psk_client_callback(lambda _hint: ("me", b"0123456789abcdef"))  # type: ignore[attr-defined]


REFUSED: dict[str, tuple[str, Callable[[ssl.SSLContext, Path], Any]]] = {
    "rsa": (r"load_cert_chain", _certificate_of_its_own("rsa:2048")),
    "ed25519": (r"load_cert_chain", _certificate_of_its_own("ed25519")),
    "p521": (r"load_cert_chain", _certificate_of_its_own("ec -pkeyopt ec_paramgen_curve:secp521r1")),
    "crl": ("revoked", lambda context, _: setattr(context, "verify_flags", ssl.VERIFY_CRL_CHECK_CHAIN)),
    "old version": ("TLSv1_1", lambda context, _: _of_versions(context, ssl.TLSVersion.TLSv1_1)),
    "no version": ("no protocols available", lambda context, _: _without_versions(context)),
    "ciphers": ("ciphers are none", lambda context, _: _without_suites(context)),
    "alpn": ("set_alpn_protocols", lambda context, _: context.set_alpn_protocols(["spdy/3", "http/1.1"])),
    "only h2": ("set_alpn_protocols", lambda context, _: context.set_alpn_protocols(["h2"])),
    "curve": ("curves are none", lambda context, _: context.set_ecdh_curve("secp521r1")),
    "level": ("security level 3", lambda context, _: context.set_ciphers("DEFAULT:@SECLEVEL=3")),
    "leaf": ("no authorities", _leaf),
}
if sys.version_info >= (3, 13):
    REFUSED["psk"] = ("pre-shared key", _psk)
else:
    REFUSED["strict"] = ("X509_STRICT", lambda context, _: setattr(context, "verify_flags", ssl.VERIFY_X509_STRICT))


def _of_versions(context: ssl.SSLContext, newest: ssl.TLSVersion) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = newest


def _without_versions(context: ssl.SSLContext) -> None:
    context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3


def _without_suites(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")


@pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused(ours: Client, authority: Authority, tmp_path: Path, name: str) -> None:
    message, change = REFUSED[name]
    context = trusting(authority)
    change(context, tmp_path)

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            for _ in range(2):
                with pytest.raises(ValueError, match=message):
                    await seen(http, url, context)

    ours.run(main)


def test_contexts_that_are_none_for_a_client_are_refused(ours: Client) -> None:
    async def main(http: ModuleType, _url: str) -> None:
        for context, message in (
            (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "PROTOCOL_TLS_SERVER"),
            (_Own(ssl.PROTOCOL_TLS_CLIENT), "_Own shakes hands"),
            (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "trusts no authority"),
        ):
            with pytest.raises(ValueError, match=message):
                await seen(http, "https://localhost:1/", context)

    ours.run(main)


def test_authorities_of_a_folder_are_not_the_platforms(ours: Client, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority[0].read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(capath=str(tmp_path))

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            with pytest.raises(ValueError, match="capath"):
                await seen(http, url, context)

    ours.run(main)


def test_platforms_folder_is_found(ours: Client, authority: Authority, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "ca.pem").write_bytes(authority[0].read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_default_verify_paths()
    assert context.get_ca_certs() == []

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            assert (await seen(http, url, context))["version"] == "TLSv1.3"

    ours.run(main)


def test_context_is_not_changed_by_the_look(ours: Client, authority: Authority) -> None:
    context = trusting(authority)

    def state() -> tuple[Any, ...]:
        return (
            context.verify_mode,
            context.check_hostname,
            context.options,
            context.get_ca_certs(),
            context.verify_flags,
        )

    before = state()

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(authority[1]) as url:
            await seen(http, url, context)

    ours.run(main)
    assert state() == before


def test_intermediate_alone_is_trusted_only_where_the_context_says_so(
    client: Client, authority: Authority, tmp_path: Path
) -> None:
    """A certificate that another authority has signed is no root."""
    ca, key = str(authority[0]), str(authority[0].with_name("ca.key"))
    (tmp_path / "middle.ext").write_text(
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n"
    )
    (tmp_path / "leaf.ext").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    signed = "x509 -req -CAcreateserial"
    for command in (
        f"req {new} -subj /CN=middle -keyout middle.key -out middle.csr",
        f"{signed} -in middle.csr -CA {ca} -CAkey {key} -extfile middle.ext -out middle.pem",
        f"req {new} -subj /CN=localhost -keyout leaf.key -out leaf.csr",
        f"{signed} -in leaf.csr -CA middle.pem -CAkey middle.key -extfile leaf.ext -out leaf.pem",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")

    def context(*, partial: bool) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(tmp_path / "middle.pem")
        if partial:
            made.verify_flags |= 0x80000
        return made

    async def main(http: ModuleType, _url: str) -> None:
        async with looking(server) as url:
            assert await seen(http, url, context(partial=True))
            with pytest.raises(ValueError if client.is_ours else http.ClientConnectorCertificateError):
                await seen(http, url, context(partial=False))

    client.run(main)
