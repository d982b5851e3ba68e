"""asyncio's own methods on aioxide's tasks and futures: `asyncio.Task.cancel(task)` does what `task.cancel()` does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aioxide
import pytest

PROGRAM = Path(__file__).with_name("unbound_calls.py")

# aioxide takes a pending cancellation back on every version, asyncio since 3.13.
TAKES_BACK = sys.version_info >= (3, 13)


def stories(which: str) -> dict[tuple[str, ...], Any]:
    """What each call does, on whose objects."""
    ran = subprocess.run([sys.executable, PROGRAM, which], stdout=subprocess.PIPE, text=True, check=True)
    return {tuple(map(str, line[:-1])): line[-1] for line in map(json.loads, ran.stdout.splitlines())}


def test_everything_that_asyncios_classes_have_does_the_same_on_our_objects() -> None:
    stock, ours = stories("asyncio"), stories("aioxide")
    assert len(stock) > 2000
    differences = {}
    for call, story in stock.items():
        if "uncancel called 0" in call and "to be cancelled" in call and not TAKES_BACK:
            continue
        if ours[call] != story:
            differences["/".join(call)] = (story, ours[call])
    assert not differences


async def work() -> int:
    await asyncio.sleep(0.05)
    return 1


def test_mapped_cancel_cancels(run: Any) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(work()) for _ in range(3)]
        await asyncio.sleep(0)
        assert list(map(asyncio.Task.cancel, tasks)) == [True] * 3
        await asyncio.wait(tasks)
        assert all(map(asyncio.Task.cancelled, tasks))

    run(main())


def test_future_is_set_by_its_class(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        future = loop.create_future()
        loop.call_soon_threadsafe(asyncio.Future.set_result, future, 5)
        assert await future == 5

    run(main())


def test_class_between_ours_and_asyncios_reaches_both(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    called = []

    class Stock(asyncio.Task):  # type: ignore[type-arg]
        def cancel(self, msg: object = None) -> bool:
            called.append("between")
            return super().cancel(msg)

    async def main() -> None:
        base: type = type(asyncio.current_task())
        mixed = type("Mixed", (Stock,) if base is asyncio.Task else (Stock, base), {})
        task = mixed(work(), loop=loop)
        await asyncio.sleep(0)
        assert task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert called == ["between"]

    run(main())


def test_init_of_asyncios_class_begins_our_task(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        base: type = type(asyncio.current_task())

        class Derived(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                asyncio.Task.__init__(self, work(), loop=loop)

        assert await Derived() == 1

    run(main())


@pytest.mark.parametrize("name", ["cancel", "done", "_state", "__init__", "__repr__"])
def test_descriptors_stay_what_they_were(name: str) -> None:
    # The class that has it is Future for some of them, depending on the release.
    asked = (
        "import asyncio, inspect, sys; before = inspect.getattr_static(asyncio.Task, %r);"
        "told = repr(before), before.__doc__, type(before);"
        "import aioxide; after = inspect.getattr_static(asyncio.Task, %r);"
        "sys.exit(not (before is after and told == (repr(after), after.__doc__, type(after))))"
    )
    subprocess.run([sys.executable, "-c", asked % (name, name)], check=True)


def test_asyncios_own_tasks_are_asyncios() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(work())
        assert type(task) is asyncio.Task
        asyncio.Task.cancel(task, "why")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.Task.cancelled(task)

    assert aioxide.Task is not asyncio.Task
    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(main())
    loop.close()


def test_report_of_a_task_that_was_ended_by_others_has_the_handle(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    """The step that comes too late is no callback of the program's; asyncio's report has a handle all the same."""
    seen: list[dict[str, Any]] = []

    async def main() -> None:
        gate = loop.create_future()

        async def wait() -> None:
            await gate

        loop.set_exception_handler(lambda loop, context: seen.append(context))
        coro = wait()
        early = asyncio.ensure_future(coro)
        asyncio.Future.set_result(early, None)
        late = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        coro.close()
        asyncio.Future.set_result(late, None)
        gate.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [context["handle"]._args for context in seen] == [(), (gate,)]

    run(main())
    assert {type(context["exception"]) for context in seen} == {asyncio.InvalidStateError}
    assert all(isinstance(context["handle"], asyncio.Handle) for context in seen)
    assert all(context["handle"]._loop is loop for context in seen)
    seen.clear()
