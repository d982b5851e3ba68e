"""Rows that need no socket: callbacks, timers, tasks, futures, locks and queues."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from . import Factory, case

Work = Callable[[int], Awaitable[object]]


def repeat(
    factory: Factory, seconds: float, run: Callable[[asyncio.AbstractEventLoop], int]
) -> tuple[float, float, float]:
    """Calls ``run`` again and again on one loop for a time; it returns how many operations it did."""
    loop = factory()
    try:
        run(loop)
        operations, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            operations += run(loop)
        return operations, time.perf_counter() - start, time.process_time() - cpu
    finally:
        loop.close()


def coroutine_case(name: str, count: int, goal: float | None = None) -> Callable[[Work], Work]:
    """Registers a coroutine function that does ``count`` operations."""

    def register(work: Work) -> Work:
        def run(loop: asyncio.AbstractEventLoop) -> int:
            loop.run_until_complete(work(count))
            return count

        case(name, goal, run=run)(lambda factory, seconds: repeat(factory, seconds, run))
        return work

    return register


def loop_case(name: str, goal: float | None = None) -> Callable[[Any], Any]:
    """Registers a function of the loop that returns how many operations it did."""

    def register(run: Any) -> Any:
        case(name, goal, run=run)(lambda factory, seconds: repeat(factory, seconds, run))
        return run

    return register


@loop_case("call_soon chain", 4)
def call_soon_chain(loop: asyncio.AbstractEventLoop) -> int:
    left = count = 5000

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    loop.run_forever()
    return count


@loop_case("call_soon batch of 1000", 2.5)
def call_soon_batch(loop: asyncio.AbstractEventLoop) -> int:
    def nothing(_: object) -> None:
        pass

    for number in range(1000):
        loop.call_soon(nothing, number)
    loop.call_soon(loop.stop)
    loop.run_forever()
    return 1000


@loop_case("timers: fire 10 000", 3)
def timers_fire(loop: asyncio.AbstractEventLoop) -> int:
    def nothing() -> None:
        pass

    now = loop.time()
    for number in range(10_000):
        loop.call_at(now + number * 1e-9, nothing)
    loop.call_at(now + 2e-5, loop.stop)
    loop.run_forever()
    return 10_000


@loop_case("timers: cancel 100 000", 3)
def timers_cancel(loop: asyncio.AbstractEventLoop) -> int:
    handles = [loop.call_later(1000 + number, print) for number in range(100_000)]
    for handle in handles:
        handle.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    return 100_000


@loop_case("timers: rolling", 3)
def timers_rolling(loop: asyncio.AbstractEventLoop) -> int:
    left, handle = 5000, loop.call_later(1000, print)

    def step() -> None:
        nonlocal left, handle
        handle.cancel()
        handle = loop.call_later(1000, print)
        left -= 1
        loop.call_soon(step if left else loop.stop)

    loop.call_soon(step)
    loop.run_forever()
    handle.cancel()
    return 5000


@loop_case("call_soon_threadsafe burst", 4)
def threadsafe_burst(loop: asyncio.AbstractEventLoop) -> int:
    def nothing() -> None:
        pass

    def burst() -> None:
        for _ in range(5000):
            loop.call_soon_threadsafe(nothing)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=burst)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    return 5000


async def nothing() -> None:
    pass


@coroutine_case("create_task + await", 2000, 5)
async def create_and_await(count: int) -> None:
    create = asyncio.get_running_loop().create_task
    for _ in range(count):
        await create(nothing())


@coroutine_case("gather 1 000", 1000, 8)
async def gather_1000(count: int) -> None:
    await asyncio.gather(*[nothing() for _ in range(count)])


@coroutine_case("gather 10 000", 10_000, 8)
async def gather_10000(count: int) -> None:
    await asyncio.gather(*[nothing() for _ in range(count)])


if sys.version_info >= (3, 12):

    @coroutine_case("gather 1 000, eager tasks", 1000, 5)
    async def gather_eager(count: int) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            await asyncio.gather(*[nothing() for _ in range(count)])
        finally:
            loop.set_task_factory(None)


@coroutine_case("future ping-pong", 2000, 4)
async def ping_pong(count: int) -> None:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future(), loop.create_future()]

    async def player(mine: int) -> None:
        for _ in range(count // 2):
            await futures[mine]
            futures[mine] = loop.create_future()
            futures[1 - mine].set_result(None)

    other = loop.create_task(player(1))
    futures[1].set_result(None)
    for _ in range(count // 2):
        await futures[0]
        futures[0] = loop.create_future()
        if not futures[1].done():
            futures[1].set_result(None)
    await other


@coroutine_case("sleep(0), 1 task", 3000, 4)
async def sleep_one(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@coroutine_case("sleep(0), 100 tasks", 10_000, 2.5)
async def sleep_many(count: int) -> None:
    await asyncio.gather(*[sleep_one(count // 100) for _ in range(100)])


async def queue_of(size: int, count: int) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(size)

    async def produce() -> None:
        for number in range(count):
            await queue.put(number)

    producer = asyncio.ensure_future(produce())
    for _ in range(count):
        await queue.get()
    await producer


@coroutine_case("Queue(1)", 2000, 5)
async def queue_1(count: int) -> None:
    await queue_of(1, count)


@coroutine_case("Queue(100)", 2000, 5)
async def queue_100(count: int) -> None:
    await queue_of(100, count)


@coroutine_case("Lock, 10 tasks", 2000, 4)
async def lock(count: int) -> None:
    shared = asyncio.Lock()

    async def worker() -> None:
        for _ in range(count // 10):
            async with shared:
                await asyncio.sleep(0)

    await asyncio.gather(*[worker() for _ in range(10)])


@coroutine_case("Event, 100 waiters", 2000, 4)
async def event(count: int) -> None:
    for _ in range(count // 100):
        shared = asyncio.Event()
        waiters = [asyncio.ensure_future(shared.wait()) for _ in range(100)]
        await asyncio.sleep(0)
        shared.set()
        for waiter in waiters:
            await waiter


@coroutine_case("Semaphore(10), 100 tasks", 2000, 4)
async def semaphore(count: int) -> None:
    shared = asyncio.Semaphore(10)

    async def worker() -> None:
        for _ in range(count // 100):
            async with shared:
                await asyncio.sleep(0)

    await asyncio.gather(*[worker() for _ in range(100)])


if sys.version_info >= (3, 11):

    @coroutine_case("timeout()", 2000, 3)
    async def timeout(count: int) -> None:
        for _ in range(count):
            async with asyncio.timeout(100):
                await asyncio.sleep(0)

    @coroutine_case("TaskGroup 1 000", 1000, 4)
    async def task_group(count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(nothing())


@coroutine_case("wait_for", 2000, 3)
async def wait_for(count: int) -> None:
    for _ in range(count):
        await asyncio.wait_for(asyncio.sleep(0), 100)


@coroutine_case("as_completed 1 000", 1000, 4)
async def as_completed(count: int) -> None:
    for each in asyncio.as_completed([nothing() for _ in range(count)]):
        await each


@coroutine_case("wait 1 000", 1000, 4)
async def wait(count: int) -> None:
    await asyncio.wait([asyncio.ensure_future(nothing()) for _ in range(count)])


@coroutine_case("create + cancel 10 000", 10_000, 3)
async def create_and_cancel(count: int) -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    tasks = [asyncio.ensure_future(forever()) for _ in range(count)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@loop_case("run_until_complete", 6)
def run_until_complete(loop: asyncio.AbstractEventLoop) -> int:
    for _ in range(500):
        loop.run_until_complete(nothing())
    return 500


@case("new loop + run + close", 4)
def new_loop(factory: Factory, seconds: float) -> tuple[float, float, float]:
    operations, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        loop = factory()
        loop.run_until_complete(nothing())
        loop.close()
        operations += 1
    return operations, time.perf_counter() - start, time.process_time() - cpu
