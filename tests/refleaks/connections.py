"""Transports, servers, TLS, streams, pipes, child processes, sockets, signals and executors."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from . import behaviour, outcome, turns
from .tasks import handles, tasks


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Makes a certificate for localhost, and the contexts of a server and of a client that trusts it."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "certificate.pem")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        command = ["openssl", "req", "-x509", *key, *subject, "-out", f"{path}.crt"]
        subprocess.run(command, check=True, capture_output=True)
        Path(path).write_bytes(Path(path).read_bytes() + Path(f"{path}.crt").read_bytes())
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(path)
        return server, ssl.create_default_context(cafile=path)


class Notes(asyncio.Protocol):
    """Tells when data has come and when the connection is over."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.some, self.lost = loop.create_future(), loop.create_future()
        self.made_at: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.some.done():
            self.some.set_result(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)


class Echo(Notes):
    """Sends back what it is sent."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Buffered(asyncio.BufferedProtocol):
    """Receives into memory of its own."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.some, self.lost = loop.create_future(), loop.create_future()
        self.memory = bytearray(100)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        if not self.some.done():
            self.some.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)


async def talk(loop: Any, address: Any, client: Any = Notes, **options: Any) -> None:
    """Opens connections and ends them in the various ways."""
    for end in ("close", "abort", "write_eof", "reset"):
        transport, protocol = await loop.create_connection(client, *address, **options)
        transport.write(b"hello")
        transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
        await protocol.some
        repr(transport), transport.get_extra_info("peername"), transport.get_extra_info("nothing", 1)
        transport.pause_reading()
        transport.resume_reading()
        transport.set_write_buffer_limits(100, 10)
        transport.get_write_buffer_limits()
        with suppress(TypeError):
            transport.write("text")
        transport.set_protocol(transport.get_protocol())
        if end == "reset":
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.close()
        elif end == "write_eof" and not transport.can_write_eof():
            transport.close()
        else:
            getattr(transport, end)()
        transport.write(b"dropped") if end == "close" else None
        await protocol.lost


@behaviour
async def connections(loop: Any) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    await talk(loop, address)
    await talk(loop, address, Buffered)
    await outcome(loop.create_connection(Notes, *address, happy_eyeballs_delay=0.01, local_addr=("127.0.0.1", 1)))
    server.close()
    await outcome(loop.create_connection(Notes, *address))
    await server.wait_closed()


@behaviour
async def much_data(loop: Any) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    transport, protocol = await loop.create_connection(Notes, *server.sockets[0].getsockname())
    for piece in (b"x" * 2_000_000, bytearray(300_000)):
        transport.write(piece)
        transport.writelines([piece, memoryview(piece)])
    await protocol.some
    transport.abort()
    await protocol.lost
    server.close()
    await server.wait_closed()


@behaviour
async def failing_protocols(loop: Any) -> None:
    class Failing(Notes):
        def data_received(self, data: bytes) -> None:
            raise LookupError

    server = await loop.create_server(Failing, "127.0.0.1", 0)
    transport, protocol = await loop.create_connection(Notes, *server.sockets[0].getsockname())
    transport.write(b"x")
    await protocol.lost
    server.close()
    await server.wait_closed()


@behaviour
async def tls(loop: Any) -> None:
    server_context, client_context = contexts()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
    address = server.sockets[0].getsockname()
    await talk(loop, address, ssl=client_context, server_hostname="localhost")
    await outcome(loop.create_connection(Notes, *address, ssl=True, server_hostname="localhost"))
    await outcome(loop.create_connection(Notes, *address))
    server.close()
    await turns(20)


@behaviour
async def start_tls(loop: Any) -> None:
    server_context, client_context = contexts()
    near, far = socket.socketpair()
    (one, first), (other, second) = await asyncio.gather(
        loop.create_connection(Notes, sock=near), loop.create_connection(Notes, sock=far)
    )
    secure = await asyncio.gather(
        loop.start_tls(one, first, client_context, server_hostname="localhost"),
        loop.start_tls(other, second, server_context, server_side=True),
    )
    secure[0].write(b"secret")
    await second.some
    for transport in secure:
        transport.close()
    await asyncio.gather(first.lost, second.lost)


