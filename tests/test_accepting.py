"""Accepted connections: their addresses and their socket's options, whatever the listening socket is."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

COUNT = 4


class Server(asyncio.Protocol):
    """Notes what each connection is told of its socket."""

    def __init__(self, found: list[Any], wanted: int, done: asyncio.Future[None]) -> None:
        self.found, self.wanted, self.done = found, wanted, done

    def connection_made(self, transport: Any) -> None:
        shown = transport.get_extra_info("socket")
        no_delay = shown.family == socket.AF_UNIX or shown.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        names = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self.found.append((no_delay, *names, names == (shown.getsockname(), shown.getpeername())))
        transport.close()
        if len(self.found) == self.wanted:
            self.done.set_result(None)


async def accepted(listener: socket.socket, before: list[socket.socket], connect_to: Any) -> list[Any]:
    """Returns what connections find that come before the server serves, with it and after it has turned a few times."""
    loop = asyncio.get_running_loop()
    found: list[Any] = []
    done = loop.create_future()
    wanted = len(before) + 2 * COUNT
    create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
    server = await create(lambda: Server(found, wanted, done), sock=listener)
    clients = before
    try:
        for _ in range(2):
            for _ in range(COUNT):
                client = socket.socket(listener.family)
                clients.append(client)
                client.connect(connect_to)
            for _ in range(5):
                await asyncio.sleep(0)
        await done
    finally:
        for client in clients:
            client.close()
        server.close()
        await server.wait_closed()
    return found


def waiting(listener: socket.socket, connect_to: Any) -> list[socket.socket]:
    clients = [socket.socket(listener.family) for _ in range(COUNT)]
    for client in clients:
        client.connect(connect_to)
    return clients


@pytest.mark.parametrize(
    ("host", "to"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("::1", "::1"), ("::", "::1")],
)
@pytest.mark.parametrize("early", [True, False])
def test_over_tcp(run: Any, host: str, to: str, early: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if ":" in host:
        try:
            socket.create_server(("::1", 0), family=family).close()
        except OSError:
            pytest.skip("no IPv6 here")
    # asyncio sets the option where the protocol is named, as it is for the sockets that it makes itself.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((host, 0))
    listener.listen()
    address = (to, listener.getsockname()[1])
    found = run(accepted(listener, waiting(listener, address) if early else [], address))
    assert len(found) == (3 if early else 2) * COUNT
    for no_delay, sockname, peername, right in found:
        assert no_delay
        assert right
        assert sockname[:2] == address
        assert peername[0] == to or to == "127.0.0.2"


@pytest.mark.parametrize("early", [True, False])
def test_over_unix(run: Any, tmp_path: Path, early: bool) -> None:
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    found = run(accepted(listener, waiting(listener, path) if early else [], path))
    assert {entry[:3] for entry in found} == {(True, path, "")}
