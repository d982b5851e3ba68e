"""What a type checker must find: after each `reveal_type` stands the type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing

import aioxide
from typing_extensions import reveal_type


async def number() -> int:
    return 1


async def word() -> str:
    return "a"


def numbers() -> Iterator[Awaitable[int]]:
    yield number()


async def words() -> AsyncIterator[Awaitable[str]]:
    yield word()


async def queues() -> None:
    queue: aioxide.Queue[int] = aioxide.Queue(3)
    await queue.put(1)
    reveal_type(await queue.get())  # int
    reveal_type(queue.get_nowait())  # int
    stack: aioxide.LifoQueue[str] = aioxide.LifoQueue()
    reveal_type(await stack.get())  # str
    sorted_queue = aioxide.PriorityQueue[tuple[int, str]](maxsize=2)
    reveal_type(await sorted_queue.get())  # tuple[int, str]
    queue.shutdown(immediate=True)
    any_queue: asyncio.Queue[int] = queue
    try:
        any_queue.put_nowait(1)
    except aioxide.QueueShutDown as error:
        reveal_type(error)  # QueueShutDown


async def many() -> None:
    reveal_type(await aioxide.gather(number()))  # tuple[int]
    reveal_type(await aioxide.gather(number(), word()))  # tuple[int, str]
    reveal_type(await aioxide.gather(word(), return_exceptions=True))  # tuple[str | BaseException]
    reveal_type(await aioxide.gather(number(), word(), aioxide.create_task(word())))  # tuple[int, str, str]
    reveal_type(await aioxide.gather(*[number()]))  # list[int]
    reveal_type(await aioxide.gather(*[number()], limit=2))  # list[int]
    reveal_type(await aioxide.gather(*[number()], limit=2, return_exceptions=True))  # list[int | BaseException]
    reveal_type(await aioxide.gather(numbers(), limit=2))  # list[int]
    reveal_type(await aioxide.gather(words(), limit=2, return_exceptions=True))  # list[str | BaseException]
    async with aclosing(aioxide.map(lambda text: number(), ["a"], limit=2)) as results:
        async for result in results:
            reveal_type(result)  # int


async def tasks() -> None:
    task: aioxide.Task[int] = asyncio.create_task(number())
    reveal_type(task.result())  # int
    reveal_type(aioxide.create_task(word(), name="word").result())  # str
    future: aioxide.Future[str] = asyncio.get_running_loop().create_future()
    reveal_type(await future)  # str
    reveal_type(aioxide.ensure_future(number()).result())  # int
    reveal_type(await aioxide.ensure_future(future))  # str
    reveal_type(await aioxide.shield(number()))  # int
    reveal_type(await aioxide.wait_for(word(), timeout=1))  # str
    reveal_type(await aioxide.sleep(0))  # None
    reveal_type(await aioxide.sleep(0, "x"))  # str
    done, pending = await aioxide.wait([task], return_when=asyncio.FIRST_COMPLETED)
    reveal_type(done.pop().result())  # int
    reveal_type(pending.pop().cancel())  # bool
    for coroutine in aioxide.as_completed([number()]):
        reveal_type(await coroutine)  # int
    async for completed in aioxide.as_completed([task]):
        reveal_type(await completed)  # int
    reveal_type(await aioxide.to_thread(len, "abc"))  # int


async def scopes() -> None:
    async with aioxide.TaskGroup() as group:
        reveal_type(group.create_task(word()).result())  # str
    async with aioxide.timeout(1) as timeout:
        reveal_type(timeout.when())  # float | None
    async with aioxide.timeout_at(1) as deadline:
        deadline.reschedule(None)
        reveal_type(deadline.expired())  # bool


async def locks() -> None:
    lock = aioxide.Lock()
    async with lock:
        reveal_type(lock.locked())  # bool
    event: asyncio.Event = aioxide.Event()
    event.set()
    condition = aioxide.Condition(lock)
    async with condition:
        reveal_type(await condition.wait_for(lambda: "yes"))  # str
    reveal_type(await aioxide.Barrier(1).wait())  # int
    async with aioxide.BoundedSemaphore(2):
        pass


async def loops() -> None:
    loop = aioxide.new_event_loop()
    reveal_type(loop.create_task(number()).result())  # int
    own = aioxide.EventLoop()
    reveal_type(own.create_task(word()).result())  # str
    own.call_soon(print, "a")


def programs() -> None:
    reveal_type(aioxide.run(number()))  # int
    reveal_type(aioxide.run(word(), loop_factory=aioxide.EventLoop))  # str
    factories: list[Callable[[], asyncio.AbstractEventLoop]] = [aioxide.EventLoop, aioxide.new_event_loop]
    reveal_type(factories.pop()().is_running())  # bool
    with aioxide.Runner(loop_factory=aioxide.new_event_loop) as runner:
        reveal_type(runner.run(word()))  # str


async def mistakes(queue: aioxide.Queue[int]) -> None:
    await queue.put("a")  # error
    aioxide.create_task(number)  # error
    await aioxide.gather(1)  # error
    await aioxide.wait_for(1, None)  # error
    await aioxide.sleep("a")  # error
    aioxide.EventLoop(selector=object())  # error