@behaviour
async def streams(loop: Any) -> None:
    async def handle(reader: Any, writer: Any) -> None:
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    path = os.path.join(tempfile.gettempdir(), f"aioxide-streams-{os.getpid()}")
    for server, connect in (
        (await asyncio.start_server(handle, "127.0.0.1", 0), None),
        (await asyncio.start_unix_server(handle, path), path),
    ):
        if connect is None:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        else:
            reader, writer = await asyncio.open_unix_connection(connect)
        writer.write(b"one\ntwo\n")
        writer.writelines([b"three", b"\n"])
        await reader.readline()
        await reader.readexactly(2)
        await reader.readuntil(b"o")
        reading = loop.create_task(reader.readexactly(1000))
        await turns()
        reading.cancel()
        await outcome(reading)
        writer.write_eof()
        await reader.read()
        await outcome(reader.readexactly(1))
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    os.unlink(path)


@behaviour
async def datagrams(loop: Any) -> None:
    class Datagrams(Notes, asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: Any) -> None:
            self.some.set_result(data)

    receiver, received = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    sender, sent = await loop.create_datagram_endpoint(Datagrams, remote_addr=receiver.get_extra_info("sockname"))
    sender.sendto(b"hello")
    await received.some
    for transport, protocol in ((sender, sent), (receiver, received)):
        transport.close()
        await protocol.lost


@behaviour
async def pipes(loop: Any) -> None:
    read_end, write_end = (os.fdopen(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    reading, reader = await loop.connect_read_pipe(Notes, read_end)
    writing, writer = await loop.connect_write_pipe(Notes, write_end)
    writing.write(b"hello")
    await reader.some
    writing.close()
    await asyncio.gather(reader.lost, writer.lost)
    reading.close()


@behaviour
async def subprocesses(loop: Any) -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert (await process.communicate(b"hello"))[0] == b"hello"
    process = await asyncio.create_subprocess_shell("sleep 100")
    process.kill()
    await process.wait()
    await outcome(asyncio.create_subprocess_exec("/nonexistent"))


@behaviour
async def readers_and_sockets(loop: Any) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        readable = loop.create_future()
        loop.add_reader(near, readable.set_result, None)
        loop.add_reader(near, readable.set_result, None)
        loop.add_writer(far, int)
        far.send(b"x")
        await readable
        loop.remove_reader(near)
        loop.remove_writer(far)
        receiving = loop.create_task(loop.sock_recv(far, 10))
        await loop.sock_sendall(near, b"hello")
        await receiving
        await loop.sock_recv_into(near, bytearray(10))
        given_up = loop.create_task(loop.sock_recv(near, 10))
        await asyncio.sleep(0)
        given_up.cancel()
        await outcome(given_up)
        for wrong in ((), (-1, print), ("text", print)):
            with suppress(TypeError, ValueError):
                loop.add_reader(*wrong)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        (await accepting)[0].close()


@behaviour
async def signals(loop: Any) -> None:
    seen = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, seen.set_result, None)
    os.kill(os.getpid(), signal.SIGUSR1)
    await seen
    loop.remove_signal_handler(signal.SIGUSR1)


@behaviour
async def executors(loop: Any) -> None:
    assert await loop.run_in_executor(None, int) == 0
    await asyncio.to_thread(int)
    await loop.getaddrinfo("127.0.0.1", 80)
    await loop.shutdown_default_executor()


@behaviour
async def generators(loop: Any) -> None:
    async def numbers() -> Any:
        yield 1
        yield 2

    left = numbers()
    await left.__anext__()
    dropped = numbers()
    await dropped.__anext__()
    del dropped
    await turns()
    await loop.shutdown_asyncgens()


@behaviour
async def debug_mode(loop: Any) -> None:
    loop.set_debug(True)
    await turns()
    loop.slow_callback_duration = 1000
    await tasks(loop)
    await handles(loop)
    await connections(loop)
