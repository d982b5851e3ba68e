"""Tasks of asyncio's eager factories: what a program sees of them is asyncio's, though the loop makes them itself."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")

if sys.version_info >= (3, 12):
    FACTORIES: dict[str, Callable[[], Any]] = {
        "stock": lambda: asyncio.eager_task_factory,
        "made": lambda: asyncio.create_eager_task_factory(asyncio.Task),
    }
else:
    FACTORIES = {"stock": lambda: None}

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(params=FACTORIES)
def eager_loop(loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest) -> Any:
    factory = FACTORIES[request.param]()
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    return loop


def test_what_never_waits_is_done_at_once(eager_loop: Any) -> None:
    async def main() -> None:
        outer = asyncio.current_task()

        async def child(result: int) -> Any:
            return asyncio.current_task(), asyncio.current_task() in asyncio.all_tasks(), result

        for create in (eager_loop.create_task, asyncio.create_task, asyncio.ensure_future):
            task = create(child(3))
            assert task.done()
            assert task.result() == (task, True, 3)
            assert asyncio.current_task() is outer
            assert task not in asyncio.all_tasks()

    eager_loop.run_until_complete(main())


def test_what_waits_goes_on_later_and_is_listed(eager_loop: Any) -> None:
    log: list[str] = []

    async def child(name: str) -> str:
        log.append(f"{name} begins")
        await asyncio.sleep(0)
        log.append(f"{name} goes on")
        return name

    async def main() -> None:
        first = eager_loop.create_task(child("first"))
        log.append("created")
        second = asyncio.create_task(child("second"))
        assert {first, second} <= asyncio.all_tasks()
        assert not first.done()
        assert await asyncio.gather(first, second, child("third")) == ["first", "second", "third"]

    eager_loop.run_until_complete(main())
    assert log == [
        "first begins",
        "created",
        "second begins",
        "third begins",
        "first goes on",
        "second goes on",
        "third goes on",
    ]


def test_each_runs_in_its_context(eager_loop: Any) -> None:
    async def child(value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    async def main() -> None:
        variable.set("main's")
        given = contextvars.copy_context()
        given.run(variable.set, "given")
        assert eager_loop.create_task(child("lost")).result() == "main's"
        assert asyncio.create_task(child("kept"), context=given).result() == "given"
        assert eager_loop.create_task(child("kept again"), context=given).result() == "kept"
        assert given[variable] == "kept again"
        assert variable.get() == "main's"

    eager_loop.run_until_complete(main())


def test_an_exception_of_the_first_step_is_the_tasks(eager_loop: Any) -> None:
    async def child() -> None:
        raise LookupError("planted")

    async def main() -> None:
        task = eager_loop.create_task(child())
        assert task.done()
        with pytest.raises(LookupError, match="planted"):
            await task
        results = await asyncio.gather(child(), child(), return_exceptions=True)
        assert [type(result) for result in results] == [LookupError, LookupError]
        with pytest.raises(LookupError):
            await asyncio.gather(child())

    eager_loop.run_until_complete(main())


def test_an_interrupt_leaves_create_task(eager_loop: Any) -> None:
    tasks = []

    async def child() -> None:
        tasks.append(asyncio.current_task())
        raise KeyboardInterrupt

    async def main() -> None:
        outer = asyncio.current_task()
        with pytest.raises(KeyboardInterrupt):
            eager_loop.create_task(child())
        assert asyncio.current_task() is outer
        [task] = tasks
        assert task is not None
        assert isinstance(task.exception(), KeyboardInterrupt)

    eager_loop.run_until_complete(main())


def test_cancelling_one_that_waits(eager_loop: Any) -> None:
    async def child() -> None:
        await asyncio.sleep(1000)

    async def cancels_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("by itself")
        return "lost"

    async def main() -> None:
        task = eager_loop.create_task(child())
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert eager_loop.create_task(cancels_itself()).cancelled()

    eager_loop.run_until_complete(main())


def names_seen(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Returns the names of eager tasks, in their first step and after it; "numbered" for those of the loop's making."""
    found: list[Any] = []

    def note(name: str) -> None:
        found.append("numbered" if name.startswith("Task-") else name)

    async def child() -> None:
        task = asyncio.current_task()
        assert task is not None
        note(task.get_name())

    async def main() -> None:
        loop.set_task_factory(asyncio.eager_task_factory)
        for create in (loop.create_task, asyncio.create_task):
            for options in ({}, {"name": None}, {"name": "given"}, {"name": 3}):
                note(create(child(), **options).get_name())  # type: ignore[arg-type, operator]
        await asyncio.gather(child(), asyncio.ensure_future(child()))

    loop.run_until_complete(main())
    return found


