"""What runs in which context: each callback and task in a copy of its own, whoever else was scheduled beside it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import random
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE", default="unset")
OTHER: contextvars.ContextVar[Any] = contextvars.ContextVar("OTHER", default="unset")
NEEDS_GET_CONTEXT = pytest.mark.skipif(sys.version_info < (3, 12), reason="get_context is new in Python 3.12")


class Value:
    """Something whose end a weak reference tells."""


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Runs what is ready, and what that makes ready, until `stop` comes round."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_what_a_callback_sets_the_next_one_does_not_see(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []

    def look_and_set(number: int) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(number)

    for number in range(5):
        loop.call_soon(look_and_set, number)
    drain(loop)
    for number in range(5):
        loop.call_later(0, look_and_set, number)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == ["unset"] * 10


def test_what_is_set_after_the_call_is_not_seen(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []

    def schedule() -> None:
        for number in range(3):
            loop.call_soon(lambda: seen.append(VARIABLE.get()))
            VARIABLE.set(number)

    loop.call_soon(schedule)
    drain(loop)
    drain(loop)
    assert seen == ["unset", 0, 1]


def test_a_variable_that_is_set_back_is_as_before(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []

    def schedule() -> None:
        loop.call_soon(lambda: seen.append(VARIABLE.get()))
        token = VARIABLE.set("set")
        loop.call_soon(lambda: seen.append(VARIABLE.get()))
        VARIABLE.reset(token)
        loop.call_soon(lambda: seen.append(VARIABLE.get()))

    loop.call_soon(schedule)
    drain(loop)
    drain(loop)
    assert seen == ["unset", "set", "unset"]


def test_a_context_that_a_callback_enters_is_the_one_that_is_copied(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []
    inner = contextvars.copy_context()
    inner.run(VARIABLE.set, "inner")

    def schedule() -> None:
        inner.run(loop.call_soon, lambda: seen.append(VARIABLE.get()))
        loop.call_soon(lambda: seen.append(VARIABLE.get()))

    loop.call_soon(schedule)
    drain(loop)
    drain(loop)
    assert seen == ["inner", "unset"]


def test_tasks_keep_what_they_set(run: Callable[[Any], Any]) -> None:
    async def worker(number: int) -> list[object]:
        seen = [VARIABLE.get()]
        VARIABLE.set(number)
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(VARIABLE.get())
        return seen

    async def main() -> list[list[object]]:
        return await asyncio.gather(*[worker(number) for number in range(20)])

    assert run(main()) == [["unset", number, number, number] for number in range(20)]


def test_callbacks_of_futures_have_contexts_of_their_own(run: Callable[[Any], Any]) -> None:
    async def main() -> list[object]:
        seen: list[object] = []

        def done(_: object) -> None:
            seen.append(VARIABLE.get())
            VARIABLE.set("set by a callback")

        future = asyncio.get_running_loop().create_future()
        for number in range(3):
            future.add_done_callback(done)
            future.add_done_callback(done)
            VARIABLE.set(number)
        future.set_result(None)
        await asyncio.sleep(0)
        return [*seen, VARIABLE.get()]

    assert run(main()) == ["unset", "unset", 0, 0, 1, 1, 2]


@NEEDS_GET_CONTEXT
def test_a_handle_shows_one_context_before_and_after(loop: asyncio.AbstractEventLoop) -> None:
    handles = [loop.call_soon(VARIABLE.set, number) for number in range(3)]
    before = [handle.get_context() for handle in handles]
    assert len({id(context) for context in before}) == 3
    assert all(handle.get_context() is context for handle, context in zip(handles, before, strict=True))
    drain(loop)
    assert [context[VARIABLE] for context in before] == [0, 1, 2]
    assert all(handle.get_context() is context for handle, context in zip(handles, before, strict=True))


@NEEDS_GET_CONTEXT
def test_a_handle_that_was_not_looked_at_shows_the_context_it_ran_in(loop: asyncio.AbstractEventLoop) -> None:
    changing = [loop.call_soon(VARIABLE.set, number) for number in range(3)]
    leaving = [loop.call_soon(VARIABLE.get) for _ in range(3)]
    cancelled = loop.call_soon(VARIABLE.set, "cancelled")
    cancelled.cancel()
    drain(loop)
    assert [handle.get_context()[VARIABLE] for handle in changing] == [0, 1, 2]
    contexts = [handle.get_context() for handle in [*leaving, cancelled]]
    assert all(VARIABLE not in context for context in contexts)
    assert len({id(context) for context in contexts}) == 4


@NEEDS_GET_CONTEXT
def test_a_task_shows_the_context_it_runs_in(run: Callable[[Any], Any]) -> None:
    async def worker(number: int) -> contextvars.Context:
        task = asyncio.current_task()
        assert task is not None
        inside = task.get_context()
        await asyncio.sleep(0)
        VARIABLE.set(number)
        assert task.get_context() is inside
        assert inside[VARIABLE] == number
        return inside

    async def main() -> None:
        tasks = [asyncio.ensure_future(worker(number)) for number in range(5)]
        first = tasks[0].get_context()
        shown = await asyncio.gather(*tasks)
        assert shown[0] is first
        assert [context[VARIABLE] for context in shown] == list(range(5))

    run(main())


@NEEDS_GET_CONTEXT
def test_a_context_that_is_known_stays_that_tasks(run: Callable[[Any], Any]) -> None:
    """Strongly or weakly: a task that waits still has the very context that somebody saw."""

    async def waiting(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        tasks = [asyncio.ensure_future(waiting(future)) for _ in range(4)]
        strong, weak = tasks[0].get_context(), weakref.ref(tasks[1].get_context())
        await asyncio.sleep(0)
        assert tasks[0].get_context() is strong
        assert weak() is tasks[1].get_context()
        assert weak() is not None
        future.set_result(None)
        await asyncio.gather(*tasks)

    run(main())


def test_a_value_goes_with_the_last_context_that_has_it(loop: asyncio.AbstractEventLoop) -> None:
    values: list[weakref.ref[Value]] = []

    def schedule() -> None:
        value = Value()
        values.append(weakref.ref(value))
        VARIABLE.set(value)
        for _ in range(3):
            loop.call_soon(VARIABLE.get)

    loop.call_soon(schedule)
    drain(loop)
    assert values[0]() is not None, "what is scheduled keeps it"
    drain(loop)
    assert values[0]() is None


def test_a_value_goes_while_the_loop_runs_on(run: Callable[[Any], Any]) -> None:
    async def worker() -> weakref.ref[Value]:
        value = Value()
        VARIABLE.set(value)
        for _ in range(3):
            asyncio.get_running_loop().call_soon(VARIABLE.get)
        await asyncio.sleep(0)
        return weakref.ref(value)

    async def main() -> None:
        references = await asyncio.gather(*[asyncio.ensure_future(worker()) for _ in range(3)])
        await asyncio.sleep(0)
        assert [reference() for reference in references] == [None] * 3

    run(main())


def test_a_loop_given_up_with_callbacks_waiting_is_collected(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    given_up = loop_factory()
    value = Value()
    value.loop = given_up  # type: ignore[attr-defined]
    context = contextvars.copy_context()
    context.run(VARIABLE.set, value)
    for _ in range(3):
        context.run(given_up.call_soon, VARIABLE.get)
        context.run(given_up.call_later, 1000, VARIABLE.get)
    drain(given_up)
    for _ in range(3):
        context.run(given_up.call_soon, VARIABLE.get)
    reference = weakref.ref(value)
    del given_up, value, context
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert reference() is None


def test_what_waits_has_one_context_between_it() -> None:
    """No behaviour, but what the loop's speed rests on: that this interpreter's contexts are understood."""
    import aioxide

    loop = aioxide.new_event_loop()
    waiting = [loop.call_later(1000, print) for _ in range(100)]
    held = [each for each in gc.get_referents(*waiting) if isinstance(each, contextvars.Context)]
    assert len(held) == 100
    assert len({id(each) for each in held}) == 1
    loop.close()


def program(loop: asyncio.AbstractEventLoop, seed: int) -> list[tuple[str, object, object]]:
    """Runs a random program of callbacks, timers, tasks, futures and contexts; returns what each step saw."""
    chance = random.Random(seed)
    log: list[tuple[str, object, object]] = []
    contexts = [contextvars.copy_context()]
    times = (number / 1e9 for number in itertools.count())  # none is like another: equal ones have no order
    left = 300

    def step(name: str, depth: int = 0) -> None:
        nonlocal left
        log.append((name, VARIABLE.get(), OTHER.get()))
        for _ in range(chance.randrange(4)):
            left -= 1
            if left < 0:
                return
            label, variable = f"{name}.{left}", chance.choice([VARIABLE, OTHER])
            what = chance.randrange(9)
            if what == 0:
                variable.set(label)
            elif what == 1:
                token = variable.set(label)
                loop.call_soon(step, label)
                variable.reset(token)
            elif what == 2:
                for number in range(chance.randrange(1, 6)):
                    loop.call_soon(step, f"{label}/{number}")
            elif what == 3:
                for number in range(chance.randrange(1, 6)):
                    loop.call_at(next(times), step, f"{label}/{number}")
            elif what == 4:
                contexts.append(contextvars.copy_context())
            elif what == 5 and depth < 3:
                contextvars.copy_context().run(step, label, depth + 1)
            elif what == 6:
                loop.call_soon(step, label, context=chance.choice(contexts))
            elif what == 7:
                for number in range(chance.randrange(1, 4)):
                    tasks.append(loop.create_task(work(f"{label}/{number}")))
            else:
                future = loop.create_future()
                for number in range(chance.randrange(1, 4)):
                    future.add_done_callback(lambda _, name=f"{label}/{number}": step(name))
                loop.call_soon(future.set_result, None)

    async def work(name: str) -> None:
        for number in range(chance.randrange(4)):
            step(f"{name}-{number}")
            await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    for number in range(6):
        loop.call_soon(step, str(number))
    for _ in range(400):
        drain(loop)
    assert all(task.done() for task in tasks)
    log.extend((f"kept {index}", each.get(VARIABLE), each.get(OTHER)) for index, each in enumerate(contexts))
    return log


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_see_what_they_see_on_asyncio(loop: asyncio.AbstractEventLoop, seed: int) -> None:
    stock = asyncio.SelectorEventLoop()
    try:
        expected = program(stock, seed)
    finally:
        stock.close()
    assert program(loop, seed) == expected
    assert len(expected) > 5
