"""Rows with sockets, pipes and processes: the loop under test serves, the same C client asks."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from . import Factory, case

PROGRAMS = Path(os.environ.get("AIOXIDE_BENCH_PROGRAMS", ""))
CLIENT, TLS_CLIENT = str(PROGRAMS / "echo"), str(PROGRAMS / "tls_echo")
# What a program asks for at a time. From 128 KiB on malloc maps and unmaps each buffer: that would be what is measured.
READ = 1 << 16
Start = Callable[[Any], Awaitable[tuple[str, str]]]


class Echo(asyncio.Protocol):
    """Echoes by a protocol."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Echoes by a buffered protocol."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = bytearray(1 << 18)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(memoryview(self.buffer)[:nbytes]))


class DatagramEcho(asyncio.DatagramProtocol):
    """Echoes datagrams."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def serve_protocol(loop: Any, protocol: Any = Echo, **options: Any) -> tuple[str, str]:
    server = await loop.create_server(protocol, "127.0.0.1", 0, **options)
    return "tcp", str(server.sockets[0].getsockname()[1])


async def serve_unix(loop: Any) -> tuple[str, str]:
    path = os.path.join(tempfile.mkdtemp(prefix="aioxide-bench-"), "socket")
    await loop.create_unix_server(Echo, path)
    return "unix", path


async def serve_datagrams(loop: Any) -> tuple[str, str]:
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
    return "udp", str(transport.get_extra_info("sockname")[1])


async def serve_streams(loop: Any) -> tuple[str, str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return "tcp", str(server.sockets[0].getsockname()[1])


def listener() -> socket.socket:
    # With the protocol spelt out: asyncio sets TCP_NODELAY only on sockets that name it.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(1024)
    made.setblocking(False)
    return made


async def serve_sock(loop: Any) -> tuple[str, str]:
    server, tasks = listener(), set()

    async def handle(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer:
            while data := await loop.sock_recv(peer, READ):
                await loop.sock_sendall(peer, data)

    async def accept() -> None:
        while True:
            peer, _ = await loop.sock_accept(server)
            tasks.add(loop.create_task(handle(peer)))

    tasks.add(loop.create_task(accept()))
    return "tcp", str(server.getsockname()[1])


async def serve_readers(loop: Any) -> tuple[str, str]:
    server = listener()

    def readable(peer: socket.socket) -> None:
        try:
            data = peer.recv(READ)
        except ConnectionResetError:  # the client ends with messages under way
            data = b""
        if data:
            peer.send(data)
        else:
            loop.remove_reader(peer)
            peer.close()

    def accept() -> None:
        peer, _ = server.accept()
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(peer, readable, peer)

    loop.add_reader(server, accept)
    return "tcp", str(server.getsockname()[1])


def asked(factory: Factory, start: Start, command: Callable[[str, str], list[str]]) -> tuple[float, float, float]:
    """Serves while the client runs; returns the round trips, their seconds and the server's CPU seconds."""
    loop = factory()

    async def main() -> tuple[float, float, float]:
        kind, where = await start(loop)
        cpu = time.process_time()
        client = subprocess.Popen(command(kind, where), stdout=subprocess.PIPE, text=True)
        output, _ = await loop.run_in_executor(None, client.communicate)
        if client.returncode:
            raise RuntimeError(f"the client failed: {output}")
        trips, seconds = output.split()
        return float(trips), float(seconds), time.process_time() - cpu

    return loop.run_until_complete(main())


def echo_case(name: str, start: Start, size: int, goal: float | None = None, connections: int = 10) -> None:
    def measure(factory: Factory, seconds: float) -> tuple[float, float, float]:
        return asked(
            factory,
            start,
            lambda kind, where: [CLIENT, "client", kind, where, str(size), str(connections), str(seconds)],
        )

    kind = "unix" if start is serve_unix else "udp" if start is serve_datagrams else "tcp"
    case(name, goal, f"{kind} {size} {connections}")(measure)


echo_case("TCP echo, Protocol, 1 KiB", serve_protocol, 1 << 10, 1.1)
echo_case("TCP echo, Protocol, 10 KiB", serve_protocol, 10 << 10, 1.1)
echo_case("TCP echo, Protocol, 100 KiB", serve_protocol, 100 << 10, 1.1)
echo_case("TCP echo, BufferedProtocol, 10 KiB", lambda loop: serve_protocol(loop, BufferedEcho), 10 << 10, 1.7)
echo_case("TCP echo, streams, 1 KiB", serve_streams, 1 << 10, 1.7)
echo_case("TCP echo, streams, 100 KiB", serve_streams, 100 << 10, 2)
echo_case("TCP echo, sock_recv, 1 KiB", serve_sock, 1 << 10, 2.8)
echo_case("TCP echo, sock_recv, 100 KiB", serve_sock, 100 << 10)
echo_case("TCP echo, add_reader, 1 KiB", serve_readers, 1 << 10, 1.1)
echo_case("UNIX echo, Protocol, 1 KiB", serve_unix, 1 << 10, 1.2)
echo_case("UDP echo, 1 KiB", serve_datagrams, 1 << 10, 1.5, connections=5)