def test_names_are_given_when_this_version_gives_them(loop: asyncio.AbstractEventLoop) -> None:
    stock = asyncio.SelectorEventLoop()
    try:
        expected = names_seen(stock)
    finally:
        stock.close()
    assert names_seen(loop) == expected


def test_a_child_may_change_how_the_next_is_made(eager_loop: Any) -> None:
    log: list[str] = []

    async def first() -> None:
        log.append("first")
        eager_loop.set_task_factory(None)

    async def second() -> None:
        log.append("second")

    async def main() -> None:
        both = asyncio.gather(first(), second())
        log.append("gathered")
        await both

    eager_loop.run_until_complete(main())
    assert log == ["first", "gathered", "second"]


def test_a_factory_of_another_class_is_called(loop: asyncio.AbstractEventLoop) -> None:
    class Task(asyncio.tasks._PyTask):  # type: ignore[name-defined, misc]
        pass

    async def child() -> int:
        return 5

    async def main() -> None:
        task = loop.create_task(child())
        assert type(task) is Task
        assert task.done()

    loop.run_until_complete(asyncio.sleep(0))
    loop.set_task_factory(asyncio.create_eager_task_factory(Task))
    loop.run_until_complete(main())


def test_a_group_of_eager_tasks_that_fails(eager_loop: Any) -> None:
    log: list[str] = []

    async def child(name: str, wait: bool) -> None:
        try:
            if wait:
                await asyncio.sleep(1000)
            raise LookupError(name)
        finally:
            log.append(name)

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child("waits", True))
            group.create_task(child("fails", False))
            log.append("body goes on")
            await asyncio.sleep(1000)

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as raised:  # type: ignore[name-defined]  # noqa: F821 - from 3.11 on
            await body()
        assert [error.args for error in raised.value.exceptions] == [("fails",)]

    eager_loop.run_until_complete(main())
    assert log == ["fails", "body goes on", "waits"]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the argument came with 3.14")
def test_eager_start_is_refused_before_it_came(loop: asyncio.AbstractEventLoop) -> None:
    async def child() -> None:
        pass

    async def main() -> None:
        for create in (loop.create_task, asyncio.create_task):
            coroutine = child()
            with pytest.raises(TypeError, match="unexpected keyword argument 'eager_start'"):
                create(coroutine, eager_start=True)  # type: ignore[call-arg]
            coroutine.close()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the argument came with 3.14")
def test_eager_start_decides_for_one_task(loop: asyncio.AbstractEventLoop) -> None:
    async def child() -> None:
        pass

    async def main() -> None:
        for factory in (None, asyncio.eager_task_factory):
            loop.set_task_factory(factory)
            for create in (loop.create_task, asyncio.create_task):
                for eager in (True, False):
                    task = create(child(), eager_start=eager, name="name")  # type: ignore[call-arg]
                    assert task.done() is eager
                    assert task.get_name() == "name"
                    await task

    loop.run_until_complete(main())


def test_the_loop_makes_them_without_calling_the_factory() -> None:
    import aioxide

    calls: list[str] = []

    async def child() -> int:
        return 1

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        loop.set_task_factory(asyncio.eager_task_factory)
        sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
        try:
            task = loop.create_task(child())
        finally:
            sys.setprofile(None)
        assert type(task) is aioxide.Task
        assert task.done()

    loop = aioxide.new_event_loop()
    try:
        loop.run_until_complete(main(loop))
    finally:
        loop.close()
    assert "child" in calls
    assert "factory" not in calls


def test_a_loop_without_tasks_of_its_own_leaves_them_to_the_factory() -> None:
    import _asyncio

    import aioxide

    async def child() -> None:
        pass

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        assert type(loop.create_task(child())) is _asyncio.Task

    loop = aioxide.EventLoop(tasks=False)
    try:
        loop.set_task_factory(asyncio.eager_task_factory)
        loop.run_until_complete(main(loop))
    finally:
        loop.close()
