"""What a snapshot shows of each kind of wait, and what it does not show."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

import aioxide
import pytest
from aioxide import monitor

from .watching import edges, nodes, observe, waiting

Loop = asyncio.AbstractEventLoop
NEEDS_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has it from Python 3.11 on")
HOUR = 3600


def see(loop: Loop, wait: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """The snapshot in which a task of the name `waiter` waits on what `wait` awaits."""

    async def program() -> None:
        task = loop.create_task(wait(), name="waiter")  # type: ignore[arg-type]
        await asyncio.wait([task])

    return observe(loop, program, waiting("waiter", "main"))


@pytest.mark.parametrize("way", ["get", "put", "join"])
def test_queue_with_its_name_and_size(loop: Loop, package: ModuleType, way: str) -> None:
    async def wait() -> None:
        jobs = package.Queue(1)
        if way != "get":
            jobs.put_nowait(None)
        await (jobs.put(None) if way == "put" else getattr(jobs, way)())

    snapshot = see(loop, wait)
    assert edges(snapshot, "waiter") == [(way, "queue", "Queue jobs")]
    queue = nodes(snapshot)["Queue jobs"]
    assert queue["detail"] == {"size": 0 if way == "get" else 1, "limit": 1}
    assert queue["waited_by"] == [nodes(snapshot)["waiter"]["id"]]


def test_lock_with_its_holder(loop: Loop, package: ModuleType) -> None:
    async def wait() -> None:
        lock = package.Lock()

        async def hold() -> None:
            async with lock:
                await asyncio.sleep(HOUR)

        loop.create_task(hold(), name="holder")
        await asyncio.sleep(0)
        async with lock:
            raise AssertionError("it was taken")

    snapshot = see(loop, wait)
    assert edges(snapshot, "waiter") == [("acquire", "lock", "Lock lock")]
    assert edges(snapshot, "Lock lock") == [("held_by", "task", "holder")]
    assert nodes(snapshot)["Lock lock"]["detail"] == {"set": True}


@pytest.mark.parametrize("way", ["waits", "waits first", "has given it back", "has ended"])
def test_lock_without_a_block_knows_who_has_it(loop: Loop, way: str) -> None:
    """`await lock.acquire()`: no frame tells, so that the lock does, from the first snapshot on."""
    monitor.snapshot()

    async def wait() -> None:
        lock = aioxide.Lock()

        async def hold() -> None:
            if way == "waits first":
                await lock.acquire()
                asyncio.get_running_loop().call_soon(lock.release)
            await lock.acquire()
            if way == "has given it back":
                # Taken by asyncio's own way, which tells nobody.
                lock.release()
                lock._locked = True  # type: ignore[attr-defined]
            if way != "has ended":
                await asyncio.sleep(HOUR)

        loop.create_task(hold(), name="holder")
        for _ in range(5):
            await asyncio.sleep(0)
        async with lock:
            raise AssertionError("it was taken")

    snapshot = see(loop, wait)
    held = [("taken_by", "task", "holder")] if way.startswith("waits") else []
    assert edges(snapshot, "Lock lock") == held
    assert nodes(snapshot)["Lock lock"]["detail"] == {"set": True}


def test_what_a_program_calls_by_the_same_names_is_its_own(loop: Loop) -> None:
    """Nothing of it is asked for who has a lock, or for steps; and it can be copied."""
    asked: list[str] = []

    class Owned(aioxide.Lock):
        def __init__(self) -> None:
            super().__init__()
            self._owner = self._holder_task = None

        def _holder(self) -> None:
            asked.append("holder")

    async def wait() -> None:
        lock = Owned()
        await lock.acquire()
        copied = copy.copy(lock)
        assert copied.locked()
        copied.release()
        await lock.acquire()

    snapshot = see(loop, wait)
    # It has taken it itself.
    assert edges(snapshot, "Owned lock") == [("taken_by", "task", "waiter")]
    assert asked == []


def test_lock_held_through_a_context_manager(loop: Loop, package: ModuleType) -> None:
    async def wait() -> None:
        lock = package.Lock()

        @contextlib.asynccontextmanager
        async def locked() -> AsyncIterator[None]:
            async with lock:
                yield

        async def hold() -> None:
            async with locked():
                await asyncio.sleep(HOUR)

        loop.create_task(hold(), name="holder")
        await asyncio.sleep(0)
        async with lock:
            raise AssertionError("it was taken")

    snapshot = see(loop, wait)
    assert edges(snapshot, "Lock lock") == [("held_by", "task", "holder")]


def test_event_named_where_the_variables_were_asked_for(loop: Loop, package: ModuleType) -> None:
    async def use(first: Any, second: Any) -> None:
        assert locals().keys() == {"first", "second"}
        await first.wait()

    snapshot = see(loop, lambda: use(package.Event(), package.Event()))
    assert edges(snapshot, "waiter") == [("wait", "event", "Event first")]


def test_semaphore_named_by_an_attribute(loop: Loop, package: ModuleType) -> None:
    class Pool:
        def __init__(self) -> None:
            self.connections = package.Semaphore(0)

        async def use(self) -> None:
            async with self.connections:
                raise AssertionError("there is none")

    snapshot = see(loop, lambda: Pool().use())
    assert edges(snapshot, "waiter") == [("acquire", "semaphore", "Semaphore connections")]
    assert nodes(snapshot)["Semaphore connections"]["detail"]["size"] == 0


def test_event_of_a_variable_that_is_shared_with_a_function(loop: Loop, package: ModuleType) -> None:
    ready = package.Event()

    async def wait() -> None:
        await ready.wait()

    snapshot = see(loop, wait)
    assert edges(snapshot, "waiter") == [("wait", "event", "Event ready")]
    assert nodes(snapshot)["Event ready"]["detail"] == {"set": False}


def test_condition_is_not_held_by_who_waits_for_it(loop: Loop, package: ModuleType) -> None:
    async def wait() -> None:
        changed = package.Condition()
        async with changed:
            await changed.wait()

    snapshot = see(loop, wait)
    assert edges(snapshot, "waiter") == [("wait", "condition", "Condition changed")]
    assert not [node for node in snapshot["nodes"] if node["kind"] in ("lock", "condition") and "waits_on" in node]


@NEEDS_311
def test_barrier_with_who_has_come(loop: Loop, package: ModuleType) -> None:
    async def wait() -> None:
        await package.Barrier(3).wait()

    snapshot = see(loop, wait)
    assert [(how, kind) for how, kind, _ in edges(snapshot, "waiter")] == [("wait", "barrier")]
    (barrier,) = [node for node in snapshot["nodes"] if node["kind"] == "barrier"]
    assert barrier["detail"] == {"size": 1, "limit": 3}


def test_sleep_is_a_timer(loop: Loop, package: ModuleType) -> None:
    snapshot = see(loop, lambda: package.sleep(HOUR))
    ((how, kind, name),) = edges(snapshot, "waiter")
    assert (how, kind) == ("finished_by", "timer")
    assert 0 < nodes(snapshot)[name]["detail"]["left_ms"] <= HOUR * 1000
    assert snapshot["loops"][0]["timers"] == 1


@NEEDS_311
def test_timeout_stands_beside_what_is_waited_on(loop: Loop, package: ModuleType) -> None:
    event = package.Event()

    async def wait() -> None:
        async with package.timeout(HOUR):
            await event.wait()

    first, second = edges(see(loop, wait), "waiter")
    assert first == ("wait", "event", "Event event")
    assert second[:2] == ("finished_by", "timer")


def test_gather_and_its_children(loop: Loop, package: ModuleType) -> None:
    async def leaf() -> None:
        await asyncio.sleep(HOUR)

    async def wait() -> None:
        await package.gather(*(loop.create_task(leaf(), name=name) for name in "ab"))

    snapshot = see(loop, wait)
    ((how, kind, name),) = edges(snapshot, "waiter")
    assert (how, kind) == ("await", "gather")
    assert edges(snapshot, name) == [("gather", "task", "a"), ("gather", "task", "b")]


@NEEDS_311
def test_group_and_its_tasks(loop: Loop, package: ModuleType) -> None:
    async def wait() -> None:
        async with package.TaskGroup() as group:
            group.create_task(asyncio.sleep(HOUR), name="a")

    snapshot = see(loop, wait)
    ((how, kind, name),) = edges(snapshot, "waiter")
    assert (how, kind) == ("await", "task_group")
    assert edges(snapshot, name) == [("task_group", "task", "a")]


@pytest.mark.parametrize("way", ["wait", "wait_for", "as_completed", "shield", "await"])
def test_task_behind_each_function(loop: Loop, package: ModuleType, way: str) -> None:
    async def leaf() -> None:
        await asyncio.sleep(HOUR)

    async def wait() -> None:
        inner = loop.create_task(leaf(), name="inner")
        if way == "wait":
            await package.wait([inner])
        elif way == "wait_for":
            await package.wait_for(inner, HOUR)
        elif way == "shield":
            await package.shield(inner)
        elif way == "await":
            await inner
        else:
            for one in package.as_completed([inner]):
                await one

    snapshot = see(loop, wait)
    by_id = {node["id"]: node for node in snapshot["nodes"]}
    reached = set()
    todo = [nodes(snapshot)["waiter"]]
    while todo:
        for edge in todo.pop().get("waits_on", []):
            node = by_id[edge["to"]]
            if node["name"] not in reached:
                reached.add(node["name"])
                todo.append(node)
    assert "inner" in reached
    # From Python 3.14 on, futures know who awaits them: that is no wait of theirs.
    assert "waiter" not in reached


def test_call_in_a_thread_is_a_job(loop: Loop) -> None:
    released = threading.Event()

    async def wait() -> None:
        try:
            await loop.run_in_executor(None, released.wait)
        finally:
            released.set()

    snapshot = see(loop, wait)
    ((_, kind, name),) = edges(snapshot, "waiter")
    assert kind == "future"
    assert edges(snapshot, name) == [("finished_by", "job", "call in a thread")]
    assert snapshot["loops"][0]["jobs"] == 1


def test_connection_with_its_peer(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        async def wait() -> None:
            reader, writer = await asyncio.open_connection(*address)
            try:
                await reader.readline()
            finally:
                writer.close()

        snapshot = see(loop, wait)
    ((how, kind, name),) = edges(snapshot, "waiter")
    assert (how, kind) == ("finished_by", "descriptor")
    detail = nodes(snapshot)[name]["detail"]
    assert detail["peer"] == "{}:{}".format(*address)
    assert detail["direction"] == "read"


def test_child_with_its_number(loop: Loop) -> None:
    pids = []

    async def wait() -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=pipe)
        pids.append(child.pid)
        try:
            await child.wait()
        finally:
            child.kill()
            await child.wait()

    def look() -> dict[str, Any] | None:
        snapshot = waiting("waiter")()
        return snapshot if snapshot and any(node["kind"] == "child" for node in snapshot["nodes"]) else None

    async def program() -> None:
        await asyncio.wait([loop.create_task(wait(), name="waiter")])

    snapshot = observe(loop, program, look)
    (child,) = [node for node in snapshot["nodes"] if node["kind"] == "child"]
    assert [child["detail"]["pid"]] == pids


def test_task_tells_where_it_is_and_its_stack(loop: Loop) -> None:
    async def inner(event: asyncio.Event) -> None:
        await event.wait()

    async def wait() -> None:
        await inner(asyncio.Event())

    def look() -> dict[str, Any] | None:
        return monitor.snapshot(stacks=True) if waiting("waiter")() else None

    async def program() -> None:
        await asyncio.wait([loop.create_task(wait(), name="waiter")])

    task = nodes(observe(loop, program, look))["waiter"]["task"]
    assert task["coroutine"].endswith("<locals>.wait")
    assert task["at"]["file"] == __file__
    assert task["at"]["line"] == inner.__code__.co_firstlineno + 1
    functions = [frame["function"].rsplit(".", 1)[1] for frame in task["stack"] if frame["file"] == __file__]
    assert functions == ["wait", "inner"]


def test_states_of_tasks(loop: Loop) -> None:
    async def main() -> dict[str, Any]:
        loop.create_task(asyncio.sleep(HOUR), name="waiting")
        await asyncio.sleep(0)
        loop.create_task(asyncio.sleep(HOUR), name="ready")
        snapshot = monitor.snapshot()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return snapshot

    snapshot = loop.run_until_complete(main())
    tasks = nodes(snapshot)
    (running,) = [node["name"] for node in snapshot["nodes"] if node.get("task", {}).get("state") == "running"]
    assert running not in ("waiting", "ready")
    assert tasks["waiting"]["task"]["state"] == "waiting"
    assert tasks["ready"]["task"]["state"] == "ready"
    assert snapshot["loops"][0]["running"]
    assert snapshot["loops"][0]["tasks"] == 3
    loop.run_until_complete(asyncio.sleep(0))


def test_limit_and_what_is_left_out(loop: Loop) -> None:
    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        tasks = [loop.create_task(asyncio.sleep(HOUR)) for _ in range(20)]
        await asyncio.sleep(0)
        whole, snapshot = monitor.snapshot(), monitor.snapshot(limit=5)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return whole, snapshot

    whole, snapshot = loop.run_until_complete(main())
    # Tests before this one may have left tasks.
    every, some = (sum(node["kind"] == "task" for node in one["nodes"]) for one in (whole, snapshot))
    assert every >= 21
    assert some == 5
    # Whether one that is left out has just ended is not looked at.
    assert snapshot["left_out"] >= every - 5


def test_no_value_of_the_program_is_in_a_snapshot(loop: Loop, package: ModuleType) -> None:
    class Secretive:
        """Its text is a secret, and nobody asks for it."""

        def __repr__(self) -> str:
            raise AssertionError("it was asked for its text")

        def __hash__(self) -> int:
            raise AssertionError("it was hashed")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"it was asked for {name}")

        def __eq__(self, other: object) -> bool:
            raise AssertionError("it was compared")

    async def wait(password: str, secretive: Secretive) -> None:
        queue = package.Queue(1)
        queue.put_nowait("hunter2")
        token = password + "!"
        await queue.put((token, secretive))

    def look() -> str | None:
        return json.dumps(monitor.snapshot(stacks=True)) if waiting("waiter")() else None

    async def program() -> None:
        await asyncio.wait([loop.create_task(wait("hunter2", Secretive()), name="waiter")])

    text = observe(loop, program, look)
    assert "Queue queue" in text
    assert "hunter2" not in text


def test_snapshot_holds_nothing_of_the_program(loop: Loop) -> None:
    # The census after the test counts what is left.
    for _ in range(3):
        see(loop, lambda: asyncio.Event().wait())
        assert loop.is_running() is False