@case("accept rate", 1.1, "connect")
def accept_rate(factory: Factory, seconds: float) -> tuple[float, float, float]:
    return asked(factory, serve_protocol, lambda kind, where: [CLIENT, "connect", kind, where, str(seconds)])


def connecting(
    factory: Factory, seconds: float, connect: Callable[[Any, int], Awaitable[None]]
) -> tuple[float, float, float]:
    """Connects to the minimal C server and closes, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = subprocess.Popen([CLIENT, "server", "tcp", str(port)], stdout=subprocess.PIPE)

    async def work(loop: Any) -> int:
        for _ in range(100):
            await connect(loop, port)
        return 100

    try:
        assert server.stdout is not None
        server.stdout.readline()
        return timed(factory, seconds, work)
    finally:
        server.kill()
        server.communicate()


@case("connect rate")
def connect_rate(factory: Factory, seconds: float) -> tuple[float, float, float]:
    async def connect(loop: Any, port: int) -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        transport.close()

    return connecting(factory, seconds, connect)


@case("connect rate, sock_connect")
def sock_connect_rate(factory: Factory, seconds: float) -> tuple[float, float, float]:
    """Connects as aiohttp and happy eyeballs do, with a socket made in Python; no transport."""

    async def connect(loop: Any, port: int) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", port))

    return connecting(factory, seconds, connect)


def certificate(folder: Path) -> str:
    """Makes a certificate for localhost; its key is in the same file."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    both = folder / "both"
    both.write_bytes((folder / "key").read_bytes() + (folder / "crt").read_bytes())
    return str(both)


def tls_case(name: str, size: int, goal: float, connections: int = 10) -> None:
    def measure(factory: Factory, seconds: float) -> tuple[float, float, float]:
        path = certificate(PROGRAMS)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return asked(
            factory,
            lambda loop: serve_protocol(loop, ssl=context),
            lambda _, where: [TLS_CLIENT, "client", where, path, str(size), str(connections), str(seconds)],
        )

    case(name, goal, f"tls {size} {connections}")(measure)


tls_case("TLS echo, 1 KiB", 1 << 10, 2.2)
tls_case("TLS echo, 100 KiB", 100 << 10, 2)


def timed(factory: Factory, seconds: float, work: Callable[[Any], Awaitable[int]]) -> tuple[float, float, float]:
    """Awaits ``work`` again and again for a time."""
    loop = factory()

    async def main() -> tuple[float, float, float]:
        operations, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            operations += await work(loop)
        return operations, time.perf_counter() - start, time.process_time() - cpu

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


class Received(asyncio.Protocol):
    """Counts what comes out of a pipe."""

    def __init__(self) -> None:
        self.waiter: Any = None
        self.left = 0

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left <= 0 and not self.waiter.done():
            self.waiter.set_result(None)


@case("pipe echo, 1 KiB", 1.0)
def pipe_echo(factory: Factory, seconds: float) -> tuple[float, float, float]:
    async def work(loop: Any) -> int:
        reading, writing = os.pipe()
        reader, received = await loop.connect_read_pipe(Received, os.fdopen(reading, "rb", 0))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
        for _ in range(1000):
            received.waiter, received.left = loop.create_future(), 1024
            writer.write(b"x" * 1024)
            await received.waiter
        writer.close()
        reader.close()
        return 1000

    return timed(factory, seconds, work)


@case("subprocess: true", 4)
def subprocess_true(factory: Factory, seconds: float) -> tuple[float, float, float]:
    program = shutil.which("true") or "true"

    async def work(loop: Any) -> int:
        await (await asyncio.create_subprocess_exec(program)).wait()
        return 1

    return timed(factory, seconds, work)


@case("subprocess: cat", 4)
def subprocess_cat(factory: Factory, seconds: float) -> tuple[float, float, float]:
    program = shutil.which("cat") or "cat"

    async def work(loop: Any) -> int:
        process = await asyncio.create_subprocess_exec(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        await process.communicate(b"x" * 10_000)
        return 1

    return timed(factory, seconds, work)


@case("uvicorn plaintext")
def uvicorn_plaintext(factory: Factory, seconds: float) -> tuple[float, float, float]:
    import uvicorn

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"Hello, world!"})

    async def start(loop: Any) -> tuple[str, str]:
        config = uvicorn.Config(application, log_level="critical", lifespan="off", access_log=False)
        server = uvicorn.Server(config)
        made = listener()
        loop.create_task(server.serve(sockets=[made]))
        while not server.started:
            await asyncio.sleep(0.01)
        return "tcp", str(made.getsockname()[1])

    return asked(factory, start, lambda kind, where: [CLIENT, "http", kind, where, "10", str(seconds)])
