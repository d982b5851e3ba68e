"""What a program has put where an exception belongs: it is raised as `raise` would, or refused."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


class MakesNone(Exception):
    """An exception whose class makes something else."""

    def __new__(cls, *_: Any) -> Any:
        return 1.5


ODD = [1.0, 0, "text", "", int, object(), MakesNone]


async def read(given: Any) -> None:
    reader = asyncio.StreamReader()
    reader._exception = given  # type: ignore[attr-defined]
    reader.feed_eof()
    await reader.read(1)


async def read_a_line(given: Any) -> None:
    reader = asyncio.StreamReader()
    reader._exception = given  # type: ignore[attr-defined]
    reader.feed_data(b"line\n")
    await reader.readline()


async def drain(given: Any) -> None:
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    reader._exception = given  # type: ignore[attr-defined]
    try:
        await writer.drain()
    finally:
        writer.transport.abort()
        far.close()
        await asyncio.sleep(0)


async def drain_by_a_method(given: Any) -> None:
    near, far = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=near)

    class Reader:
        def exception(self) -> Any:
            return given

    writer._reader = Reader()  # type: ignore[attr-defined]
    try:
        await writer.drain()
    finally:
        writer.transport.abort()
        far.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("use", [read, read_a_line, drain, drain_by_a_method])
@pytest.mark.parametrize("given", ODD, ids=repr)
def test_no_exception_is_a_type_error(run: Any, use: Callable[[Any], Any], given: Any) -> None:
    with pytest.raises(TypeError, match=r"exceptions must derive from BaseException|calling .* should have returned"):
        run(use(given))


@pytest.mark.parametrize("use", [read, read_a_line, drain, drain_by_a_method])
def test_classes_and_instances_are_raised(run: Any, use: Callable[[Any], Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        run(use(ZeroDivisionError))
    with pytest.raises(ValueError, match="given"):
        run(use(ValueError("given")))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before, what is done is looked at by a callback")
@pytest.mark.parametrize("given", [*ODD, ValueError], ids=repr)
def test_gather_sets_what_a_child_of_another_kind_says(package: ModuleType, run: Any, given: Any) -> None:
    class Child:
        _asyncio_future_blocking = False

        def get_loop(self) -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        def add_done_callback(self, callback: Any, context: Any = None) -> None:
            asyncio.get_running_loop().call_soon(callback, self)

        def done(self) -> bool:
            return True

        def cancelled(self) -> bool:
            return False

        def exception(self) -> Any:
            return given

    async def main() -> None:
        with pytest.raises(ValueError if given is ValueError else TypeError):
            await package.gather(Child())
        assert await package.gather(Child(), return_exceptions=True) == [given]

    run(main())


@pytest.mark.parametrize("given", ODD, ids=repr)
def test_what_is_thrown_in_ends_a_wait_by_its_own_steps(package: ModuleType, run: Any, given: Any) -> None:
    async def main() -> None:
        condition = package.Condition()
        async with condition:
            wait = condition.wait()
            wait.send(None)
            assert not condition.locked()
            with pytest.raises(TypeError, match=r"exceptions must be classes deriv|calling .* should have returned"):
                wait.throw(given)
            assert condition.locked()

    run(main())
