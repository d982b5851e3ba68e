"""What puts load on the servers: wrk for HTTP, and plain sockets that send one message after the other."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Callable

CONNECTIONS = 32
MESSAGE = b"x" * 99 + b"\n"
# Runs the load for some seconds on a port; returns how many operations were done.
Load = Callable[[int, float], int]


def wrk(port: int, seconds: float) -> int:
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is needed to put load on HTTP servers: apt-get install wrk")
    # It takes whole seconds only: shorter runs are cut off, which it answers with its report.
    command = [program, "-t1", f"-c{CONNECTIONS}", f"-d{int(seconds) + 1}s", f"http://127.0.0.1:{port}/"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(2)
    report, _ = process.communicate()
    found = re.search(r"(\d+) requests in", report)
    if found is None or "Non-2xx" in report:
        raise RuntimeError(f"wrk failed:\n{report}")
    return int(found[1])


def lines(port: int, seconds: float) -> int:
    """Each connection sends a line of 100 bytes and waits for it to come back."""
    return echo(port, seconds, b"", MESSAGE, len(MESSAGE))


def websocket(port: int, seconds: float) -> int:
    """The same with messages of WebSocket."""
    handshake = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(MESSAGE))
    frame = bytes([0x82, 0x80 | len(MESSAGE)]) + mask + masked
    return echo(port, seconds, handshake.encode(), frame, len(MESSAGE) + 2)


def echo(port: int, seconds: float, handshake: bytes, message: bytes, answer_bytes: int) -> int:
    """Sends a message on each of many connections, and the next one when its answer has come; returns how many came."""
    count = 0
    with selectors.EpollSelector() as selector:
        connections = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connections.append(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if handshake:
                connection.sendall(handshake)
                while not connection.recv(4096).endswith(b"\r\n\r\n"):
                    pass
            selector.register(connection, selectors.EVENT_READ, [answer_bytes])
            connection.sendall(message)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for key, _ in selector.select(1):
                received = len(key.fileobj.recv(65536))  # type: ignore[union-attr]
                if not received:
                    raise RuntimeError("the server has closed a connection")
                key.data[0] -= received
                if not key.data[0]:
                    count += 1
                    key.data[0] = answer_bytes
                    key.fileobj.sendall(message)  # type: ignore[union-attr]
        for connection in connections:
            connection.close()
    return count


LOADS: dict[str, Load] = {
    "uvicorn plaintext": wrk,
    "FastAPI JSON": wrk,
    "aiohttp server": wrk,
    "websockets server": websocket,
    "streams line server": lines,
}
