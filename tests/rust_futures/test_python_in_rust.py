"""Rust futures that await Python: results, cancellation in both directions, the context and the current task."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

import aioxide
import pytest

from rust_futures import HOUR, Notes, Run, turns


def test_awaiting_python_from_rust(probe: Any, run: Run) -> None:
    async def waits(value: object) -> object:
        await asyncio.sleep(0.001)
        return value

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("from Python")

    class Custom:
        def __await__(self) -> Iterator[Any]:
            yield from asyncio.sleep(0).__await__()
            return "custom"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await probe.awaits(waits(1)) == 1
        with pytest.raises(KeyError, match="from Python"):
            await probe.awaits(fails())
        assert await probe.awaits(Custom()) == "custom"
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        assert await probe.awaits(future) == "future"
        assert await probe.awaits(future) == "future"
        stock = asyncio.Future()
        loop.call_soon(stock.set_result, "stock")
        assert await probe.awaits(stock) == "stock"
        assert await probe.awaits(asyncio.ensure_future(waits(2))) == 2
        with pytest.raises(TypeError):
            await probe.awaits(7)
        assert await probe.joins(waits(1), waits(2)) == (1, 2)
        assert await probe.joins_all([waits(number) for number in range(50)]) == list(range(50))

    run(main())


def test_python_in_rust_in_python_in_rust(probe: Any, run: Run) -> None:
    async def nested(depth: int) -> int:
        if depth == 0:
            return await probe.sleeps(0.001, 0)
        return 1 + await probe.awaits(nested(depth - 1))

    assert run(nested(20)) == 20
    assert run(probe.awaits(probe.awaits(probe.awaits(probe.ready(1))))) == 1


def test_coroutine_that_never_waits_ends_within_the_poll(probe: Any, run: Run) -> None:
    async def immediate() -> str:
        return "value"

    async def main() -> None:
        seen = []
        asyncio.get_running_loop().call_soon(seen.append, 1)
        assert await probe.awaits(immediate()) == "value"
        assert seen == [] or not isinstance(asyncio.current_task(), aioxide.Task)

    run(main())


def test_cancelling_goes_through_rust_into_python(probe: Any, run: Run) -> None:
    notes = Notes()

    async def inner() -> None:
        try:
            await asyncio.sleep(HOUR)
        except asyncio.CancelledError:
            notes.append("inner")
            await asyncio.sleep(0)
            notes.append("cleaned up")
            raise

    async def main() -> None:
        outer = asyncio.ensure_future(probe.awaits(inner()))
        await turns(3)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        await turns(3)
        assert notes == ["inner", "cleaned up"]

    run(main())


def test_dropping_the_wait_cancels_the_python_task(probe: Any, run: Run) -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def inner() -> None:
            try:
                await asyncio.sleep(HOUR)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        assert await probe.awaits_for(inner(), 0.001) is None
        await cancelled.wait()
        future = asyncio.get_running_loop().create_future()
        assert await probe.awaits_for(future, 0.001) is None
        assert future.cancelled()
        assert await probe.awaits_for(asyncio.sleep(0, "in time"), HOUR) == "in time"

    run(main())


def test_cancellation_of_the_awaited_is_an_error_in_rust(probe: Any, run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(probe.awaits(future))
        await turns(2)
        future.cancel("inside")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_context_is_that_of_the_awaiting_task(probe: Any, loop: asyncio.AbstractEventLoop, run: Run) -> None:
    seen = []

    async def callee() -> None:
        seen.append(variable.get())
        await asyncio.sleep(0)
        seen.append(variable.get())
        variable.set("callee")

    async def main() -> None:
        variable.set("caller")
        await probe.calls(lambda: seen.append(variable.get()))
        await probe.awaits(callee())
        if type(asyncio.current_task()) is aioxide.Task:
            assert variable.get() == "callee"

    run(main())
    assert seen == ["caller"] * 3
    assert variable.get() == "unset"


def test_current_task_inside_of_rust_is_the_awaiting_one(probe: Any, run: Run) -> None:
    async def current() -> object:
        return asyncio.current_task()

    async def main() -> None:
        seen = []
        mine = asyncio.current_task()
        await probe.calls(lambda: seen.append(asyncio.current_task()))
        assert seen == [mine]
        assert await probe.awaits(current()) is not mine
        assert asyncio.current_task() is mine

    run(main())
