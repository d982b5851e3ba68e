"""`sock_connect`: what a program sees of it is asyncio's, whatever the socket and the address are."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
TCP_SYN_SENT = 2
HOSTS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def made(family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    sock.setblocking(False)
    return sock


@pytest.fixture(params=HOSTS)
def listener(request: Any) -> Iterator[socket.socket]:
    with socket.create_server((request.param, 0), family=family_of(request.param), backlog=100) as listening:
        yield listening


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address at which connecting stays under way: nobody accepts, and no more can wait for it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        fillers = [made() for _ in range(3)]
        for filler in fillers:
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()
        for filler in fillers:
            filler.close()


def spellings(address: Any) -> list[Any]:
    host, port, *rest = address
    return [
        address,
        list(address),
        (host, port),
        (host, str(port)),
        (host, str(port).encode()),
        (host.encode(), port),
        ("localhost", port) if host == "127.0.0.1" else (host, port, 0),
        (host, port, *rest, 0)[:4] if rest else (host, True + port - 1),
    ]


@pytest.mark.parametrize("which", range(8))
def test_every_spelling_of_an_address(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket, which: int
) -> None:
    async def main() -> None:
        with made(listener.family) as sock:
            await loop.sock_connect(sock, spellings(listener.getsockname())[which])
            assert sock.getpeername() == listener.getsockname()
            assert loop.remove_writer(sock) is False
            listener.accept()[0].close()

    run(main())


def test_each_step_has_its_iteration(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        iteration = 0

        def tick() -> None:
            nonlocal iteration
            iteration += 1
            ticking[0] = loop.call_soon(tick)

        ticking = [loop.call_soon(tick)]
        with made(listener.family) as sock, made(listener.family, socket.SOCK_DGRAM) as datagrams:
            begin = iteration
            await loop.sock_connect(datagrams, listener.getsockname())
            assert iteration == begin
            await loop.sock_connect(sock, listener.getsockname())
            # An event is seen in the iteration after the one that began, and tells the task of it in the next.
            assert iteration == begin + 2
        ticking[0].cancel()

    run(main())


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
@pytest.mark.parametrize("name", ["path", "bytes", "abstract"])
def test_unix_sockets(
    run: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, kind: socket.SocketKind, name: str
) -> None:
    path = str(tmp_path / "socket")
    abstract = f"\0aioxide-{os.getpid()}"
    address = {"path": path, "bytes": path.encode(), "abstract": abstract}[name]

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, kind) as listening, made(socket.AF_UNIX, kind) as sock:
            listening.bind(abstract if name == "abstract" else path)
            if kind != socket.SOCK_DGRAM:
                listening.listen()
            await loop.sock_connect(sock, address)
            assert sock.getpeername() == listening.getsockname()

    run(main())


def test_refused(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.close()

    async def main() -> None:
        for spelled in spellings(address)[:7]:
            if spelled[0] == "localhost":
                continue
            with made(family_of(address[0])) as sock:
                with pytest.raises(ConnectionRefusedError) as raised:
                    await loop.sock_connect(sock, spelled)
                assert loop.remove_writer(sock) is False
            assert raised.value.args == (errno.ECONNREFUSED, f"Connect call failed {address}")
            assert (raised.value.__cause__, raised.value.__context__) == (None, None)

    run(main())


@needs_ipv6
def test_refused_with_a_flow_label(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with made(socket.AF_INET6) as unused, made(socket.AF_INET6) as sock:
            unused.bind(("::1", 0))
            address = ("::1", unused.getsockname()[1], 5, 1)
            with pytest.raises(OSError) as raised:
                await loop.sock_connect(sock, address)
            assert raised.value.args == (errno.ECONNREFUSED, f"Connect call failed {address}")

    run(main())


CASES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "address of the other family": ((socket.AF_INET6,), ("127.0.0.1", 9)),
    "the other way round": ((socket.AF_INET,), ("::1", 9)),
    "large port": ((), ("127.0.0.1", 65536)),
    "very large port": ((), ("127.0.0.1", 1 << 70)),
    "negative port": ((), ("127.0.0.1", -1)),
    "port that is a float": ((), ("127.0.0.1", 9.5)),
    "port that is true": ((), ("127.0.0.1", True)),
    "name of a service that is none": ((), ("127.0.0.1", "no-such-service")),
    "no host": ((), (None, 1)),
    "no name": ((), ("no such name", 1)),
    "host with a NUL": ((), ("127.0.0.1\0", 1)),
    "host that is a number": ((), (127, 1)),
    "one part": ((), ("127.0.0.1",)),
    "no part": ((), ()),
    "three parts": ((), ("127.0.0.1", 1, 0)),
    "five parts": ((), ("127.0.0.1", 1, 0, 0, 0)),
    "a string": ((), "127.0.0.1"),
    "none": ((), None),
    "large flow label": ((socket.AF_INET6,), ("::1", 1, 1 << 20)),
    "large scope": ((socket.AF_INET6,), ("::1", 1, 0, 1 << 32)),
    "scope of no interface": ((socket.AF_INET6,), ("fe80::1", 1, 0, 1 << 30)),
    "link-local without a scope": ((socket.AF_INET6,), ("fe80::1", 1)),
    "leading zeros": ((), ("127.0.0.01", 1)),
    "broadcast": ((), ("255.255.255.255", 9)),
    "of the future": ((), ("240.0.0.1", 9)),
    "no path": ((socket.AF_UNIX,), "/no/such/path"),
    "empty path": ((socket.AF_UNIX,), ""),
    "long path": ((socket.AF_UNIX,), "/" + "x" * 200),
    "a tuple for a path": ((socket.AF_UNIX,), ("127.0.0.1", 1)),
    "datagrams to port 0": ((socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", 0)),
    "port 0": ((), ("127.0.0.1", 0)),
}


async def outcome(loop: asyncio.AbstractEventLoop, sock: socket.socket, address: Any) -> Any:
    try:
        return await loop.sock_connect(sock, address)
    except Exception as error:
        context = type(error.__context__), getattr(error.__context__, "args", None)
        return type(error), error.args, context, loop.remove_writer(sock) if sock.fileno() >= 0 else None


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("debug", [False, True])
def test_what_is_no_good_address(run: Any, loop: asyncio.AbstractEventLoop, name: str, debug: bool) -> None:
    (kind, address) = CASES[name]
    if socket.AF_INET6 in kind and not has_ipv6():
        pytest.skip("needs IPv6")

    async def main() -> Any:
        asyncio.get_running_loop().set_debug(debug)
        with made(*kind) as sock:
            return await outcome(asyncio.get_running_loop(), sock, address)

    with closing(asyncio.SelectorEventLoop()) as stock:
        expected = stock.run_until_complete(main())
        stock.run_until_complete(stock.shutdown_default_executor())
    assert run(main()) == expected


def test_closed_socket(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        sock = made()
        sock.close()
        with pytest.raises(OSError) as raised:
            await loop.sock_connect(sock, ("127.0.0.1", 1))
        assert raised.value.args == (errno.EBADF, os.strerror(errno.EBADF))

    run(main())


def test_socket_that_is_connected(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        with made(listener.family) as sock:
            await loop.sock_connect(sock, listener.getsockname())
            await loop.sock_connect(sock, listener.getsockname())  # the system says once that it is connected now
            with pytest.raises(OSError) as raised:
                await loop.sock_connect(sock, listener.getsockname())
            assert raised.value.args == (errno.EISCONN, os.strerror(errno.EISCONN))

    run(main())


def test_socket_that_connects_already(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        with made(listener.family) as sock:
            first = asyncio.ensure_future(loop.sock_connect(sock, listener.getsockname()))
            await asyncio.sleep(0)
            # The system says EISCONN or EALREADY: the handshake is over at once on this machine, but its end is unseen.
            failure = await outcome(loop, sock, listener.getsockname())
            assert failure is None or failure[1][0] == errno.EISCONN
            first.cancel()
            await asyncio.wait([first])
            assert sock.getpeername() == listener.getsockname()

    run(main())


def test_wait_whose_place_another_has_taken(run: Any, loop: asyncio.AbstractEventLoop, silent: tuple[str, int]) -> None:
    async def main() -> None:
        with made() as sock:
            first, second = (asyncio.ensure_future(loop.sock_connect(sock, silent)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            assert first.cancelled()
            assert not second.done()
            assert loop.remove_writer(sock) is True
            second.cancel()
            await asyncio.wait([second])

    run(main())


def test_cancelled_wait_leaves_the_reader(run: Any, loop: asyncio.AbstractEventLoop, silent: tuple[str, int]) -> None:
    async def main() -> None:
        with made() as sock:
            loop.add_reader(sock, lambda: None)
            connecting = asyncio.ensure_future(loop.sock_connect(sock, silent))
            await asyncio.sleep(0)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert loop.remove_writer(sock) is False
            assert loop.remove_reader(sock) is True

    run(main())


def test_socket_that_is_closed_under_the_wait(
    run: Any, loop: asyncio.AbstractEventLoop, silent: tuple[str, int]
) -> None:
    async def main() -> None:
        sock = made()
        number = sock.fileno()
        connecting = asyncio.ensure_future(loop.sock_connect(sock, silent))
        await asyncio.sleep(0)
        sock.close()
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()
        one, other = socket.socketpair()
        with one, other:
            assert number in (one.fileno(), other.fileno())
            one.setblocking(False)
            other.setblocking(False)
            for near, far in ((one, other), (other, one)):
                assert loop.remove_writer(near) is False
                await loop.sock_sendall(near, b"x")
                assert await loop.sock_recv(far, 1) == b"x"

    run(main())


def test_coroutine_that_is_dropped(run: Any, loop: asyncio.AbstractEventLoop, silent: tuple[str, int]) -> None:
    async def main() -> None:
        with made() as sock:
            connecting: Any = loop.sock_connect(sock, silent)
            connecting.send(None)
            connecting.close()
            loop.remove_writer(sock)

    run(main())


def test_loop_that_is_closed(loop_factory: Callable[[], asyncio.AbstractEventLoop], silent: tuple[str, int]) -> None:
    loop = loop_factory()
    loop.close()
    with made() as sock:
        connecting: Any = loop.sock_connect(sock, silent)
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            connecting.send(None)


def test_blocking_socket_in_debug_mode(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        loop.set_debug(True)
        with socket.socket(listener.family) as sock:
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_connect(sock, listener.getsockname())
            sock.setblocking(False)
            await loop.sock_connect(sock, listener.getsockname())
            assert sock.getpeername() == listener.getsockname()

    run(main())


@pytest.mark.parametrize("timeout", [None, 10])
def test_socket_that_waits(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket, timeout: float | None
) -> None:
    async def main() -> None:
        with socket.socket(listener.family) as sock:
            sock.settimeout(timeout)
            await loop.sock_connect(sock, listener.getsockname())
            assert sock.getpeername() == listener.getsockname()
            assert sock.gettimeout() == timeout

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the state of the connection")
@pytest.mark.slow  # the system tries again after a second
def test_blocking_descriptor_does_not_stop_other_threads(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, made() as sock, made() as filler:
            filler.connect_ex(listening.getsockname())
            accepted: list[socket.socket] = []

            def accept() -> None:
                while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_SYN_SENT:
                    pass
                accepted.extend(listening.accept()[0] for _ in range(2))

            thread = threading.Thread(target=accept)
            # As another process may do that shares the open file: the object does not know.
            os.set_blocking(sock.fileno(), True)
            thread.start()
            await loop.sock_connect(sock, listening.getsockname())
            assert sock.getpeername() == listening.getsockname()
            thread.join()
            for each in accepted:
                each.close()

    run(main())


def test_tls_socket_is_refused(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        refused = pytest.raises(TypeError, match="Socket cannot be of type SSLSocket")
        with context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as sock, refused:
            await loop.sock_connect(sock, ("127.0.0.1", 1))

    run(main())


def test_method_of_a_derived_class_is_called(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    called: list[Any] = []

    class Derived(socket.socket):
        def connect(self, address: Any) -> None:
            called.append(address)
            super().connect(address)

    async def main() -> None:
        with Derived(listener.family) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, listener.getsockname())
            assert sock.getpeername() == listener.getsockname()

    run(main())
    assert called == [listener.getsockname()]


@pytest.mark.parametrize("name", ["connect", "getsockopt", "fileno"])
def test_patched_method_of_sockets_is_called(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    called: list[str] = []
    original = getattr(socket.socket, name)

    def noting(self: socket.socket, *arguments: Any) -> Any:
        called.append(name)
        return original(self, *arguments)

    async def main() -> None:
        with made(listener.family) as before:
            await loop.sock_connect(before, listener.getsockname())
        with monkeypatch.context() as patch, made(listener.family) as sock:
            patch.setattr(socket.socket, name, noting)
            await loop.sock_connect(sock, listener.getsockname())
            assert name in called
        called.clear()
        with made(listener.family) as after:
            await loop.sock_connect(after, listener.getsockname())
            assert not called

    run(main())


METHODS = ["_ensure_resolved", "_sock_connect", "_sock_connect_cb", "_sock_write_done", "_add_writer", "remove_writer"]


@pytest.mark.parametrize("where", ["instance", "class"])
@pytest.mark.parametrize("name", METHODS)
def test_patched_method_of_the_loop_is_called(
    run: Any, loop: Any, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    called: list[str] = []
    original: Callable[..., Any] = getattr(type(loop), name)

    def noting(self: Any, *arguments: Any, **keywords: Any) -> Any:
        called.append(name)
        return original(self, *arguments, **keywords)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, made() as sock:
            with monkeypatch.context() as patch:
                if where == "instance":
                    patch.setattr(loop, name, noting.__get__(loop))
                else:
                    patch.setattr(type(loop), name, noting)
                await loop.sock_connect(sock, listening.getsockname())
            assert called == [name]

    run(main())


def test_derived_loop_calls_the_method_that_it_overrides(
    loop_factory: Callable[[], Any], listener: socket.socket
) -> None:
    made_by_factory = loop_factory()
    kind: Any = type(made_by_factory)
    made_by_factory.close()
    asked: list[Any] = []

    class Noting(kind):  # type: ignore[misc]
        async def sock_connect(self, sock: Any, address: Any) -> None:
            asked.append(address)
            await super().sock_connect(sock, address)

        def create_future(self) -> Any:
            asked.append("future")
            return super().create_future()

    async def main(loop: Any) -> None:
        with made(listener.family) as sock:
            await loop.sock_connect(sock, listener.getsockname())

    with closing(Noting()) as loop:
        loop.run_until_complete(main(loop))
    assert asked == [listener.getsockname(), "future"]


def test_events_that_an_audit_hook_hears(loop_name: str, listener: socket.socket) -> None:
    program = """if True:
        import asyncio, socket, sys
        import aioxide
        heard = []
        def hook(event, arguments):
            if heard is not None and event == "socket.connect":
                heard.append((type(arguments[0]).__name__, arguments[1]))
        async def main(loop):
            for listening in (False, True):
                if listening:
                    sys.addaudithook(hook)
                with socket.socket(int(sys.argv[4])) as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, (sys.argv[2], int(sys.argv[3])))
        loop = {"asyncio": asyncio.SelectorEventLoop, "aioxide": aioxide.new_event_loop}[sys.argv[1]]()
        loop.run_until_complete(main(loop))
        events, heard = heard, None
        print(events)
    """
    host, port = listener.getsockname()[:2]
    command = [sys.executable, "-c", program, loop_name, host, str(port), str(int(listener.family))]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert eval(found.stdout) == [("socket", listener.getsockname())]


def test_error_is_in_no_cycle(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            gc.collect()
            gc.disable()
            try:
                with made() as sock, pytest.raises(ConnectionRefusedError):
                    await loop.sock_connect(sock, unused.getsockname())
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                assert not [found for found in gc.garbage if isinstance(found, (asyncio.Future, OSError))]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()

    run(main())
