"""AnyIO: cancel scopes, sockets, threads, subprocesses and signals; its own tests run by scripts/anyio_suite.py."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest


@pytest.fixture
def anyio_run(loop_factory: Any) -> Any:
    def run(function: Any) -> Any:
        return anyio.run(function, backend_options={"loop_factory": loop_factory})

    return run


def test_task_group_and_cancel_scope(anyio_run: Any) -> None:
    async def main() -> None:
        log: list[str] = []

        async def child(name: str) -> None:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                log.append(name)
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0)
                    log.append(f"{name} cleaned up")
                raise

        async with anyio.create_task_group() as group:
            group.start_soon(child, "one")
            group.start_soon(child, "two")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert sorted(log) == ["one", "one cleaned up", "two", "two cleaned up"]
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await anyio.sleep_forever()

    anyio_run(main)


def test_sockets(anyio_run: Any) -> None:
    async def main() -> None:
        async def echo(stream: Any) -> None:
            async with stream:
                async for data in stream:
                    await stream.send(data)

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, echo)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port) as client:
                await client.send(b"hello")
                assert await client.receive() == b"hello"
                with anyio.move_on_after(0.01):
                    await client.receive()
                await client.send(b"again")
                assert await client.receive() == b"again"
            group.cancel_scope.cancel()

    anyio_run(main)


def test_threads(anyio_run: Any) -> None:
    async def main() -> None:
        def work() -> int:
            return anyio.from_thread.run(get) + anyio.from_thread.run_sync(int, "2")

        async def get() -> int:
            await anyio.sleep(0)
            return 40

        assert await anyio.to_thread.run_sync(work) == 42

    anyio_run(main)


def test_subprocess(anyio_run: Any) -> None:
    async def main() -> None:
        result = await anyio.run_process([sys.executable, "-c", "print(input())"], input=b"hello\n")
        assert result.stdout == b"hello\n"

    anyio_run(main)


def test_signals(anyio_run: Any) -> None:
    async def main() -> None:
        with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            async for number in signals:
                assert number == signal.SIGUSR1
                break

    anyio_run(main)


def test_streams_and_locks(anyio_run: Any) -> None:
    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[int](1)
        limiter, seen = anyio.CapacityLimiter(2), []

        async def produce() -> None:
            async with send:
                for number in range(100):
                    async with limiter:
                        await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                async for number in receive:
                    seen.append(number)
        assert seen == list(range(100))

    anyio_run(main)
