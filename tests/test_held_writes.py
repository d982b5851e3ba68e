"""What callbacks and steps write leaves when the loop has run what is ready, and nobody can tell but by the time."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from differential.connections import draw, search
from support import Recorder

COUNT = int(os.environ.get("AIOXIDE_CONNECTIONS", "150"))
pytestmark = pytest.mark.filterwarnings("error")


class Connected:
    """A transport of the loop that nobody else has the socket of, and its peer."""

    def __init__(self, transport: Any, protocol: Recorder, peer: socket.socket) -> None:
        self.transport, self.protocol, self.peer = transport, protocol, peer


async def connect() -> Connected:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport, protocol = await loop.create_connection(Recorder, *server.getsockname())
        peer, _ = server.accept()
    peer.settimeout(10)
    return Connected(transport, protocol, peer)


def waiting(peer: socket.socket) -> bytes:
    """What the peer has received so far."""
    peer.setblocking(False)
    try:
        return peer.recv(1 << 20, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    finally:
        peer.settimeout(10)


async def end(connected: Connected) -> None:
    connected.transport.abort()
    await connected.protocol.lost
    connected.peer.close()


# What asks the transport for something else, after which asyncio would have sent what was written before.
ASKED: dict[str, Callable[[Any], object]] = {
    "get_write_buffer_size": lambda transport: transport.get_write_buffer_size(),
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "write_eof": lambda transport: transport.write_eof(),
    "set_write_buffer_limits": lambda transport: transport.set_write_buffer_limits(high=10),
    "socket": lambda transport: transport.get_extra_info("socket"),
    "_sock": lambda transport: transport._sock,
    "repr": repr,
    "set_protocol": lambda transport: transport.set_protocol(transport.get_protocol()),
    "large write": lambda transport: transport.write(b"x" * 200_000),
    "large writelines": lambda transport: transport.writelines([b"x" * 100_000] * 2),
    "large bytearray": lambda transport: transport.write(bytearray(200_000)),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_was_written_is_sent_before_anything_else(run: Any, name: str) -> None:
    async def main() -> None:
        connected = await connect()
        connected.transport.write(b"one ")
        connected.transport.write(bytearray(b"two"))
        ASKED[name](connected.transport)
        assert waiting(connected.peer).startswith(b"one two")
        await end(connected)

    run(main())


def test_whatever_is_like_bytes_is_sent(run: Any) -> None:
    class Derived(bytes):
        pass

    class Derived2(bytearray):
        pass

    async def main() -> None:
        connected = await connect()
        transport = connected.transport
        sizes = (1, 5_000, 70_000)
        for size in sizes:
            for kind in (bytes, Derived, bytearray, Derived2, memoryview):
                transport.write(kind(b"x" * size))
                transport.writelines([kind(b"y" * size), b"z"])
        await asyncio.sleep(0)
        transport.write_eof()
        expected = b"".join((b"x" * size + b"y" * size + b"z") * 5 for size in sizes)
        loop = asyncio.get_running_loop()
        connected.peer.setblocking(False)
        received = b""
        while data := await loop.sock_recv(connected.peer, 1 << 20):
            received += data
        assert received == expected
        await end(connected)

    run(main())


@pytest.mark.parametrize("closes", [False, True])
def test_destructor_of_what_was_written_writes_behind_it(run: Any, closes: bool) -> None:
    async def main() -> None:
        connected = await connect()

        class Last(bytes):
            def __del__(self) -> None:
                connected.transport.write(b" by the destructor")
                if closes:
                    connected.transport.close()

        connected.transport.write(Last(b"data"))
        await asyncio.sleep(0)
        assert waiting(connected.peer) == b"data by the destructor"
        await end(connected)

    run(main())


def test_writes_of_one_step_leave_when_it_ends(loop_factory: Any, loop_name: str) -> None:
    loop = loop_factory()
    seen = []

    async def main(at_once: bool) -> None:
        connected = await connect()
        loop.write_at_once = at_once
        connected.transport.write(b"head")
        connected.transport.writelines([b"bo", b"dy"])
        seen.append(waiting(connected.peer))
        await asyncio.sleep(0)
        assert waiting(connected.peer) == b"headbody"
        await end(connected)

    try:
        loop.run_until_complete(main(False))
        loop.run_until_complete(main(True))
    finally:
        loop.close()
    assert seen == [b"headbody" if loop_name == "asyncio" else b"", b"headbody"]


@pytest.mark.parametrize("asks", [False, True])
def test_answers_of_one_iteration_leave_together(loop: Any, run: Any, loop_name: str, asks: bool) -> None:
    seen: list[bytes] = []

    async def main() -> None:
        connections = [await connect() for _ in range(3)]

        def answer(connected: Connected) -> None:
            connected.transport.write(b"head")
            connected.transport.write(b"body")
            if asks:
                assert not connected.transport.is_closing()
                assert connected.transport.is_reading()
                assert connected.transport.get_protocol() is connected.protocol

        def look() -> None:
            seen.extend(waiting(connected.peer) for connected in connections)

        for connected in connections:
            loop.call_soon(answer, connected)
        loop.call_soon(look)
        loop.call_soon(loop.call_soon, look)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for connected in connections:
            await end(connected)

    run(main())
    assert seen == [b"" if loop_name == "aioxide" else b"headbody"] * 3 + [b"headbody"] * 3


def test_answer_by_data_received_leaves_when_that_ends(loop: Any, run: Any) -> None:
    seen: list[list[bytes]] = []
    peers: list[socket.socket] = []

    class Answers(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            seen.append([waiting(peer) for peer in peers])
            self.transport.write(data)
            self.transport.write(b"!")

        def connection_lost(self, exc: Exception | None) -> None:
            pass

    async def main() -> None:
        transports = []
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(2):
                transports.append((await loop.create_connection(Answers, *server.getsockname()))[0])
                peers.append(server.accept()[0])
        for peer in peers:
            peer.send(b"asked")
        while len(seen) < 2:
            await asyncio.sleep(0.001)
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)
        for peer in peers:
            peer.close()

    run(main())
    # Both are told in the same iteration: the second one finds the first one's answer.
    assert seen[0] == [b"", b""]
    assert sorted(seen[1]) == [b"", b"asked!"]


@pytest.mark.parametrize("slow", ["before", "behind"])
def test_answer_does_not_wait_for_all_of_a_slow_iteration(loop: Any, run: Any, slow: str) -> None:
    seen: list[bytes] = []

    async def main() -> None:
        connected = await connect()
        loop.call_soon(time.sleep, 0.02 if slow == "before" else 0)
        loop.call_soon(connected.transport.write, b"answer")
        loop.call_soon(time.sleep, 0.02 if slow == "behind" else 0)
        loop.call_soon(lambda: seen.append(waiting(connected.peer)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await end(connected)

    run(main())
    assert seen == [b"answer"]


def test_held_write_is_sent_before_a_loop_inside_of_the_callback_waits(loop: Any, run: Any, loop_name: str) -> None:
    if loop_name == "asyncio":
        pytest.skip("it is no loop that can be run by the iteration")

    async def main() -> None:
        connected = await connect()

        def nested() -> None:
            connected.transport.write(b"ping")
            loop.call_later(0.01, lambda: None)
            loop._run_once()
            seen.append(waiting(connected.peer))

        loop.call_soon(nested)
        await asyncio.sleep(0)
        await end(connected)

    seen: list[bytes] = []
    run(main())
    assert seen == [b"ping"]


def test_loop_that_is_told_to_write_at_once_sends_what_is_held(loop_factory: Any, loop_name: str) -> None:
    loop = loop_factory()

    async def main() -> None:
        connected = await connect()
        connected.transport.write(b"held")
        loop.write_at_once = True
        assert waiting(connected.peer) == b"held"
        await end(connected)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_write_of_a_callback_that_raises_or_stops_is_sent(loop_factory: Any) -> None:
    loop = loop_factory()
    loop.set_exception_handler(lambda *_: None)
    try:
        connected = loop.run_until_complete(connect())

        def fail(error: BaseException) -> None:
            connected.transport.write(type(error).__name__.encode())
            raise error

        loop.call_soon(fail, ValueError())
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert waiting(connected.peer) == b"ValueError"
        loop.call_soon(fail, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert waiting(connected.peer) == b"ValueErrorKeyboardInterrupt"
        # Outside of any callback.
        connected.transport.write(b" outside")
        assert waiting(connected.peer).endswith(b" outside")
        loop.run_until_complete(end(connected))
    finally:
        loop.close()


def test_socket_that_the_program_has_gets_each_write_at_once(run: Any) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, sock=ours)
        transport.write(b"by the transport, ")
        ours.send(b"by hand")
        assert waiting(peer) == b"by the transport, by hand"
        del ours
        await end(Connected(transport, protocol, peer))

    run(main())


def test_lost_connection_is_told_where_the_first_write_stood(run: Any, loop_name: str) -> None:
    """The place among the callbacks is that of the write that failed; so is the context, up to Python 3.14."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
        log: list[str] = []

        class Lost(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                log.append(f"lost {type(exc).__name__} {variable.get('')}")
                ended.set()

        ended = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:
            transport, _ = await loop.create_connection(Lost, *server.getsockname())
            transport.pause_reading()  # type: ignore[attr-defined]
            peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        await asyncio.sleep(0.01)

        def step() -> None:
            loop.call_soon(log.append, "before")
            variable.set("at the first write")
            transport.write(b"one")
            loop.call_soon(log.append, "between")
            variable.set("at the second write")
            transport.write(b"two")
            loop.call_soon(log.append, "after")

        def others() -> None:
            loop.call_soon(log.append, "later")

        loop.call_soon(step)
        loop.call_soon(others)
        loop.call_soon(others)
        await ended.wait()
        await asyncio.sleep(0)
        return log

    where = "" if sys.version_info >= (3, 15) else "at the first write"
    assert run(main()) == ["before", f"lost ConnectionResetError {where}", "between", "after", "later", "later"]


class Gone(asyncio.Protocol):
    """Says in a log when the connection is lost; the peer has reset it, and the loop has not heard of that."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(f"lost {self.name}")

    @classmethod
    async def connect(cls, name: str, log: list[str]) -> tuple[Any, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(lambda: cls(name, log), *server.getsockname())
            transport.pause_reading()  # type: ignore[attr-defined]
            return transport, server.accept()[0]


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()


def test_lost_connection_has_its_place_behind_what_an_exception_left_over(loop_factory: Any) -> None:
    loop = loop_factory()
    log: list[str] = []
    try:
        transport, peer = loop.run_until_complete(Gone.connect("one", log))
        reset(peer)
        loop.run_until_complete(asyncio.sleep(0.01))

        def breaks() -> None:
            loop.call_soon(log.append, "before")
            transport.write(b"data")
            loop.call_soon(log.append, "after")
            raise KeyboardInterrupt

        loop.call_soon(breaks)
        for number in range(3):
            loop.call_soon(log.append, f"left over {number}")
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0.01))
    finally:
        loop.close()
    assert log == ["left over 0", "left over 1", "left over 2", "before", "lost one", "after"]


def test_connections_that_are_lost_keep_their_order_when_one_is_asked_in_between(loop: Any, run: Any) -> None:
    log: list[str] = []

    async def main() -> None:
        one, first_peer = await Gone.connect("one", log)
        two, second_peer = await Gone.connect("two", log)
        reset(first_peer)
        await asyncio.sleep(0.01)

        def step() -> None:
            one.write(b"data")
            two.write(b"data")
            two.get_write_buffer_size()
            reset(second_peer)
            time.sleep(0.001)
            two.write(b"data")
            for name in ("c", "d", "e"):
                loop.call_soon(log.append, name)

        loop.call_soon(step)
        await asyncio.sleep(0.01)

    run(main())
    assert log == ["lost one", "lost two", "c", "d", "e"]


def test_writing_and_draining_over_and_over_meets_the_end_of_the_connection(run: Any) -> None:
    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as server:
            _, writer = await asyncio.open_connection(*server.getsockname())
            peer, _ = server.accept()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        reset(peer)
        await asyncio.sleep(0.01)
        for count in range(100):
            writer.write(b"row")
            try:
                await writer.drain()
            except ConnectionError:
                return count
        return -1

    assert 0 <= run(main()) <= 1


def test_write_is_sent_before_another_loop_runs_inside_of_the_callback(loop_factory: Any) -> None:
    loop, other = loop_factory(), loop_factory()
    seen: list[bytes] = []

    async def main() -> None:
        connected = await connect()
        connected.peer.setblocking(False)

        def nested() -> None:
            connected.transport.write(b"ping")
            asyncio._set_running_loop(None)
            try:
                receives = asyncio.wait_for(other.sock_recv(connected.peer, 10), 5)
                seen.append(other.run_until_complete(receives))
            finally:
                asyncio._set_running_loop(loop)

        loop.call_soon(nested)
        await asyncio.sleep(0)
        await end(connected)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
        other.close()
    assert seen == [b"ping"]


def test_writes_before_a_fork_are_not_sent_twice(run: Any) -> None:
    async def main() -> None:
        connected = await connect()
        connected.transport.write(b"once")
        with warnings.catch_warnings():  # pytest's watchdog is a thread, of which Python 3.15 warns before it forks
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os._exit(0 if waiting(connected.peer) == b"once" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await asyncio.sleep(0)
        assert waiting(connected.peer) == b"once"
        await end(connected)

    run(main())


def test_plain_text_goes_before_the_handshake(run: Any) -> None:
    async def main() -> None:
        connected = await connect()
        context = ssl.create_default_context()
        connected.transport.write(b"STARTTLS\n")
        upgrade = asyncio.ensure_future(
            asyncio.get_running_loop().start_tls(
                connected.transport, connected.protocol, context, server_hostname="localhost"
            )
        )
        loop = asyncio.get_running_loop()
        connected.peer.setblocking(False)
        received = b""
        while len(received) < 10:
            received += await loop.sock_recv(connected.peer, 100)
        assert received.startswith(b"STARTTLS\n\x16"), received
        connected.peer.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await upgrade

    run(main())


def test_file_comes_behind_what_was_written(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"file" * 1000)

    async def main() -> None:
        connected = await connect()
        with open(tmp_path / "file", "rb") as file:
            connected.transport.write(b"head ")
            assert await asyncio.get_running_loop().sendfile(connected.transport, file) == 4000
            connected.transport.write(b" tail")
            await asyncio.sleep(0)
        assert waiting(connected.peer) == b"head " + b"file" * 1000 + b" tail"
        await end(connected)

    run(main())


def test_environment_variable_gives_asyncios_timing() -> None:
    program = """
        import aioxide
        print(aioxide.new_event_loop().write_at_once)
    """
    for value in ("0", "1"):
        environment = dict(os.environ, AIOXIDE_WRITE_AT_ONCE=value)
        command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert result.stdout.strip() == str(value == "1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("at_once", [False, True])
def test_programs_of_connections_leave_the_same_log(loop_factory: Any, loop_name: str, at_once: bool) -> None:
    count = COUNT if loop_name == "aioxide" else COUNT // 10
    found = search(count, 0, loop_factory, at_once)
    assert found is None, found


def test_program_of_a_seed_is_always_the_same() -> None:
    seed = random.randrange(1000)
    assert draw(seed) == draw(seed)
    assert draw(7) != draw(8)
