"""Programs that run into a circle, each on a loop of its own, in a process of their own: they cannot even be cancelled.

`python deadlocked.py LOOP PACKAGE` prints a line of JSON for each: its kind, the deadlocks that were found, the nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import ModuleType
from typing import Any

import aioxide
from aioxide import monitor

Program = Callable[[], Awaitable[object]]


# asyncio's loop would let the collector have them.
KEPT: list[Any] = []


def task(coroutine: Any, name: str) -> asyncio.Task[Any]:
    made = asyncio.get_running_loop().create_task(coroutine, name=name)
    KEPT.append(made)
    return made


async def crossed(both: Callable[[Any, Any], Coroutine[Any, Any, None]], first: Any, second: Any) -> None:
    """Two tasks that take the same two, each in its own order; for ever."""
    task(both(first, second), "a")
    task(both(second, first), "b")
    await asyncio.get_running_loop().create_future()


def tasks_await_each_other(package: ModuleType) -> Program:
    async def program() -> None:
        others: dict[str, asyncio.Task[Any]] = {}

        async def wait_for(name: str) -> None:
            await others[name]

        others |= {"a": task(wait_for("b"), "a"), "b": task(wait_for("a"), "b")}
        await asyncio.get_running_loop().create_future()

    return program


def two_locks(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = package.Lock(), package.Lock()
        taken = package.Barrier(2) if hasattr(package, "Barrier") else None

        async def both(one: Any, other: Any) -> None:
            async with one:
                await (taken.wait() if taken else asyncio.sleep(0.01))
                async with other:
                    raise AssertionError("it was a deadlock")

        await crossed(both, first, second)

    return program


def two_locks_acquired(package: ModuleType) -> Program:
    """Without `async with`: nothing in a frame tells who has them."""

    async def program() -> None:
        first, second = package.Lock(), package.Lock()

        async def both(one: Any, other: Any) -> None:
            await one.acquire()
            try:
                await package.sleep(0)
                await other.acquire()
                raise AssertionError("it was a deadlock")
            finally:
                one.release()

        await crossed(both, first, second)

    return program


def managed_locks(package: ModuleType) -> Program:
    """Through context managers that are made of generators, one inside of the other."""

    async def program() -> None:
        first, second = package.Lock(), package.Lock()

        @contextlib.asynccontextmanager
        async def inner(lock: Any) -> AsyncIterator[None]:
            async with lock:
                yield

        @contextlib.asynccontextmanager
        async def outer(lock: Any) -> AsyncIterator[None]:
            async with inner(lock):
                yield

        async def both(one: Any, other: Any) -> None:
            async with outer(one):
                await package.sleep(0)
                async with outer(other):
                    raise AssertionError("it was a deadlock")

        await crossed(both, first, second)

    return program


def generated_locks(package: ModuleType) -> Program:
    """Inside of a generator that stands still."""

    async def program() -> None:
        first, second = package.Lock(), package.Lock()

        async def rows(lock: Any) -> AsyncIterator[None]:
            async with lock:
                yield

        async def both(one: Any, other: Any) -> None:
            async for _ in rows(one):
                await package.sleep(0)
                async with other:
                    raise AssertionError("it was a deadlock")

        await crossed(both, first, second)

    return program


def swallowed_cancellations(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = package.Lock(), package.Lock()

        async def both(one: Any, other: Any) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
            async with one:
                await package.sleep(0)
                async with other:
                    raise AssertionError("it was a deadlock")

        tasks = [task(both(first, second), "a"), task(both(second, first), "b")]
        await asyncio.sleep(0)
        for one in tasks:
            one.cancel()
        await asyncio.get_running_loop().create_future()

    return program


def two_semaphores(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = package.BoundedSemaphore(1), package.BoundedSemaphore(1)

        async def both(one: Any, other: Any) -> None:
            async with one:
                await package.sleep(0)
                async with other:
                    raise AssertionError("it was a deadlock")

        await crossed(both, first, second)

    return program


def gather_of_its_own_parent(package: ModuleType) -> Program:
    async def program() -> None:
        async def child(parent: asyncio.Task[Any]) -> None:
            await parent

        async def parent() -> None:
            me = asyncio.current_task()
            assert me
            await package.gather(task(child(me), "b"))

        task(parent(), "a")
        await asyncio.get_running_loop().create_future()

    return program


def group_of_its_own_parent(package: ModuleType) -> Program:
    async def program() -> None:
        async def child(parent: asyncio.Task[Any]) -> None:
            await parent

        async def parent() -> None:
            me = asyncio.current_task()
            async with package.TaskGroup() as group:
                group.create_task(child(me), name="b")  # type: ignore[arg-type]

        task(parent(), "a")
        await asyncio.get_running_loop().create_future()

    return program


def waits_for_each_other(package: ModuleType) -> Program:
    async def program() -> None:
        others: dict[str, asyncio.Task[Any]] = {}

        async def wait(name: str) -> None:
            await package.wait([others[name]])

        others |= {"a": task(wait("b"), "a"), "b": task(wait("a"), "b")}
        await asyncio.get_running_loop().create_future()

    return program


def shield_of_one_that_waits_for_it(package: ModuleType) -> Program:
    async def program() -> None:
        others: dict[str, asyncio.Task[Any]] = {}

        async def shielding() -> None:
            await package.shield(others["b"])

        async def back() -> None:
            await others["a"]

        others |= {"a": task(shielding(), "a"), "b": task(back(), "b")}
        await asyncio.get_running_loop().create_future()

    return program


def as_completed_of_its_own_parent(package: ModuleType) -> Program:
    async def program() -> None:
        async def child(parent: asyncio.Task[Any]) -> None:
            await parent

        async def parent() -> None:
            me = asyncio.current_task()
            assert me
            for one in package.as_completed([task(child(me), "b")]):
                await one

        task(parent(), "a")
        await asyncio.get_running_loop().create_future()

    return program


def lock_taken_twice(package: ModuleType) -> Program:
    async def program() -> None:
        lock = package.Lock()

        async def twice() -> None:
            async with lock, lock:
                raise AssertionError("it was a deadlock")

        task(twice(), "a")
        await asyncio.get_running_loop().create_future()

    return program


PROGRAMS: dict[str, Callable[[ModuleType], Program]] = {
    "tasks": tasks_await_each_other,
    "locks": two_locks,
    "acquired": two_locks_acquired,
    "managed": managed_locks,
    "generated": generated_locks,
    "swallowed": swallowed_cancellations,
    "semaphores": two_semaphores,
    "gather": gather_of_its_own_parent,
    "group": group_of_its_own_parent,
    "wait": waits_for_each_other,
    "shield": shield_of_one_that_waits_for_it,
    "as_completed": as_completed_of_its_own_parent,
    "twice": lock_taken_twice,
}


def run(loop: asyncio.AbstractEventLoop, program: Program) -> dict[str, Any]:
    """Runs a program until its circle is found, and leaves it as it is."""
    found: dict[str, Any] = {"deadlocks": [], "nodes": []}

    def watch() -> None:
        deadline = time.monotonic() + 10
        while not found["deadlocks"] and time.monotonic() < deadline:
            time.sleep(0.005)
            # The programs before are still there, on loops that do not run.
            told = [one for one in monitor.deadlocks() if one["cycle"] and one["loop_id"] == id(loop)]
            found["deadlocks"] = told
        found["nodes"] = monitor.snapshot()["nodes"]
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=watch)
    kept = loop.create_task(program(), name="main")  # type: ignore[arg-type, var-annotated]
    thread.start()
    loop.run_forever()
    thread.join()
    KEPT.append((loop, kept))
    return found


if __name__ == "__main__":
    make = aioxide.new_event_loop if sys.argv[1] == "aioxide" else asyncio.SelectorEventLoop
    package = importlib.import_module(sys.argv[2])
    for kind, program in PROGRAMS.items():
        # asyncio's locks do not know who has them.
        if kind == "acquired" and package is asyncio:
            continue
        # Python 3.10 has no group; aioxide's needs its own tasks there.
        if kind != "group" or sys.version_info >= (3, 11) or sys.argv[1:] == ["aioxide", "aioxide"]:
            print(json.dumps({"kind": kind, **run(make(), program(package))}), flush=True)
    # Nothing of it can be ended in order.
    os._exit(0)
