"""Deadlocks: what they are made of is told, once each; and nothing is told of a program that can go on."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import aioxide
import pytest
from aioxide import monitor

from .asking import ask
from .watching import observe, until, waiting

Program = Callable[[], Awaitable[object]]
NEEDS_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has it from Python 3.11 on")


def task(coroutine: Any, name: str) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine, name=name)


CYCLES: dict[str, tuple[set[str], set[str]]] = {
    # The tasks and the kinds of the other nodes on the cycle.
    "tasks": ({"a", "b"}, set()),
    "locks": ({"a", "b"}, {"lock"}),
    "acquired": ({"a", "b"}, {"lock"}),
    "managed": ({"a", "b"}, {"lock"}),
    "generated": ({"a", "b"}, {"lock"}),
    "swallowed": ({"a", "b"}, {"lock"}),
    "semaphores": ({"a", "b"}, {"semaphore"}),
    "gather": ({"a", "b"}, {"gather"}),
    "group": ({"a", "b"}, {"task_group"}),
    "wait": ({"a", "b"}, set()),
    "shield": ({"a", "b"}, {"future"}),
    "as_completed": ({"a", "b"}, set()),
    "twice": ({"a"}, {"lock"}),
}


@pytest.fixture(scope="module")
def circles() -> Callable[[str, str], dict[str, Any]]:
    """What is found in the programs that run into a circle, by kind."""

    @cache
    def run(loop_name: str, package: str) -> dict[str, Any]:
        program = [sys.executable, str(Path(__file__).parent / "deadlocked.py"), loop_name, package]
        result = subprocess.run(program, capture_output=True, text=True, check=False, timeout=240)
        assert result.returncode == 0, result.stderr
        return {line["kind"]: line for line in map(json.loads, result.stdout.splitlines())}

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", CYCLES)
def test_cycle_is_told_with_its_members(
    circles: Callable[[str, str], dict[str, Any]], loop_name: str, package: ModuleType, kind: str
) -> None:
    found = circles(loop_name, package.__name__).get(kind)
    if found is None:
        pytest.skip("asyncio has it from Python 3.11 on, or cannot tell")
    tasks, others = CYCLES[kind]
    (deadlock,) = found["deadlocks"]
    by_id = {node["id"]: node for node in found["nodes"]}
    on_cycle = [by_id[one] for one in deadlock["cycle"]]
    assert {node["name"] for node in on_cycle if node["kind"] == "task"} == tasks
    assert {node["kind"] for node in on_cycle} - {"task"} == others
    # Each has an edge to the next, and the last to the first.
    for place, node in enumerate(on_cycle):
        following = on_cycle[(place + 1) % len(on_cycle)]["id"]
        assert following in [edge["to"] for edge in node["waits_on"]]
    assert all(f"\n  {name}, " in deadlock["text"] for name in tasks)


def futures(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))

        async def one(mine: asyncio.Future[None], other: asyncio.Future[None]) -> None:
            await other
            mine.set_result(None)

        await package.gather(task(one(first, second), "a"), task(one(second, first), "b"))

    return program


def queues(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = package.Queue(), package.Queue()

        async def one(mine: Any, other: Any) -> None:
            mine.put_nowait(await other.get())

        await package.gather(task(one(first, second), "a"), task(one(second, first), "b"))

    return program


def full_queues(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = package.Queue(1), package.Queue(1)
        first.put_nowait(0)
        second.put_nowait(0)

        async def one(mine: Any, other: Any) -> None:
            await mine.put(1)
            other.get_nowait()

        await package.gather(task(one(first, second), "a"), task(one(second, first), "b"))

    return program


def joined_queue(package: ModuleType) -> Program:
    async def program() -> None:
        queue = package.Queue()
        queue.put_nowait(0)

        async def one() -> None:
            await queue.join()

        await package.gather(task(one(), "a"), task(one(), "b"))

    return program


def events(package: ModuleType) -> Program:
    async def program() -> None:
        first, second = package.Event(), package.Event()

        async def one(mine: Any, other: Any) -> None:
            await other.wait()
            mine.set()

        await package.gather(task(one(first, second), "a"), task(one(second, first), "b"))

    return program


def conditions(package: ModuleType) -> Program:
    async def program() -> None:
        condition = package.Condition()

        async def one() -> None:
            async with condition:
                await condition.wait()
                condition.notify_all()

        await package.gather(task(one(), "a"), task(one(), "b"))

    return program


def barrier(package: ModuleType) -> Program:
    async def program() -> None:
        meeting = package.Barrier(3)

        async def one() -> None:
            await meeting.wait()

        await package.gather(task(one(), "a"), task(one(), "b"))

    return program


def acquired_semaphore(package: ModuleType) -> Program:
    async def program() -> None:
        semaphore = package.Semaphore(0)

        async def one() -> None:
            await semaphore.acquire()
            semaphore.release()

        await package.gather(task(one(), "a"), task(one(), "b"))

    return program


ENDS: dict[str, tuple[Callable[[ModuleType], Program], str, int]] = {
    "futures": (futures, "future", 2),
    "queues": (queues, "queue", 2),
    "full queues": (full_queues, "queue", 2),
    "joined queue": (joined_queue, "queue", 1),
    "events": (events, "event", 2),
    "conditions": (conditions, "condition", 1),
    "barrier": (barrier, "barrier", 1),
    "semaphore": (acquired_semaphore, "semaphore", 1),
}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=NEEDS_311 if kind == "barrier" else ()) for kind in ENDS])
def test_ends_of_chains_are_told_when_nothing_can_happen(
    loop: asyncio.AbstractEventLoop, package: ModuleType, kind: str
) -> None:
    make, ends, count = ENDS[kind]

    def look() -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        found = monitor.deadlocks()
        return (monitor.snapshot(), found) if found else None

    snapshot, (deadlock,) = observe(loop, make(package), look)
    by_id = {node["id"]: node for node in snapshot["nodes"]}
    assert [by_id[one]["kind"] for one in deadlock["ends"]] == [ends] * count
    assert deadlock["cycle"] == []
    # Both tasks, and `main`, which waits for them.
    assert deadlock["tasks"] == 3
    assert "    waited on by a, " in deadlock["text"]
    assert "    waited on by b, " in deadlock["text"]


# Programs that can go on: nothing may be told of them.


async def on_timer(loop: asyncio.AbstractEventLoop) -> None:
    waiter = loop.create_future()
    loop.call_later(3600, waiter.set_result, None)
    await waiter


async def on_sleep(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.sleep(3600)


async def on_timeout(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.create_future(), 3600)


async def on_socket(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        await loop.sock_recv(ours, 1)


async def on_connection(loop: asyncio.AbstractEventLoop) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    try:
        await loop.create_future()
    finally:
        server.close()


async def on_executor(loop: asyncio.AbstractEventLoop) -> None:
    released = threading.Event()
    try:
        await loop.run_in_executor(None, released.wait)
    finally:
        released.set()


async def on_thread(loop: asyncio.AbstractEventLoop) -> None:
    released = threading.Event()
    waiter = loop.create_future()

    def work() -> None:
        released.wait()
        loop.call_soon_threadsafe(lambda: waiter.cancelled() or waiter.set_result(None))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        await waiter
    finally:
        released.set()
        await loop.run_in_executor(None, thread.join)


async def on_signal(loop: asyncio.AbstractEventLoop) -> None:
    waiter = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, waiter.cancel)
    try:
        await waiter
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def on_child(loop: asyncio.AbstractEventLoop) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    try:
        await child.wait()
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize(
    "wait", [on_timer, on_sleep, on_timeout, on_socket, on_connection, on_executor, on_thread, on_signal, on_child]
)
def test_program_that_can_go_on_is_told_nothing_of(
    loop: asyncio.AbstractEventLoop, wait: Callable[[asyncio.AbstractEventLoop], Awaitable[None]]
) -> None:
    def look() -> list[dict[str, Any]] | None:
        return [{"found": monitor.deadlocks()}] if waiting("main", "other")() else None

    async def program() -> None:
        # It waits for something that only `main` could do.
        never = asyncio.Event()
        task(never.wait(), "other")
        await wait(loop)

    assert observe(loop, program, look) == [{"found": []}]


@pytest.mark.parametrize("broken_by", ["timeout", "wait_for", "call_later", "wait"])
def test_cycle_that_time_will_break_is_told_nothing_of(
    loop: asyncio.AbstractEventLoop, package: ModuleType, broken_by: str
) -> None:
    if broken_by == "timeout" and sys.version_info < (3, 11):
        pytest.skip("asyncio has it from Python 3.11 on")

    async def program() -> None:
        others: dict[str, asyncio.Task[Any]] = {}

        async def one() -> None:
            if broken_by == "timeout":
                async with package.timeout(3600):
                    await others["b"]
            elif broken_by == "wait_for":
                await package.wait_for(package.shield(others["b"]), 3600)
            elif broken_by == "wait":
                await package.wait([others["b"]], timeout=3600)
            else:
                await others["b"]

        async def other() -> None:
            # What it waits for cannot be cancelled through it: the circle could not be, either.
            await asyncio.wait([others["a"]])

        others |= {"a": task(one(), "a"), "b": task(other(), "b")}
        if broken_by == "call_later":
            loop.call_later(3600, others["a"].cancel)
        await asyncio.get_running_loop().create_future()

    def look() -> list[list[dict[str, Any]]] | None:
        return [monitor.deadlocks()] if waiting("main", "a", "b")() else None

    assert observe(loop, program, look) == [[]]


@pytest.mark.slow
def test_deadlock_is_reported_once_and_told_over_the_socket(loop_name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "m.sock"
    program = [sys.executable, str(Path(__file__).parent / "stuck.py"), loop_name, str(path)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as stuck:
        try:
            assert stuck.stderr
            assert (
                stuck.stderr.readline()
                == "deadlock: 3 tasks wait on what nobody is left to finish; no loop has anything to do\n"
            )
            told = [stuck.stderr.readline() for _ in range(4)]
            (found,) = until(lambda: ask(path, ask="deadlocks")["deadlocks"])
        finally:
            stuck.kill()
        # The report is not repeated.
        assert stuck.stderr.read().count("deadlock:") == 0
    lines = sorted(line.split(",")[0].strip() for line in told)
    assert lines == ["Event other", "Event other", "waited on by a", "waited on by b"]
    assert found["tasks"] == 3
    assert len(found["ends"]) == 2


LEAVING = """
import asyncio, sys
import aioxide
from aioxide import monitor

