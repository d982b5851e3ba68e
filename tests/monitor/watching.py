"""Runs a program on a loop and looks at it from a thread, when it has come to rest."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aioxide import monitor

T = TypeVar("T")
# A program that has not come to rest by then never does.
PATIENCE = 20.0


def until(look: Callable[[], T]) -> T:
    """Looks until something is seen."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, "it was never seen"
        threading.Event().wait(0.005)
    return seen


def nodes(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes of a snapshot by name."""
    return {node["name"]: node for node in snapshot["nodes"]}


def edges(snapshot: dict[str, Any], name: str) -> list[tuple[str, str, str]]:
    """What a node waits on: how, the kind and the name of each."""
    by_id = {node["id"]: node for node in snapshot["nodes"]}
    found = [(edge["how"], by_id[edge["to"]]) for edge in nodes(snapshot)[name].get("waits_on", [])]
    return [(how, node["kind"], node["name"]) for how, node in found]


def waiting(*names: str) -> Callable[[], dict[str, Any] | None]:
    """A look that sees a snapshot of a program at rest, in which all tasks of these names wait."""

    def is_at_rest(snapshot: dict[str, Any]) -> bool:
        known = {node["id"] for node in snapshot["nodes"]}
        states = {node["name"]: node["task"]["state"] for node in snapshot["nodes"] if node["kind"] == "task"}
        # What was made while the snapshot was taken is not in it.
        whole = all(edge["to"] in known for node in snapshot["nodes"] for edge in node.get("waits_on", []))
        return whole and set(states.values()) == {"waiting"} and set(names) <= set(states)

    def look() -> dict[str, Any] | None:
        # At rest before and after: so it was at rest all the time of the second.
        first, second = monitor.snapshot(), monitor.snapshot()
        return second if is_at_rest(first) and is_at_rest(second) else None

    return look


def observe(loop: asyncio.AbstractEventLoop, program: Callable[[], Awaitable[object]], look: Callable[[], T]) -> T:
    """Runs `program` until `look`, called on a thread, sees something; then cancels all its tasks and returns that."""
    seen: list[T] = []
    failed: list[BaseException] = []

    async def main() -> None:
        thread = threading.Thread(target=watch)
        me = asyncio.current_task()
        assert me
        me.set_name("main")
        thread.start()
        try:
            await program()
        except asyncio.CancelledError:
            pass
        finally:
            others = asyncio.all_tasks() - {me}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            # The thread has seen what it wanted before it cancelled; or the program has ended without it.
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    def watch() -> None:
        try:
            seen.append(until(look))
        except BaseException as error:
            failed.append(error)
        finally:
            loop.call_soon_threadsafe(task.cancel)

    task = loop.create_task(main())
    loop.run_until_complete(task)
    if failed:
        raise failed[0]
    return seen[0]
