"""`create_connection` to an address: what a program sees of it is asyncio's, though no socket object takes part."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import Recorder


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="needs IPv6"))]


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.fixture(params=HOSTS)
def listener(request: Any) -> Iterator[socket.socket]:
    with socket.create_server((request.param, 0), family=family_of(request.param), backlog=1000) as made:
        yield made


@pytest.fixture
def unused() -> Iterator[tuple[str, int]]:
    """An address at which nobody listens."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made.getsockname()


async def ended(transport: Any, protocol: Recorder) -> None:
    transport.abort()
    await protocol.lost


def test_each_step_has_its_iteration(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        iteration = 0
        log: dict[str, int] = {}

        def tick() -> None:
            nonlocal iteration
            iteration += 1
            ticking[0] = loop.call_soon(tick)

        def note(name: str) -> None:
            log[name] = iteration

        def factory() -> Recorder:
            note("factory")
            return Recorder(made=lambda _: note("made"))

        async def connect() -> Any:
            note("begin")
            connected = await loop.create_connection(factory, *listener.getsockname()[:2])
            note("end")
            return connected

        ticking = [loop.call_soon(tick)]
        transport, protocol = await connect()
        ticking[0].cancel()
        # An event is seen in the iteration after the one that began to connect, and tells the task of it in the next.
        assert {name: at - log["begin"] for name, at in log.items()} == {"begin": 0, "factory": 2, "made": 3, "end": 4}
        await ended(transport, protocol)

    run(main())


def test_socket_and_names(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname()[:2])
        peer, seen = listener.accept()
        with peer:
            assert transport.get_extra_info("peername") == listener.getsockname()
            assert transport.get_extra_info("sockname") == seen
            sock = transport.get_extra_info("socket")
            assert transport.get_extra_info("socket") is sock
            assert (sock.family, sock.type, sock.proto) == (listener.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            assert (sock.getsockname(), sock.getpeername()) == (seen, listener.getsockname())
            assert sock.gettimeout() == 0
            assert not os.get_blocking(sock.fileno())
            assert not os.get_inheritable(sock.fileno())
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await ended(transport, protocol)
            assert sock.fileno() == -1

    run(main())


def test_what_a_closed_connection_tells(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname()[:2])
        peer, seen = listener.accept()
        peer.close()
        await ended(transport, protocol)
        assert transport.get_extra_info("peername") == listener.getsockname()
        assert transport.get_extra_info("sockname") == seen
        sock = transport.get_extra_info("socket")
        assert (sock.family, sock.type, sock.proto) == (listener.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        assert sock.fileno() == -1

    run(main())


def test_connection_that_the_peer_has_reset_already_has_no_peername(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            own = []

            def factory() -> Recorder:
                peer, address = listener.accept()
                own.append(address)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()
                return Recorder()

            transport, protocol = await loop.create_connection(factory, *listener.getsockname())
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("sockname") == own[0]
            assert isinstance(await protocol.lost, ConnectionResetError)

    run(main())


@pytest.mark.parametrize("host", HOSTS)
def test_refused(run: Any, loop: asyncio.AbstractEventLoop, host: str) -> None:
    async def main() -> None:
        with socket.socket(family_of(host)) as unused:
            unused.bind((host, 0))
            address = unused.getsockname()
            with pytest.raises(ConnectionRefusedError) as raised:
                await loop.create_connection(Recorder, host, address[1])
            assert raised.value.args == (errno.ECONNREFUSED, f"Connect call failed {address}")
            assert (raised.value.errno, raised.value.__cause__, raised.value.__context__) == (
                errno.ECONNREFUSED,
                None,
                None,
            )

    run(main())


# A broadcast address, one of the future, a link-local one without a scope: `connect` itself refuses them.
@pytest.mark.parametrize("host", ["255.255.255.255", "240.0.0.1", "fe80::1"])
def test_address_that_the_system_refuses(run: Any, loop: asyncio.AbstractEventLoop, host: str) -> None:
    with socket.socket(family_of(host)) as plain:
        plain.setblocking(False)
        try:
            plain.connect((host, 9))
        except BlockingIOError:
            pytest.skip("this system does try it")
        except OSError as error:
            expected = error

    async def main() -> None:
        with pytest.raises(OSError) as raised:
            await loop.create_connection(Recorder, host, 9)
        assert type(raised.value) is type(expected)
        assert raised.value.args == expected.args

    run(main())


def test_no_descriptor_left(run: Any, loop: asyncio.AbstractEventLoop, unused: tuple[str, int]) -> None:
    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        first = os.dup(0)
        os.close(first)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first, hard))
        try:
            with pytest.raises(OSError) as raised:
                await loop.create_connection(Recorder, *unused)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert raised.value.args == (errno.EMFILE, os.strerror(errno.EMFILE))

    run(main())


def test_descriptor_of_a_large_number(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2048:
            pytest.skip("so many descriptors are not allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
        taken = [os.dup(0)]
        try:
            while taken[-1] < 1100:
                taken.append(os.dup(0))
            transport, protocol = await loop.create_connection(Recorder, *listener.getsockname()[:2])
            peer, _ = listener.accept()
            with peer:
                assert transport.get_extra_info("socket").fileno() > 1100
                transport.write(b"data")
                await asyncio.sleep(0)
                assert peer.recv(4) == b"data"
                peer.send(b"answer")
                assert await protocol.received(6) == b"answer"
                await ended(transport, protocol)
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    run(main())


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("127.0.0.1", 65536), OverflowError),
        (("127.0.0.1", -1), OverflowError),
        (("127.0.0.1", 1.5), OSError),
        ((127, 1), TypeError),
        (("127.0.0.1\0", 1), (ValueError, OSError)),
    ],
)
def test_what_is_no_address(run: Any, loop: asyncio.AbstractEventLoop, arguments: Any, kind: Any) -> None:
    async def main() -> None:
        with pytest.raises(kind):
            await loop.create_connection(Recorder, *arguments)

    run(main())


def test_options_and_their_spelling(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        host, port = listener.getsockname()[:2]
        for name, value in {"ssl": None, "family": listener.family, "local_addr": (host, 0), "proto": 0}.items():
            options: dict[str, Any] = {name: value}
            await ended(*await loop.create_connection(Recorder, host, port, **options))
            listener.accept()[0].close()
        for number in (str(port), str(port).encode()):
            await ended(*await loop.create_connection(Recorder, host, number))  # type: ignore[arg-type]
            listener.accept()[0].close()
        with pytest.raises(TypeError, match="unknown"):
            await loop.create_connection(Recorder, host, port, unknown=None)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="server_hostname"):
            await loop.create_connection(Recorder, host, port, server_hostname="name")

    run(main())


def test_factory_that_fails_leaves_no_connection(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    class Failure(Exception):
        pass

    def failing() -> Recorder:
        raise Failure

    async def main() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(Failure):
                await loop.create_connection(failing, *listener.getsockname()[:2])
            gc.collect()
        if sys.version_info >= (3, 14):  # asyncio closes it
            assert not caught
        else:
            assert [warning.category for warning in caught] == [ResourceWarning]
            assert str(caught[0].message).startswith("unclosed <socket.socket fd=")
        peer, _ = listener.accept()
        with peer:
            assert peer.recv(1) == b""

    run(main())


def test_factory_that_returns_no_protocol(run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    async def main() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(AttributeError, match="connection_made"):
                await loop.create_connection(object, *listener.getsockname()[:2])  # type: ignore[type-var]
            gc.collect()
        # asyncio's transport, half made, warns as well; from Python 3.14 on nothing else does.
        warned = {warning.category for warning in caught}
        assert warned <= {ResourceWarning} if sys.version_info >= (3, 14) else warned == {ResourceWarning}
        peer, _ = listener.accept()
        with peer:
            assert peer.recv(1) == b""

    run(main())


def test_error_is_in_no_cycle(run: Any, loop: asyncio.AbstractEventLoop, unused: tuple[str, int]) -> None:
    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Recorder, *unused)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            assert not [found for found in gc.garbage if isinstance(found, (asyncio.Future, OSError))]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    run(main())


def test_patched_sockets_are_used(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Noting(socket.socket):
        def connect(self, address: Any) -> None:
            made.append(address)
            super().connect(address)

    async def main() -> None:
        monkeypatch.setattr(socket, "socket", Noting)
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname()[:2])
        assert made == [listener.getsockname()]
        assert type(transport.get_extra_info("socket")._sock) is Noting
        await ended(transport, protocol)

    run(main())


def test_patched_method_of_sockets_is_called(
    run: Any, loop: asyncio.AbstractEventLoop, unused: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blocked(RuntimeError):
        pass

    def refuse(*arguments: Any) -> None:
        raise Blocked(arguments[1])

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *unused)
        with monkeypatch.context() as patch:
            # As pytest-socket does.
            patch.setattr(socket.socket, "connect", refuse)
            with pytest.raises(Blocked) as raised:
                await loop.create_connection(Recorder, *unused)
            assert raised.value.args == (unused,)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *unused)

    run(main())


@pytest.mark.parametrize("where", ["instance", "class", "base"])
@pytest.mark.parametrize("name", ["sock_connect", "_connect_sock", "_sock_connect", "_create_connection_transport"])
def test_patched_method_of_the_loop_is_called(
    run: Any, loop: Any, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    called: list[str] = []
    original: Callable[..., Any] = getattr(type(loop), name)

    def noting(self: Any, *arguments: Any, **keywords: Any) -> Any:
        called.append(name)
        return original(self, *arguments, **keywords)

    async def main() -> None:
        if where == "instance":
            monkeypatch.setattr(loop, name, noting.__get__(loop))
        else:
            owner = type(loop) if where == "class" else next(kind for kind in type(loop).__mro__ if name in vars(kind))
            monkeypatch.setattr(owner, name, noting)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await ended(*await loop.create_connection(Recorder, *listener.getsockname()))
        assert called == [name]

    run(main())


def test_method_of_a_derived_loop_is_called(run: Any, loop: Any, listener: socket.socket) -> None:
    class Derived(type(loop)):  # type: ignore[misc]
        asked: list[Any]

        async def sock_connect(self, sock: Any, address: Any) -> None:
            self.asked.append(address)
            await super().sock_connect(sock, address)

    async def main(derived: Any) -> None:
        await ended(*await derived.create_connection(Recorder, *listener.getsockname()[:2]))

    derived = Derived()
    derived.asked = []
    try:
        derived.run_until_complete(main(derived))
    finally:
        derived.close()
    assert derived.asked == [listener.getsockname()]


def test_events_that_an_audit_hook_hears(loop_name: str, listener: socket.socket) -> None:
    program = """if True:
        import asyncio, sys
        import aioxide
        heard = []
        def hook(event, arguments):
            if heard is not None and event.startswith("socket."):
                heard.append((event, *map(str, arguments[1:])))
        async def main(loop):
            # Once before anybody hears of it.
            (await loop.create_connection(asyncio.Protocol, sys.argv[2], int(sys.argv[3])))[0].abort()
            sys.addaudithook(hook)
            (await loop.create_connection(asyncio.Protocol, sys.argv[2], int(sys.argv[3])))[0].abort()
        loop = {"asyncio": asyncio.SelectorEventLoop, "aioxide": aioxide.new_event_loop}[sys.argv[1]]()
        loop.run_until_complete(main(loop))
        events, heard = heard, None
        print(events)
    """
    host, port = listener.getsockname()[:2]
    found = subprocess.run(
        [sys.executable, "-c", program, loop_name, host, str(port)], capture_output=True, text=True, check=True
    )
    new = ("socket.__new__", str(int(listener.family)), str(int(socket.SOCK_STREAM)), str(socket.IPPROTO_TCP))
    heard = [tuple(map(as_number, event)) for event in eval(found.stdout)]
    assert heard == [new, ("socket.connect", str(listener.getsockname()))]


def as_number(text: str) -> str:
    """A constant by its number: whether it is shown by name depends on the version."""
    name = text.rpartition(".")[2]
    return str(int(getattr(socket, name))) if name.startswith(("AF_", "SOCK_")) else text


def test_debug_mode_logs_the_connection(
    run: Any, loop: asyncio.AbstractEventLoop, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(early: bool) -> None:
        def factory() -> Recorder:
            loop.set_debug(True)
            return Recorder()

        loop.set_debug(early)
        caplog.clear()
        with caplog.at_level("DEBUG", logger="asyncio"):
            transport, protocol = await loop.create_connection(factory, *listener.getsockname()[:2])
        host, port = listener.getsockname()[:2]
        sock = transport.get_extra_info("socket")
        assert f"{sock!r} connected to {host}:{port}: ({transport!r}, {protocol!r})" in caplog.messages
        caplog.clear()  # the records hold the transport
        await ended(transport, protocol)
        loop.set_debug(False)

    run(main(False))
    run(main(True))