async def transfer(source, target):
    try:
        async with source:
            await asyncio.sleep(0)
            async with target:
                print("never printed")
    finally:
        print("cleaned up")

async def main():
    first, second = asyncio.Lock(), asyncio.Lock()
    await asyncio.gather(transfer(first, second), transfer(second, first))

monitor.watchdog(limit=0.2, deadlocks="exit" if sys.argv[2] == "exit" else True)
if sys.argv[1] == "aioxide":
    aioxide.install()
asyncio.run(main())
"""


def test_program_that_wants_it_ends_after_a_deadlock(loop_name: str) -> None:
    program = [sys.executable, "-c", LEAVING, loop_name, "exit"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == monitor.DEADLOCK_STATUS == 70, ended.stderr
    assert ended.stdout == "cleaned up\n" * 2
    assert ended.stderr.startswith("deadlock: 3 tasks wait on each other in a circle\n")


def test_other_program_goes_on_waiting(loop_name: str) -> None:
    program = [sys.executable, "-c", LEAVING, loop_name, "report"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("deadlock: ")
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.5)
        running.kill()


@pytest.mark.parametrize("opened", ["timer", "task", "thread", "gather", "wait"])
def test_lock_that_is_a_gate_is_no_deadlock(loop: asyncio.AbstractEventLoop, opened: str) -> None:
    """Taken by one without `async with`, which then waits for those that wait for it: somebody else gives it back."""
    monitor.deadlocks()
    found: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []

    def look() -> None:
        found.extend(monitor.deadlocks())
        seen.extend(monitor.snapshot()["nodes"])

    async def main() -> None:
        gate = aioxide.Lock()
        await gate.acquire()

        async def enter() -> None:
            async with gate:
                pass

        async def open_it() -> None:
            await asyncio.sleep(0.2)
            gate.release()

        thread = threading.Timer(0.2, lambda: loop.call_soon_threadsafe(gate.release))
        if opened == "thread":
            thread.start()
        elif opened == "task":
            task(open_it(), "opener")
        else:
            loop.call_later(0.2, gate.release)
        looking = loop.run_in_executor(None, look)
        if opened == "gather":
            await aioxide.gather(gate.acquire())
        elif opened == "wait":
            await asyncio.wait([task(gate.acquire(), "again")])
        else:
            await aioxide.gather(*(task(enter(), f"worker {number}") for number in range(2)))
        await looking
        if opened == "thread":
            thread.join()

    loop.run_until_complete(main())
    assert found == []
    # Nobody may have waited yet when somebody looked.
    locks = [node for node in seen if node["kind"] == "lock" and node.get("waits_on")]
    assert {edge["how"] for lock in locks for edge in lock["waits_on"]} <= {"taken_by"}


def test_callbacks_that_queue_each_other_may_wake_anybody(loop: asyncio.AbstractEventLoop) -> None:
    looked = threading.Event()
    found: list[dict[str, Any]] = []

    def look() -> None:
        for _ in range(50):
            found.extend(monitor.deadlocks())
        looked.set()

    async def main() -> None:
        done = loop.create_future()

        def again() -> None:
            # Whenever somebody looks, nothing is ready: this runs.
            if looked.is_set():
                done.set_result(None)
            else:
                sum(range(1000))
                loop.call_soon(again)

        loop.call_soon(again)
        thread = threading.Thread(target=look)
        thread.start()
        await done
        thread.join()

    loop.run_until_complete(main())
    assert found == []
