"""Private attributes of tasks and futures that AnyIO, sentry and others read: wrong ones lose cancellations."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import weakref
from typing import Any

import pytest


async def wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


def test_waiter_of_a_waiting_task(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        future = loop.create_future()

        async def wait() -> None:
            await future

        task: Any = asyncio.ensure_future(wait())
        assert task._fut_waiter is None
        await asyncio.sleep(0)
        assert task._fut_waiter is future
        assert isinstance(task._fut_waiter, asyncio.Future)
        future.set_result(None)
        await task
        assert task._fut_waiter is None

    run(main())


def test_must_cancel_until_the_next_step(run: Any) -> None:
    async def main() -> None:
        task: Any = asyncio.ensure_future(wait_for_ever())
        assert task._must_cancel is False
        task.cancel("why")
        assert task._must_cancel is True
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task._must_cancel is False

    run(main())


def test_cancel_goes_to_the_waiter(run: Any) -> None:
    async def main() -> None:
        task: Any = asyncio.ensure_future(wait_for_ever())
        await asyncio.sleep(0)
        waiter = task._fut_waiter
        assert task.cancel() is True
        assert task._must_cancel is False
        assert waiter.cancelled()
        await asyncio.wait([task])

    run(main())


def test_message_of_cancel_arrives(run: Any) -> None:
    async def main() -> None:
        messages: list[Any] = []

        async def note() -> None:
            try:
                await wait_for_ever()
            except asyncio.CancelledError as error:
                messages.append(error.args)
                raise

        task = asyncio.ensure_future(note())
        await asyncio.sleep(0)
        task.cancel("the message")
        await asyncio.wait([task])
        assert messages == [("the message",)]

    run(main())


def test_callbacks_are_pairs_of_callback_and_context(run: Any) -> None:
    async def main() -> None:
        task: Any = asyncio.ensure_future(wait_for_ever())

        def callback(task: Any) -> None:
            pass

        task.add_done_callback(callback)
        task.add_done_callback(callback)
        assert [pair[0] for pair in task._callbacks] == [callback, callback]
        assert task.remove_done_callback(callback) == 2
        await end(task)

    run(main())


def test_coroutine_and_loop(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        coroutine = wait_for_ever()
        task: Any = asyncio.ensure_future(coroutine)
        assert task._coro is coroutine
        assert task.get_coro() is coroutine
        assert task._loop is task.get_loop() is loop
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
        task._log_destroy_pending = True
        await end(task)

    run(main())


def test_task_can_be_weakly_referenced_hashed_and_have_attributes(run: Any) -> None:
    async def main() -> None:
        task: Any = asyncio.current_task()
        assert weakref.WeakKeyDictionary({task: 1})[task] == 1
        assert hash(task) == hash(task)
        task.mark = "value"
        assert task.mark == "value"
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)

    run(main())


def test_tasks_can_be_listed_and_examined(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(wait_for_ever()) for _ in range(3)]
        await asyncio.sleep(0)
        assert {*tasks, asyncio.current_task()} <= asyncio.all_tasks()
        assert asyncio.all_tasks(loop) == asyncio.all_tasks()
        assert asyncio.current_task(loop) is asyncio.current_task()
        assert [frame.f_code.co_name for frame in tasks[0].get_stack()] == ["wait_for_ever"]
        assert "pending" in repr(tasks[0])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cancel counts came with 3.11")
def test_nested_timeouts_and_groups_tell_their_cancellations_apart(run: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await wait_for_ever()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            with pytest.raises(BaseExceptionGroup) as caught:  # noqa: F821, PT012
                async with asyncio.TaskGroup() as group:
                    group.create_task(wait_for_ever())
                    group.create_task(asyncio.wait_for(wait_for_ever(), 0.001))
            assert isinstance(caught.value.exceptions[0], TimeoutError)
            # The group is asyncio's own: before 3.13 it did not take back the cancellation of its parent.
            assert task.cancelling() == (0 if sys.version_info >= (3, 13) else 1)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since 3.13")
def test_uncancel_to_zero_clears_the_pending_cancellation(run: Any) -> None:
    async def main() -> None:
        task: Any = asyncio.current_task()
        task.cancel()
        assert task.cancelling() == 1
        assert task.uncancel() == 0
        assert task._must_cancel is False
        await asyncio.sleep(0)

    run(main())


def test_task_made_by_its_class(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def child() -> int:
        return 7

    class Task(asyncio.Task):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, extra: str, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.extra = extra

        def cancel(self, msg: Any = None) -> bool:
            return super().cancel(msg)

    async def main() -> None:
        assert await asyncio.Task(child(), loop=loop, name="named") == 7
        special = Task(child(), loop=loop, extra="extra")
        assert (await special, special.extra) == (7, "extra")
        if sys.version_info >= (3, 12):
            assert asyncio.Task(child(), loop=loop, eager_start=True).done()

    run(main())


def test_the_class_of_tasks_derives_from_that_of_futures(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        future: Any = loop.create_future()
        task: Any = asyncio.ensure_future(wait_for_ever())
        assert isinstance(task, type(future))
        assert type(future).done(task) is False
        await end(task)
        assert type(future).cancelled(task) is True

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 15), reason="from Python 3.15 on")
def test_second_init_is_refused(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        future: Any = loop.create_future()
        with pytest.raises(RuntimeError, match="already initialized"):
            future.__init__(loop=loop)
        task: Any = asyncio.ensure_future(wait_for_ever())
        coroutine = wait_for_ever()
        with pytest.raises(RuntimeError, match="already initialized"):
            task.__init__(coroutine, loop=loop)
        coroutine.close()
        await end(task)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 15), reason="before, the first step fails and not the making")
def test_a_task_that_never_was_is_not_missed(run: Any, loop: Any) -> None:
    async def main() -> None:
        for make in (loop.create_task, lambda coroutine, context: asyncio.Task(coroutine, loop=loop, context=context)):
            coroutine = wait_for_ever()
            with pytest.raises(TypeError, match=r"Context was expected, got int"):
                make(coroutine, context=5)
            coroutine.close()
            gc.collect()

    run(main())  # and the loop's exception handler is told nothing
