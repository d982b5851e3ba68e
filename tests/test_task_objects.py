"""Tasks and futures in Rust: what they inherit, what they report, who keeps them alive, on whose loop they run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from typing import Any

import aioxide
import pytest
from aioxide import _aioxide

# Reads nothing of the instance, or (awaited_by) a field that C itself keeps for instances of derived types too.
# The interpreter keeps a class's annotations in it when somebody has asked for them (3.14).
ANNOTATIONS = {"__annotate_func__", "__annotations_cache__"}
INHERITED = ANNOTATIONS | {"__class_getitem__", "__dict__", "__module__", "__weakref__", "_asyncio_awaited_by"}


@pytest.fixture
def rust_loop(reports: Any) -> Any:
    loop = aioxide.new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield loop
    loop.close()


@pytest.mark.parametrize("ours", [_aioxide.Future, _aioxide.Task])
def test_nothing_is_inherited_that_reads_the_c_fields(ours: type) -> None:
    theirs = ours.__mro__[1]
    inherited = {name for name in dir(theirs) if name not in vars(ours) and name not in dir(object)}
    assert inherited <= INHERITED


def test_classes_of_what_the_loop_makes(rust_loop: Any) -> None:
    async def nothing() -> None:
        pass

    task = rust_loop.create_task(nothing())
    assert type(task) is aioxide.Task
    assert isinstance(task, asyncio.Task)
    assert type(rust_loop.create_future()) is aioxide.Future
    rust_loop.run_until_complete(task)


def test_stock_classes_on_request() -> None:
    async def nothing() -> None:
        pass

    loop = aioxide.EventLoop(tasks=False)
    task = loop.create_task(nothing())
    assert type(task) is asyncio.Task
    assert type(loop.create_future()) is asyncio.Future
    loop.run_until_complete(task)
    loop.close()


def test_a_replaced_task_class_is_obeyed(rust_loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def kinds() -> tuple[type, type]:
        return type(asyncio.current_task()), type(asyncio.create_task(asyncio.sleep(0)))

    monkeypatch.setattr(asyncio.tasks, "Task", asyncio.tasks._PyTask)
    if sys.version_info >= (3, 14):  # each implementation has a current task of its own there
        monkeypatch.setattr(asyncio.tasks, "current_task", asyncio.tasks._py_current_task)
        monkeypatch.setattr(asyncio, "current_task", asyncio.tasks._py_current_task)
    assert rust_loop.run_until_complete(kinds()) == (asyncio.tasks._PyTask, asyncio.tasks._PyTask)
    monkeypatch.undo()
    assert rust_loop.run_until_complete(kinds()) == (aioxide.Task, aioxide.Task)


def test_overridden_call_soon_gets_every_step() -> None:
    class Counting(aioxide.EventLoop):
        calls = 0

        def call_soon(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return super().call_soon(*args, **kwargs)

    async def three_steps() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop = Counting()
    loop.run_until_complete(three_steps())
    loop.close()
    assert loop.calls >= 4


def test_factory_is_asked(rust_loop: Any) -> None:
    made = []

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        made.append(coro)
        return aioxide.Task(coro, loop=loop, **options)

    async def nothing() -> int:
        return 1

    rust_loop.set_task_factory(factory)
    assert rust_loop.get_task_factory() is factory
    assert rust_loop.run_until_complete(nothing()) == 1
    assert len(made) == 1


def test_eager_start_runs_until_the_first_wait(rust_loop: Any) -> None:
    async def main() -> None:
        log = []

        async def child() -> None:
            log.append(asyncio.current_task())
            await asyncio.sleep(0)
            log.append("end")

        me = asyncio.current_task()
        task = aioxide.Task(child(), loop=rust_loop, eager_start=True)
        assert log == [task]
        assert asyncio.current_task() is me
        assert task in asyncio.all_tasks()
        await task
        assert log == [task, "end"]

    rust_loop.run_until_complete(main())


def test_eager_task_without_a_wait_is_done_at_once(rust_loop: Any) -> None:
    async def main() -> None:
        async def child() -> int:
            return 3

        task = aioxide.Task(child(), loop=rust_loop, eager_start=True)
        assert task.done()
        assert task.result() == 3
        assert task.get_coro() is None

    rust_loop.run_until_complete(main())


def test_task_on_a_stock_loop() -> None:
    async def main() -> list[int]:
        async def child(number: int) -> int:
            await asyncio.sleep(0)
            return number

        loop = asyncio.get_running_loop()
        return await asyncio.gather(*[aioxide.Task(child(number), loop=loop) for number in range(3)])

    loop = asyncio.SelectorEventLoop()
    assert loop.run_until_complete(main()) == [0, 1, 2]
    loop.close()


def test_stock_tasks_and_futures_mix_with_ours(rust_loop: Any) -> None:
    async def main() -> list[Any]:
        async def child(future: Any) -> Any:
            return await future

        stock_future: Any = asyncio.Future(loop=rust_loop)
        our_future = rust_loop.create_future()
        tasks = [
            rust_loop.create_task(child(stock_future)),
            asyncio.Task(child(our_future), loop=rust_loop),
            asyncio.Task(child(stock_future), loop=rust_loop),
        ]
        await asyncio.sleep(0)
        stock_future.set_result(1)
        our_future.set_result(2)
        return await aioxide.gather(*tasks)

    assert rust_loop.run_until_complete(main()) == [1, 2, 1]


def test_pending_task_is_held_by_the_loop(rust_loop: Any) -> None:
    async def main() -> str:
        done = rust_loop.create_future()
        awaited: list[Any] = []

        async def child() -> None:
            inner = rust_loop.create_future()
            awaited.append(weakref.ref(inner))
            done.set_result(await inner)

        asyncio.create_task(child())
        await asyncio.sleep(0)
        gc.collect()
        awaited[0]().set_result("kept")
        return str(await done)

    assert rust_loop.run_until_complete(main()) == "kept"


def test_finished_task_is_let_go(rust_loop: Any) -> None:
    async def main() -> weakref.ref[Any]:
        async def child() -> None:
            await asyncio.sleep(0)

        task = asyncio.create_task(child())
        await task
        return weakref.ref(task)

    weak = rust_loop.run_until_complete(main())
    gc.collect()
    assert weak() is None


def test_task_pending_when_the_loop_is_closed_is_reported(reports: Any) -> None:
    loop = aioxide.new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def child() -> None:
        await loop.create_future()

    loop.create_task(child())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gc.collect()
    reports.take("Task was destroyed but it is pending!")


def test_cycle_of_task_and_coroutine_is_collected(rust_loop: Any) -> None:
    class Thing:
        pass

    async def child(thing: Any) -> None:
        thing.task = asyncio.current_task()
        await asyncio.sleep(0)
        raise ValueError(thing)

    async def main() -> weakref.ref[Any]:
        thing = Thing()
        task = asyncio.create_task(child(thing))
        with pytest.raises(ValueError):
            await task
        return weakref.ref(thing)

    weak = rust_loop.run_until_complete(main())
    gc.collect()
    assert weak() is None


def test_unretrieved_exception_is_reported(rust_loop: Any, reports: Any) -> None:
    future = rust_loop.create_future()
    future.set_exception(ValueError("lost"))
    del future
    gc.collect()
    (report,) = reports.take("Future exception was never retrieved")
    assert isinstance(report["exception"], ValueError)


def test_result_does_not_outlive_its_readers(rust_loop: Any) -> None:
    class Result:
        pass

    async def main() -> None:
        future = rust_loop.create_future()
        future.set_result(Result())
        result = await future
        weak = weakref.ref(result)
        del result, future
        assert weak() is None

    rust_loop.run_until_complete(main())


def test_uncancel_to_zero_takes_the_cancellation_back(rust_loop: Any) -> None:
    async def main() -> int:
        async def child() -> int:
            task: Any = asyncio.current_task()
            task.cancel()
            assert task.cancelling() == 1
            assert task.uncancel() == 0
            await asyncio.sleep(0)
            return 5

        return await asyncio.create_task(child())

    assert rust_loop.run_until_complete(main()) == 5


def test_context_of_a_task(rust_loop: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def child() -> int:
        await asyncio.sleep(0)
        variable.set(variable.get() + 1)
        return variable.get()

    async def main() -> list[int]:
        variable.set(10)
        context = contextvars.copy_context()
        first = await rust_loop.create_task(child(), context=context)
        second = await rust_loop.create_task(child(), context=context)
        return [first, second, variable.get()]

    assert rust_loop.run_until_complete(main()) == [11, 12, 10]


def test_gather_of_duplicates_failures_and_cancellations(rust_loop: Any) -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ValueError("no")

        async def value() -> int:
            await asyncio.sleep(0)
            return 1

        one = value()
        cancelled = rust_loop.create_task(value())
        cancelled.cancel("enough")
        results = await aioxide.gather(one, fail(), one, cancelled, return_exceptions=True)
        assert results[0] == results[2] == 1
        assert isinstance(results[1], ValueError)
        assert isinstance(results[3], asyncio.CancelledError)
        survivor = rust_loop.create_task(value())
        with pytest.raises(ValueError):
            await aioxide.gather(survivor, fail())
        assert await survivor == 1

    rust_loop.run_until_complete(main())


def test_cancelled_gather_cancels_its_children(rust_loop: Any) -> None:
    async def main() -> None:
        children = [rust_loop.create_task(aioxide.sleep(60)) for _ in range(3)]
        outer = aioxide.gather(*children)
        await asyncio.sleep(0)
        assert outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert all(child.cancelled() for child in children)

    rust_loop.run_until_complete(main())


def test_gather_with_a_limit_consumes_lazily(rust_loop: Any) -> None:
    running = most = started = 0

    async def job(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    def jobs() -> Any:
        nonlocal started
        for number in range(20):
            started += 1
            assert started <= number + 1
            yield job(number)

    async def main() -> list[int]:
        return await aioxide.gather(jobs(), limit=3)

    assert rust_loop.run_until_complete(main()) == list(range(20))
    assert most == 3


def test_gather_with_a_limit_stops_at_a_failure(rust_loop: Any) -> None:
    taken = []

    async def job(number: int) -> None:
        if number == 2:
            raise ValueError(number)

    def jobs() -> Any:
        for number in range(1000):
            taken.append(number)
            yield job(number)

    async def main() -> None:
        with pytest.raises(ValueError):
            await aioxide.gather(jobs(), limit=2)

    rust_loop.run_until_complete(main())
    assert len(taken) < 10


def test_map_keeps_order_and_the_limit(rust_loop: Any) -> None:
    async def numbers() -> Any:
        for number in range(10):
            yield number

    async def double(number: int) -> int:
        await asyncio.sleep((10 - number) / 10_000)
        return number * 2

    async def main() -> list[int]:
        return [value async for value in aioxide.map(double, numbers(), limit=4)]

    assert rust_loop.run_until_complete(main()) == [number * 2 for number in range(10)]


def test_sleep_gives_its_result_and_is_a_coroutine_for_create_task(rust_loop: Any) -> None:
    async def main() -> None:
        assert await aioxide.sleep(0, "at once") == "at once"
        assert await aioxide.sleep(0.001, (1, 2)) == (1, 2)
        assert await asyncio.create_task(aioxide.sleep(0.001, "task")) == "task"
        task = asyncio.create_task(aioxide.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    rust_loop.run_until_complete(main())


def test_memory_of_a_burst_goes_back_when_it_was_not_needed_again(rust_loop: Any) -> None:
    async def nothing() -> None:
        pass

    async def burst() -> None:
        for task in [asyncio.ensure_future(nothing()) for _ in range(5000)]:
            await task

    def blocks() -> int:
        gc.collect()
        gc.collect()  # what lay unused between two collections is given back at the second
        return sys.getallocatedblocks()

    before = blocks()
    rust_loop.run_until_complete(burst())
    assert blocks() - before < 1000
