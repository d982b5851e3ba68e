"""Connecting that is cancelled at each of its awaits leaves no descriptor and no task, and closes nothing twice."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import Recorder, serve

Attempt = Callable[[], Awaitable[Any]]
Test = Callable[..., None]

# How many iterations a cancellation comes after the await that it is for: what completes in between must not be lost.
DELAYS = 6
# More awaits than connecting has.
MOST_AWAITS = 40


class Interrupted:
    """Awaits a coroutine; once it has been suspended so many times, `reached` is called."""

    def __init__(self, inner: Awaitable[Any], suspensions: int, reached: Callable[[], None]) -> None:
        self.inner = inner
        self.suspensions = suspensions
        self.reached = reached

    def __await__(self) -> Any:
        generator = self.inner.__await__()
        error: BaseException | None = None
        value = None
        while True:
            try:
                waited_for = generator.send(value) if error is None else generator.throw(error)
            except StopIteration as stop:
                return stop.value
            self.suspensions -= 1
            if self.suspensions == 0:
                self.reached()
            error = None
            try:
                value = yield waited_for
            except BaseException as thrown:
                error = thrown


class Decoys:
    """Descriptors opened at once where one has become free: whoever closes that number again closes a decoy."""

    def __init__(self) -> None:
        self.files: dict[int, int] = {}

    def fill(self) -> None:
        for _ in range(4):
            fd = os.memfd_create("decoy")
            self.files[fd] = os.fstat(fd).st_ino

    def check_and_close(self) -> None:
        for fd, number in self.files.items():
            assert os.fstat(fd).st_ino == number, f"somebody closed descriptor {fd}, which is not theirs"
            os.close(fd)
        self.files.clear()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(condition: Callable[[], bool]) -> None:
    """Gives the loop turns until the condition holds; `run` ends the test when it never does."""
    while not condition():
        await asyncio.sleep(0)


async def cancel_everywhere(attempt: Attempt, undo: Callable[[Any], Awaitable[None]]) -> int:
    """Cancels `attempt()` after each await and each delay; returns how many awaits it has."""
    loop = asyncio.get_running_loop()
    loop.poll_interval = 0  # type: ignore[attr-defined] # aioxide's: the kernel is asked in every iteration
    tasks = len(asyncio.all_tasks())
    before = descriptors()
    awaits = 0
    for suspensions in range(MOST_AWAITS):
        reached_any = False
        for delay in range(DELAYS):
            reached = await cancel_once(attempt, undo, suspensions, delay)
            reached_any = reached_any or reached
            # A thread that still looks a name up for a cancelled attempt opens a file of its own now and then.
            await settled(lambda: len(asyncio.all_tasks()) <= tasks and descriptors() == before)
        if not reached_any:
            return awaits
        awaits = suspensions
    raise AssertionError("the attempt has more awaits than it was taken to have")


async def cancel_once(attempt: Attempt, undo: Callable[[Any], Awaitable[None]], suspensions: int, delay: int) -> bool:
    """Cancels one attempt; `False` when it was over before it was suspended so often."""
    decoys = Decoys()
    at_await = asyncio.Event()
    if suspensions == 0:
        at_await.set()

    async def trying() -> Any:
        return await Interrupted(attempt(), suspensions, at_await.set)

    task = asyncio.ensure_future(trying())
    waiting = asyncio.ensure_future(at_await.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    reached = at_await.is_set()
    waiting.cancel()
    for _ in range(delay):
        await asyncio.sleep(0)
    task.cancel("by the test")
    while not task.done():
        await asyncio.sleep(0)
        decoys.fill()
        if len(decoys.files) > 400:
            decoys.check_and_close()
    if task.cancelled():
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await undo(task.result())
    for _ in range(5):
        await asyncio.sleep(0)
        decoys.fill()
    decoys.check_and_close()
    del task
    return reached


async def lost(result: tuple[Any, Any]) -> None:
    """Ends a connection that came about after all."""
    transport, protocol = result
    transport.abort()
    await protocol.lost


async def closed(result: tuple[Any, Any]) -> None:
    """The same for streams."""
    _, writer = result
    writer.close()
    await writer.wait_closed()


@contextmanager
def addresses() -> Iterator[list[tuple[str, int]]]:
    """Three addresses of one port: one that lets a client wait, one that refuses, one that accepts."""
    with ExitStack() as stack:
        # With its queue full, the kernel answers nobody who wants to connect. Its address is the one that
        # everything else uses, so the kernel picks the port there.
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = silent.getsockname()[1]
        stack.enter_context(socket.create_server(("127.0.0.3", port), backlog=1000))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            assert filler.connect_ex(silent.getsockname()) in (0, errno.EINPROGRESS)
        yield [("127.0.0.1", port), ("127.0.0.2", port), ("127.0.0.3", port)]


def resolve_to(loop: asyncio.AbstractEventLoop, found: list[tuple[str, int]]) -> None:
    """Makes every name have these addresses."""

    async def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in found]

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]


def leave_it_to_the_collector(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio forgets the winner's socket when it is cancelled right after the race."""
    warnings.simplefilter("ignore", ResourceWarning)

    def collect() -> None:
        gc.collect()
        loop.call_later(0.01, collect)

    collect()


