"""A snapshot of programs that are not well behaved: no crash, nothing of the program runs, and nothing is made up."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, ClassVar

import pytest
from aioxide import monitor

from .watching import nodes, observe, until, waiting

Loop = asyncio.AbstractEventLoop


@pytest.mark.parametrize("way", ["gather", "shield"])
def test_long_chain_of_futures(loop: Loop, package: ModuleType, way: str) -> None:
    length = 20_000

    async def program() -> dict[str, Any]:
        futures: list[asyncio.Future[Any]] = [loop.create_future()]
        for _ in range(length):
            futures.append(getattr(package, way)(futures[-1]))

        async def wait() -> None:
            await futures[-1]

        waiter = asyncio.create_task(wait())
        # Its step is in the queue before this one's next.
        await asyncio.sleep(0)
        seen = monitor.snapshot()
        futures[0].set_result(None)
        await waiter
        return seen

    assert len(loop.run_until_complete(program())["nodes"]) > length


@pytest.mark.parametrize("way", ["put", "sleep"])
def test_coroutine_that_is_passed_on_is_not_awaited(loop: Loop, package: ModuleType, way: str) -> None:
    async def job() -> None:
        pass

    async def wait() -> None:
        jobs = package.Queue(1)
        jobs.put_nowait(None)
        item = job()
        try:
            await (jobs.put(item) if way == "put" else package.sleep(3600, item))
        finally:
            item.close()

    async def program() -> None:
        await asyncio.wait([asyncio.create_task(wait(), name="waiter")])

    waiter = nodes(observe(loop, program, waiting("waiter", "main")))["waiter"]
    assert waiter["task"]["at"]["function"].endswith("wait")


class Watched:
    """Notes what is asked of it."""

    asked: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> object:
        self.asked.append(name)
        return lambda *_: None

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        self.asked.append("__dict__")
        return {}

    def __eq__(self, other: object) -> bool:
        self.asked.append("__eq__")
        return True

    __hash__ = None  # type: ignore[assignment]


class cell(Watched):  # noqa: N801
    """Is called as Python's own."""

    @property
    def cell_contents(self) -> object:
        self.asked.append("cell_contents")
        return self


class function(Watched):  # noqa: N801
    """Is called as Python's own."""

    @property
    def __globals__(self) -> object:
        self.asked.append("__globals__")
        return {}


class Server(Watched):
    """Has a method of a loop's name, and answers to any."""

    def run_forever(self, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return run()


def test_nothing_is_asked_of_the_programs_objects(loop: Loop, package: ModuleType) -> None:
    async def wait(*_arguments: object) -> None:
        event, _one, _two, _three = package.Event(), Watched(), cell(), function()
        await event.wait()

    async def program() -> None:
        await asyncio.wait([asyncio.create_task(wait(Watched(), cell()), name="waiter")])

    Watched.asked.clear()
    snapshot = Server().run_forever(lambda: observe(loop, program, waiting("waiter", "main")))
    assert len(snapshot["loops"]) == 1
    assert Watched.asked == []


def test_names_that_are_no_unicode_are_shown(loop: Loop) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    wait.__qualname__ = "w\udce4it"

    async def program() -> None:
        await asyncio.wait([asyncio.create_task(wait(), name="n\udce4me")])

    found = nodes(observe(loop, program, waiting("main")))
    assert found["n\ufffd\ufffd\ufffdme"]["task"]["coroutine"] == "w\ufffd\ufffd\ufffdit"


def test_loop_below_a_deep_recursion_is_found(loop: Loop) -> None:
    limit = sys.getrecursionlimit()
    done = threading.Event()
    seen: list[bool] = []

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            watcher = threading.Thread(target=watch)
            watcher.start()
            done.wait()
            watcher.join()

    def watch() -> None:
        seen.extend(one["running"] for one in monitor.snapshot()["loops"])
        done.set()

    async def program() -> None:
        deep(3_000)

    sys.setrecursionlimit(10_000)
    try:
        loop.run_until_complete(program())
    finally:
        sys.setrecursionlimit(limit)
    assert seen == [True]


def test_names_in_a_report_cannot_move_the_cursor(loop: Loop, package: ModuleType) -> None:
    async def wait(waits: Callable[[], Awaitable[object]]) -> None:
        await waits()

    async def program() -> None:
        first, second = package.Lock(), package.Lock()

        async def transfer(source: Any, target: Any) -> None:
            async with source:
                await asyncio.sleep(0)
                async with target:
                    pass

        name = "a\x1b[2J\x9b\n\u202eb"
        tasks = [asyncio.create_task(transfer(*locks), name=name) for locks in [(first, second), (second, first)]]
        await asyncio.wait(tasks)

    found = observe(loop, program, lambda: until(monitor.deadlocks))
    assert "a\ufffd[2J\ufffd\ufffd\ufffdb, " in found[0]["text"]
    assert found[0]["text"].replace("\n", "").isprintable()


def test_signals_handler_may_ask_while_the_monitor_is_made() -> None:
    with monitor._state.lock:
        assert monitor.snapshot()["nodes"] == []
