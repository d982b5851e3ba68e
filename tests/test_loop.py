"""The loop as an object, its running and stopping, and what libraries do to it."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
import weakref
from asyncio import base_events, events
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aioxide
import pytest


async def nothing() -> None:
    await asyncio.sleep(0)


def test_is_an_abstract_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert type(loop).__name__ in repr(loop)


def test_can_be_weakly_referenced_and_be_a_key(loop: asyncio.AbstractEventLoop) -> None:
    table = weakref.WeakKeyDictionary({loop: "value"})
    assert table[loop] == "value"
    assert {loop: 1}[loop] == 1


def test_takes_attributes_and_overridden_methods(loop: asyncio.AbstractEventLoop) -> None:
    closed: list[str] = []
    original = loop.close

    def close() -> None:
        closed.append("closed")
        original()

    loop.close = close  # type: ignore[method-assign]
    loop._patched = True  # type: ignore[attr-defined]
    loop.set_default_executor = lambda executor: None  # type: ignore[method-assign]
    loop.close()
    assert closed == ["closed"]
    assert loop.is_closed()
    assert loop._patched  # type: ignore[attr-defined]
    del loop.close


def test_run_until_complete_returns_the_result(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7
    assert not loop.is_running()


def test_run_until_complete_stopped_early(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)


def test_stop_before_running_makes_one_iteration(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []
    loop.call_soon(order.append, "ran")
    loop.stop()
    loop.run_forever()
    assert order == ["ran"]


def test_runs_again_after_stop(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1


def test_running_loop_cannot_be_run_or_closed(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="running"):
            loop.close()
        future = loop.create_future()
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(future)

    loop.run_until_complete(main())


def test_another_loop_cannot_run_inside(loop: asyncio.AbstractEventLoop, loop_factory: Any) -> None:
    async def main() -> None:
        other = loop_factory()
        try:
            with pytest.raises(RuntimeError, match="another loop is running"):
                other.run_forever()
        finally:
            other.close()

    loop.run_until_complete(main())


def test_closed_loop_refuses_to_run(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    coroutine = nothing()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_running_loop_is_the_one_asyncio_knows(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert asyncio.get_running_loop() is loop
        assert asyncio.get_event_loop() is loop
        assert events._get_running_loop() is loop

    loop.run_until_complete(main())
    assert events._get_running_loop() is None


def test_running_loop_may_be_hidden_for_a_while(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        events._set_running_loop(None)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        events._set_running_loop(loop)
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_thread_id_tells_the_loops_thread(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> int | None:
        return loop._thread_id  # type: ignore[attr-defined, no-any-return]

    assert loop.run_until_complete(main()) == threading.get_ident()
    assert loop._thread_id is None  # type: ignore[attr-defined]


def test_ready_and_scheduled_can_be_counted(loop: asyncio.AbstractEventLoop) -> None:
    assert (len(loop._ready), len(loop._scheduled)) == (0, 0)  # type: ignore[attr-defined]
    handles = [loop.call_soon(print), loop.call_later(100, print)]
    assert len(loop._ready) == 1  # type: ignore[attr-defined]
    assert [handle.when() for handle in loop._scheduled] == [handles[1].when()]  # type: ignore[attr-defined]
    for handle in handles:
        handle.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_root_task_is_found_by_its_callback(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[Any]:
        task = asyncio.current_task()
        return [callback for callback, _ in task._callbacks]  # type: ignore[union-attr]

    assert base_events._run_until_complete_cb in loop.run_until_complete(main())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_leaves_no_running_loop_in_the_child(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> int:
        child = os.fork()
        if child == 0:
            os._exit(0 if events._get_running_loop() is None else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert loop.run_until_complete(main()) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_makes_its_own_loop_after_fork(loop: asyncio.AbstractEventLoop, loop_factory: Any) -> None:
    async def main() -> int:
        child = os.fork()
        if child == 0:
            other = loop_factory()
            status = other.run_until_complete(asyncio.sleep(0.001, 0))
            other.close()
            os._exit(status)
        await asyncio.sleep(0.001)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert loop.run_until_complete(main()) == 0


def test_asyncgens_are_closed_at_shutdown(loop: asyncio.AbstractEventLoop) -> None:
    log: list[str] = []

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async def main() -> Any:
        generator = numbers()
        await generator.__anext__()
        return generator

    generator = loop.run_until_complete(main())
    assert log == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert log == ["closed"]
    del generator


def test_asyncgen_that_is_dropped_is_closed_by_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    closed = asyncio.Event()

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            closed.set()

    async def main() -> None:
        generator = numbers()
        await generator.__anext__()
        del generator
        await asyncio.wait_for(closed.wait(), 5)

    loop.run_until_complete(main())


def test_hooks_of_the_thread_are_put_back(loop: asyncio.AbstractEventLoop) -> None:
    before = sys.get_asyncgen_hooks()
    loop.run_until_complete(nothing())
    assert sys.get_asyncgen_hooks() == before


def test_executor_runs_in_a_named_thread(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> str:
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert run(main()).startswith("asyncio_0")


def test_executor_given_is_used(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    with ThreadPoolExecutor(thread_name_prefix="mine") as pool:

        async def main() -> str:
            return await loop.run_in_executor(pool, lambda: threading.current_thread().name)

        assert run(main()).startswith("mine")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="only a warning before 3.11")
def test_default_executor_must_be_threads(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.set_default_executor(object())  # type: ignore[arg-type]


def test_executor_is_refused_after_its_shutdown(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            await loop.run_in_executor(None, int)

    run(main())


def test_name_resolution(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        infos = await loop.getaddrinfo("127.0.0.1", 80, type=1)
        assert [info[4] for info in infos] == [("127.0.0.1", 80)]
        assert await loop.getnameinfo(("127.0.0.1", 80), 3) == ("127.0.0.1", "80")

    run(main())


def test_task_factory_gets_what_create_task_got(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    calls: list[dict[str, Any]] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        calls.append(options)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def main() -> None:
        assert loop.get_task_factory() is None
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        task = loop.create_task(nothing(), name="named")
        await task
        assert task.get_name() == "named"
        loop.set_task_factory(None)

    run(main())
    assert len(calls) == 1
    with pytest.raises(TypeError):
        loop.set_task_factory(42)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_task_factory_keeps_its_code_and_runs_at_once(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    log: list[Any] = []

    async def child() -> None:
        log.append(asyncio.current_task())

    async def main() -> None:
        loop.set_task_factory(asyncio.eager_task_factory)
        assert loop.get_task_factory().__code__ is asyncio.eager_task_factory.__code__  # type: ignore[union-attr]
        parent = asyncio.current_task()
        task = loop.create_task(child())
        assert task.done()
        assert log[0] is not parent
        assert asyncio.current_task() is parent
        loop.set_task_factory(None)

    run(main())


def test_future_that_only_quacks_can_be_awaited(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Duck:
        _asyncio_future_blocking = False

        def __init__(self) -> None:
            self.inner = loop.create_future()

        def get_loop(self) -> asyncio.AbstractEventLoop:
            return loop

        def add_done_callback(self, callback: Any, *, context: Any) -> None:
            self.inner.add_done_callback(lambda _: callback(self), context=context)

        def result(self) -> Any:
            return self.inner.result()

        def cancel(self, msg: Any = None) -> bool:
            return self.inner.cancel(msg)

        def __await__(self) -> Any:
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def main() -> Any:
        duck = Duck()
        loop.call_soon(duck.inner.set_result, "quack")
        return await duck

    assert run(main()) == "quack"


def test_loop_that_was_refused_a_selector_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match="own selector"):
            aioxide.EventLoop(object())  # type: ignore[arg-type]
        gc.collect()
    assert (ignored, warned) == ([], [])


def test_living_loop_outlives_a_second_refused_init() -> None:
    loop = aioxide.EventLoop()
    with pytest.raises(TypeError, match="own selector"):
        loop.__init__(object())  # type: ignore[misc]
    assert not loop.is_closed()
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
    loop.close()