def test_the_decoys_notice_a_descriptor_that_is_closed_twice() -> None:
    decoys = Decoys()
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    decoys.fill()
    os.close(read)
    replacement = os.open(os.devnull, os.O_RDONLY)
    assert replacement == read
    with pytest.raises(AssertionError, match="not theirs"):
        decoys.check_and_close()
    for fd in decoys.files:
        os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["127.0.0.3", "localhost"])
def test_create_connection(run: Any, loop: asyncio.AbstractEventLoop, name: str) -> None:
    async def main() -> None:
        with socket.create_server(("" if name == "localhost" else name, 0), backlog=1000) as listener:
            port = listener.getsockname()[1]

            def attempt() -> Any:
                return loop.create_connection(Recorder, name, port, family=socket.AF_INET)

            assert await cancel_everywhere(attempt, lost) >= 1

    run(main())


@pytest.mark.slow
def test_create_connection_with_a_local_address(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
            address = listener.getsockname()
            await cancel_everywhere(
                lambda: loop.create_connection(Recorder, *address, local_addr=("127.0.0.1", 0)), lost
            )

    run(main())


@pytest.mark.slow
def test_create_connection_that_tries_one_address_after_the_other(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with addresses() as (silent, refusing, accepting):
            resolve_to(loop, [refusing, refusing, accepting])
            assert await cancel_everywhere(lambda: loop.create_connection(Recorder, "name", 1), lost) >= 2
            # And while the kernel is still waiting for the answer of the first one.
            resolve_to(loop, [silent, accepting])
            for delay in range(2, 10):
                assert await cancel_once(lambda: loop.create_connection(Recorder, "name", 1), lost, 2, delay)
            del loop.getaddrinfo

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.001])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 2), (2, 2, 2), (0, 0, 2, 2)], ids=str)
def test_create_connection_with_happy_eyeballs(
    run: Any, loop: asyncio.AbstractEventLoop, loop_name: str, delay: float, order: tuple[int, ...]
) -> None:
    async def main() -> None:
        with addresses() as found:
            resolve_to(loop, [found[number] for number in order])
            if loop_name == "asyncio":
                leave_it_to_the_collector(loop)

            def attempt() -> Any:
                return loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=delay)

            assert await cancel_everywhere(attempt, lost) >= 2
            del loop.getaddrinfo

    run(main())


@pytest.mark.slow
def test_create_connection_of_a_ready_socket(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:

            async def attempt() -> Any:
                # The caller's socket is the loop's from the call on.
                sock = socket.create_connection(listener.getsockname())
                return await loop.create_connection(Recorder, sock=sock)

            await cancel_everywhere(attempt, lost)

    run(main())


@pytest.mark.slow
def test_sock_connect(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with addresses() as (silent, _, accepting):

            async def attempt(address: Any) -> Any:
                with socket.socket() as sock:
                    sock.setblocking(False)
                    try:
                        await loop.sock_connect(sock, address)
                    finally:
                        assert loop.remove_writer(sock) is False

            async def undo(result: None) -> None:
                pass

            await cancel_everywhere(lambda: attempt(accepting), undo)
            for delay in range(10):
                assert await cancel_once(lambda: attempt(silent), undo, 1, delay)

    run(main())


@pytest.mark.slow
def test_open_connection(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
            assert await cancel_everywhere(lambda: asyncio.open_connection(*listener.getsockname()), closed) >= 1

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True], ids=["protocols", "streams"])
def test_unix_connection(run: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, streams: bool) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            path = str(tmp_path / "socket")
            listener.bind(path)
            listener.listen(1000)
            if streams:
                assert await cancel_everywhere(lambda: asyncio.open_unix_connection(path), closed) >= 1
            else:
                assert await cancel_everywhere(lambda: loop.create_unix_connection(Recorder, path), lost) >= 1

    run(main())


class Ending(asyncio.Protocol):
    """The server's end of connections that the client breaks off in the middle of a handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def eof_received(self) -> bool:
        return False


@asynccontextmanager
async def secure_server(loop: asyncio.AbstractEventLoop, context: ssl.SSLContext | None) -> Any:
    """Serves connections that may end at any time; handshakes that are broken off are no news."""
    loop.set_exception_handler(lambda loop, context: None)
    server = await loop.create_server(Ending, "127.0.0.1", 0, ssl=context, backlog=1000)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await server.wait_closed()


def ends_unnoticed(test: Test) -> Test:
    """asyncio's TLS of Python 3.10 does not note an end after the handshake, and complains when freed."""
    if sys.version_info >= (3, 11):
        return test
    return pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")(test)


@ends_unnoticed
@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True], ids=["protocols", "streams"])
def test_connection_with_tls(
    run: Any,
    loop: asyncio.AbstractEventLoop,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    streams: bool,
) -> None:
    async def main() -> None:
        if type(loop) is asyncio.SelectorEventLoop:
            leave_it_to_the_collector(loop)
        options: dict[str, Any] = {"ssl": client_context, "server_hostname": "localhost"}
        async with secure_server(loop, server_context) as address:
            if streams:
                await cancel_everywhere(lambda: asyncio.open_connection(*address, **options), closed)
            else:
                await cancel_everywhere(lambda: loop.create_connection(Recorder, *address, **options), lost)
                await cancel_everywhere(
                    lambda: loop.create_connection(Recorder, *address, happy_eyeballs_delay=0.01, **options), lost
                )

    run(main())


