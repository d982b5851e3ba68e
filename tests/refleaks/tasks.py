"""Handles, tasks, futures, what waits for them, queues and locks."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any

import aioxide

from . import behaviour, ever, fail, one, ours, outcome, turns


@behaviour
async def nothing(loop: Any) -> None:
    """A loop that is made, run and closed."""


@behaviour
async def handles(loop: Any) -> None:
    seen: list[Any] = []
    for arguments in ((), (1,), (1, 2, 3), tuple(range(9))):
        loop.call_soon(lambda *given: seen.append(given), *arguments)
        loop.call_later(0, seen.append, arguments)
        loop.call_at(loop.time() + 0.001, seen.append, arguments).when()
        loop.call_soon_threadsafe(seen.append, arguments)
        handle = loop.call_soon(seen.append, "cancelled", context=contextvars.copy_context())
        repr(handle)
        handle.cancel()
        loop.call_later(1000, seen.append, "never").cancel()
    loop.call_later(1000, seen.append, "dropped when the loop is closed")
    loop.call_soon(lambda: 1 / 0)
    for wrong in ((), (1,), (print, "x")):
        with suppress(TypeError):
            loop.call_later(*wrong)
    await asyncio.sleep(0.003)


@behaviour
async def handles_from_threads(loop: Any) -> None:
    threads = [threading.Thread(target=lambda: [loop.call_soon_threadsafe(int) for _ in range(20)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0)
    for thread in threads:
        thread.join()


@behaviour
async def tasks(loop: Any) -> None:
    task = loop.create_task(one(), name="named")
    assert await task == 1
    for error in (LookupError("one"), asyncio.CancelledError("two")):
        await outcome(loop.create_task(fail(error)))
    waiting = loop.create_task(ever(loop))
    await asyncio.sleep(0)
    waiting.add_done_callback(repr)
    waiting.add_done_callback(print)
    waiting.remove_done_callback(print)
    repr(waiting), waiting.get_stack(), waiting.get_coro(), waiting.get_name(), waiting._callbacks, waiting._fut_waiter
    weakref.ref(waiting)
    waiting.note = [waiting]
    waiting.cancel("message")
    waiting.uncancel()
    waiting.cancel()
    await outcome(waiting)
    repr(waiting)
    never_asked = loop.create_task(fail(LookupError("nobody asks")))
    await turns()
    del never_asked


@behaviour
async def tasks_made_by_their_class(loop: Any) -> None:
    class Derived(asyncio.Task):  # type: ignore[type-arg]
        pass

    for kind in (asyncio.Task, ours("Task"), Derived):
        assert await kind(one(), loop=loop, name="name") == 1
        options: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
        await kind(one(), loop=loop, **options)
        for wrong in ((), (1,), (one, 2, 3, 4)):
            with suppress(TypeError):
                kind(*wrong)


@behaviour
async def tasks_that_are_pending_at_the_end(loop: Any) -> None:
    for _ in range(3):
        loop.create_task(ever(loop))
    holding = loop.create_task(ever(loop))
    holding.itself = holding
    await asyncio.sleep(0)


@behaviour
async def task_factories(loop: Any) -> None:
    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    await loop.create_task(one())
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
        await loop.create_task(one())
        await outcome(loop.create_task(fail(LookupError())))
    loop.set_task_factory(None)


@behaviour
async def futures(loop: Any) -> None:
    for kind in (loop.create_future, lambda: asyncio.Future(loop=loop), lambda: ours("Future")(loop=loop)):
        future = kind()
        repr(future)
        loop.call_soon(future.set_result, 1)
        assert await future == 1
        failed = kind()
        failed.add_done_callback(lambda future: None)
        failed.set_exception(LookupError("text"))
        await outcome(failed)
        await outcome(failed)
        cancelled = kind()
        cancelled.cancel("message")
        await outcome(cancelled)
        for wrong in ("set_result", "set_exception"):
            with suppress(TypeError, asyncio.InvalidStateError):
                getattr(future, wrong)()
        forgotten = kind()
        forgotten.set_exception(ValueError("nobody asks"))
        del forgotten
        cycle = kind()
        cycle.itself = cycle
        iterator = iter(kind())
        next(iterator)
        iterator.close()


@behaviour
async def gathering(loop: Any) -> None:
    gather = ours("gather")
    assert await gather(one(), one(), turns()) == [1, 1, None]
    await outcome(gather(one(), fail(LookupError())))
    await gather(one(), fail(LookupError()), return_exceptions=True)
    await gather()
    outer = gather(ever(loop), ever(loop))
    await asyncio.sleep(0)
    outer.cancel()
    await outcome(outer)
    await gather(*[one() for _ in range(5)], limit=2)
    assert [number async for number in aioxide.map(same, range(10), limit=3)] == list(range(10))
    await outcome(gather(fail(LookupError()), ever(loop), limit=2))
    await turns()


async def same(value: int) -> int:
    await asyncio.sleep(0)
    return value


@behaviour
async def waiting(loop: Any) -> None:
    await ours("sleep")(0.001, "result")
    await ours("wait")([loop.create_task(one()), loop.create_task(turns())])
    await ours("wait_for")(one(), 10)
    await outcome(ours("wait_for")(ever(loop), 0.001))
    await outcome(ours("wait_for")(fail(LookupError()), 10))
    for next_done in ours("as_completed")([one(), turns(), fail(LookupError())]):
        await outcome(next_done)
    inner = loop.create_future()
    outer = ours("shield")(inner)
    outer.cancel()
    await outcome(outer)
    inner.set_result(None)
    await ours("shield")(one())
    sleeping = loop.create_task(asyncio.sleep(1000))
    await asyncio.sleep(0)
    sleeping.cancel()
    await outcome(sleeping)


@behaviour
async def groups_and_deadlines(loop: Any) -> None:
    if sys.version_info < (3, 11):
        return
    async with ours("TaskGroup")() as group:
        group.create_task(one())
        group.create_task(turns())

    async def failing() -> None:
        async with ours("TaskGroup")() as group:
            group.create_task(ever(loop))
            group.create_task(fail(LookupError()))

    await outcome(loop.create_task(failing()))

    async def late() -> None:
        async with ours("timeout")(0.001):
            await ever(loop)

    await outcome(late())
    async with ours("timeout_at")(loop.time() + 100) as scope:
        scope.reschedule(None)


@behaviour
async def queues(loop: Any) -> None:
    for name in ("Queue", "LifoQueue", "PriorityQueue"):
        queue = ours(name)(2)

        async def produce(queue: Any = queue) -> None:
            for number in range(10):
                await queue.put(number)

        producer = loop.create_task(produce())
        for _ in range(10):
            await queue.get()
            queue.task_done()
        await producer
        await queue.join()
        getter = loop.create_task(queue.get())
        await asyncio.sleep(0)
        getter.cancel()
        await outcome(getter)
        queue.put_nowait(1)
        queue.put_nowait(2)
        putter = loop.create_task(queue.put(3))
        await asyncio.sleep(0)
        putter.cancel()
        await outcome(putter)
        for _ in range(3):
            try:
                queue.get_nowait()
            except asyncio.QueueEmpty:
                repr(queue)
        left = loop.create_task(queue.get())
        await asyncio.sleep(0)
        if hasattr(queue, "shutdown"):
            queue.shutdown()
        else:
            left.cancel()
        await outcome(left)


@behaviour
async def locks(loop: Any) -> None:
    lock, event, condition = ours("Lock")(), ours("Event")(), ours("Condition")()
    semaphore = ours("BoundedSemaphore")(1)

    async def work() -> None:
        async with lock:
            await asyncio.sleep(0)
        async with semaphore:
            await asyncio.sleep(0)
        await event.wait()
        async with condition:
            await condition.wait()

    workers = [loop.create_task(work()) for _ in range(4)]
    await turns(12)
    event.set()
    await turns(4)
    workers[0].cancel()
    await turns(4)
    async with condition:
        condition.notify_all()
    await asyncio.gather(*workers, return_exceptions=True)
    async with lock, semaphore:
        blocked = [loop.create_task(work()), loop.create_task(semaphore.acquire())]
        await asyncio.sleep(0)
        for each in blocked:
            each.cancel()
        await asyncio.gather(*blocked, return_exceptions=True)
    try:
        lock.release()
    except RuntimeError:
        repr(lock), repr(event), repr(condition), repr(semaphore)
    if sys.version_info >= (3, 11):
        barrier = ours("Barrier")(2)
        await asyncio.gather(barrier.wait(), barrier.wait())
        waiter = loop.create_task(barrier.wait())
        await asyncio.sleep(0)
        await barrier.abort()
        await outcome(waiter)


@behaviour
async def installed(loop: Any) -> None:
    aioxide.install()
    try:
        await asyncio.gather(one(), one())
        await asyncio.sleep(0)
        queue: Any = asyncio.Queue()
        queue.put_nowait(1)
        await queue.get()
    finally:
        aioxide.uninstall()


@behaviour
async def futures_of_others(loop: Any) -> None:
    class Duck:
        _asyncio_future_blocking = False

        def __init__(self) -> None:
            self.inner = loop.create_future()

        def get_loop(self) -> Any:
            return loop

        def add_done_callback(self, callback: Any, *, context: Any) -> None:
            self.inner.add_done_callback(lambda _: callback(self), context=context)

        def cancel(self, msg: Any = None) -> bool:
            return self.inner.cancel(msg)  # type: ignore[no-any-return]

        def result(self) -> Any:
            return self.inner.result()

        def __await__(self) -> Any:
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    class Wrong:
        def __await__(self) -> Any:
            yield "nonsense"

    for duck in (Duck(), Duck()):
        loop.call_soon(duck.inner.set_result, None)
        await duck
    cancelled = loop.create_task(outcome(Duck()))
    await asyncio.sleep(0)
    cancelled.cancel()
    await cancelled
    await outcome(loop.create_task(outcome(Wrong())))