@ends_unnoticed
@pytest.mark.slow
def test_start_tls(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        loop.set_exception_handler(lambda loop, context: None)

        async def upgrade(transport: Any, protocol: Any) -> None:
            try:
                await loop.start_tls(transport, protocol, server_context, server_side=True)
            except (OSError, asyncio.CancelledError):
                transport.abort()

        class Upgrading(Ending):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                self.upgrade = asyncio.ensure_future(upgrade(transport, self))

            def connection_lost(self, exc: Exception | None) -> None:
                self.upgrade.cancel()

        server = await loop.create_server(Upgrading, "127.0.0.1", 0)

        async def attempt() -> Any:
            transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            try:
                secure = await loop.start_tls(transport, protocol, client_context, server_hostname="localhost")
            except BaseException:
                transport.abort()
                raise
            return secure, protocol

        assert await cancel_everywhere(attempt, lost) >= 2
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.slow
def test_connect_accepted_socket_with_tls(
    run: Any, loop: asyncio.AbstractEventLoop, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        loop.set_exception_handler(lambda loop, context: None)

        async def connect(sock: socket.socket) -> None:
            try:
                transport, protocol = await loop.create_connection(
                    Recorder, sock=sock, ssl=client_context, server_hostname="localhost"
                )
            except OSError:
                return
            await protocol.lost
            transport.abort()

        async def attempt() -> Any:
            near, far = socket.socketpair()
            peer = asyncio.ensure_future(connect(far))
            peer.add_done_callback(lambda peer: peer.cancelled() or peer.exception())
            return await loop.connect_accepted_socket(Recorder, near, ssl=server_context)

        await cancel_everywhere(attempt, lost)

    run(main())


@pytest.mark.slow
def test_datagram_endpoint_and_pipes(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Datagrams(Recorder, asyncio.DatagramProtocol):
        pass

    class Pipe(Recorder):
        pass

    async def main() -> None:
        await cancel_everywhere(lambda: loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0)), lost)

        async def pipe(end: int) -> Any:
            fds = os.pipe()
            os.close(fds[1 - end])
            file = os.fdopen(fds[end], "rb" if end == 0 else "wb", 0)
            try:
                if end == 0:
                    return await loop.connect_read_pipe(Pipe, file)
                return await loop.connect_write_pipe(Pipe, file)
            except BaseException:
                file.close()
                raise

        async def gone(result: Any) -> None:
            transport, protocol = result
            transport.close()
            await protocol.lost

        for end in (0, 1):
            await cancel_everywhere(lambda end=end: pipe(end), gone)  # type: ignore[misc]

    run(main())


@pytest.mark.slow
def test_subprocess(run: Any) -> None:
    async def main() -> None:
        async def undo(process: asyncio.subprocess.Process) -> None:
            await process.communicate()

        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        await cancel_everywhere(lambda: asyncio.create_subprocess_exec("true", **pipes), undo)

    run(main())


def test_error_of_connecting_is_held_by_nobody_else(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def connect(address: Any) -> BaseException:
        try:
            await loop.create_connection(Recorder, *address)
        except OSError as error:
            return error
        raise AssertionError

    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            error = await connect(unused.getsockname())
            holders = [holder for holder in gc.get_referrers(error) if isinstance(holder, (list, BaseException))]
            assert holders == []

    run(main())


@pytest.mark.slow
def test_client_that_goes_while_the_server_greets(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serve(loop) as (address, peers):
            for turns in range(8):
                connecting = asyncio.ensure_future(loop.create_connection(Recorder, *address))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if connecting.cancel():
                    await asyncio.wait([connecting])
                else:
                    await lost(connecting.result())
            while not peers.empty():
                await peers.get_nowait().lost

    run(main())


if sys.platform != "linux":
    pytest.skip("counts descriptors in /proc", allow_module_level=True)
