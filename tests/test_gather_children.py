"""Children of `gather` that are of derived classes, and those of `gather(limit=...)`."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import warnings
from typing import Any

import aioxide
import pytest

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.fixture
def functions(loop_name: str) -> Any:
    """The module whose `gather` and the like belong to the loop under test."""
    return aioxide if loop_name == "aioxide" else asyncio


def task_class() -> Any:
    return type(asyncio.current_task())


async def give(value: Any, turns: int = 0) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


@pytest.mark.parametrize("derived_first", [True, False])
@pytest.mark.parametrize(("turns", "derived_turns"), [(0, 0), (1, 0), (0, 1), (2, 1), (1, 2)])
def test_gather_of_derived_and_plain_tasks_ends_when_asyncios_does(
    loop_name: str, derived_first: bool, turns: int, derived_turns: int
) -> None:
    def iterations(functions: Any, loop: asyncio.AbstractEventLoop) -> int:
        async def main() -> int:
            derived = type("Derived", (task_class(),), {})
            children = [asyncio.ensure_future(give(1, turns))]
            children.insert(0 if derived_first else 1, derived(give(2, derived_turns), loop=loop))
            gathering = functions.gather(*children)
            count = 0
            while not gathering.done():
                count += 1
                await asyncio.sleep(0)
            await gathering
            return count

        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    if loop_name != "aioxide":
        pytest.skip("compares the two")
    assert iterations(aioxide, aioxide.new_event_loop()) == iterations(asyncio, asyncio.SelectorEventLoop())


ENDS = ["plain fails", "plain is cancelled", "derived fails", "derived is cancelled", "plain ends", "derived ends"]


@pytest.mark.parametrize("order", list(itertools.permutations(ENDS, 3)), ids=", ".join)
def test_children_that_are_done_fail_a_gather_in_the_order_of_the_arguments(
    run: Any, functions: Any, order: tuple[str, ...]
) -> None:
    async def end(how: str) -> str:
        if how.endswith("fails"):
            raise ValueError(how)
        if how.endswith("cancelled"):
            raise asyncio.CancelledError(how)
        return how

    async def main() -> None:
        derived = type("Derived", (task_class(),), {})
        loop = asyncio.get_running_loop()
        children = [derived(end(how), loop=loop) if "derived" in how else loop.create_task(end(how)) for how in order]
        await asyncio.wait(children)
        found = (await asyncio.gather(functions.gather(*children), return_exceptions=True))[0]
        await asyncio.gather(*children, return_exceptions=True)
        failures = [how for how in order if not how.endswith("ends")]
        if not failures:
            assert found == list(order)
        else:
            assert type(found) is (ValueError if failures[0].endswith("fails") else asyncio.CancelledError)
            if sys.version_info >= (3, 11):  # before, asyncio makes a cancellation anew
                assert found.args == (failures[0],)

    run(main())


@pytest.mark.parametrize("way", ["timeout", "wait_for"])
def test_overridden_cancel_runs_in_the_context_of_who_set_the_timeout(
    run: Any, loop: asyncio.AbstractEventLoop, functions: Any, way: str
) -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        class Derived(task_class()):  # type: ignore[misc]
            def cancel(self, msg: Any = None) -> Any:
                seen.append(VARIABLE.get())
                return super().cancel(msg=msg)

        VARIABLE.set("mine")
        gathering = functions.gather(Derived(give(1, 10**9), loop=loop), Derived(give(1, 10**9), loop=loop))

        async def under_timeout() -> None:
            async with functions.timeout(0.001):
                await gathering

        # Two classes until 3.11.
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await (functions.wait_for(gathering, 0.001) if way == "wait_for" else under_timeout())
        return seen

    if not hasattr(functions, way):
        pytest.skip("this version has no timeout()")
    assert run(main()) == ["mine", "mine"]


def test_cancelled_gather_with_a_limit_hands_its_message_on(run: Any) -> None:
    async def main() -> list[Any]:
        messages: list[Any] = []

        async def child() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError as error:
                messages.append(error.args)
                raise

        gathering = aioxide.gather(child(), child(), child(), limit=2)
        await give(None, 3)
        gathering.cancel("why")
        with pytest.raises(asyncio.CancelledError):
            await gathering
        return messages

    assert run(main()) == [("why",), ("why",)]


async def fail() -> None:
    raise LookupError


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize("as_list", [True, False])
def test_coroutines_that_a_gather_with_a_limit_did_not_begin_are_closed(run: Any, turns: int, as_list: bool) -> None:
    async def main() -> None:
        coros = [give(1, 10), give(2, 10), give(3), give(4)]
        gathering = aioxide.gather(coros, limit=2) if as_list else aioxide.gather(*coros, limit=2)
        await give(None, turns)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        await give(None, 2)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
        gc.collect()
    assert not [warning.message for warning in caught]


def test_failed_gather_with_a_limit_closes_what_it_did_not_begin(run: Any) -> None:
    async def main() -> None:
        with pytest.raises(LookupError):
            await aioxide.gather(fail(), give(2), give(3), limit=1)
        await give(None, 2)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
        gc.collect()
    assert not [warning.message for warning in caught]


def derived_task(log: list[str]) -> Any:
    letters = iter("ab")

    class Derived(task_class()):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            # No name: from Python 3.13 on, the loop names what a factory has made.
            self.letter = next(letters)
            super().__init__(*arguments, **options)

        def get_loop(self) -> asyncio.AbstractEventLoop:
            log.append(f"{self.letter} get_loop")
            return super().get_loop()

        def add_done_callback(self, function: Any, *, context: Any = None) -> None:
            log.append(f"{self.letter} add")
            super().add_done_callback(function, context=context)

    return Derived


@pytest.mark.parametrize("made_by", ["program", "factory"])
def test_gather_asks_derived_tasks_in_the_order_of_asyncios(run: Any, functions: Any, made_by: str) -> None:
    log: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        derived = derived_task(log)
        if made_by == "factory":
            loop.set_task_factory(lambda loop, coro, **more: derived(coro, loop=loop))
            gathering = functions.gather(give(1), give(2))
            loop.set_task_factory(None)
            # Python 3.14 takes the loop that runs.
            asked = [] if sys.version_info >= (3, 14) else ["a get_loop"]
            expected = [*asked, "a add", "b add"]
        else:
            gathering = functions.gather(derived(give(1), loop=loop), derived(give(2), loop=loop))
            expected = ["a get_loop", "a add", "b get_loop", "b add"]
        assert log == expected
        await gathering

    run(main())


@pytest.mark.parametrize("return_exceptions", [False, True])
@pytest.mark.parametrize("end", ["result", "exception", "cancel"])
def test_child_that_tells_while_the_others_are_still_added_is_counted(
    run: Any, functions: Any, end: str, return_exceptions: bool
) -> None:
    """A `Future` whose `add_done_callback` ends it and calls at once: nothing is decided before all are there."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Hasty(type(loop.create_future())):  # type: ignore[misc]
            def add_done_callback(self, function: Any, *, context: Any = None) -> None:
                if end == "result":
                    self.set_result(1)
                elif end == "exception":
                    self.set_exception(ValueError(2))
                else:
                    self.cancel()
                function(self)

        gathering = functions.gather(Hasty(loop=loop), give(3, 1), return_exceptions=return_exceptions)
        assert not gathering.done()
        first, second = await asyncio.wait_for(gathering, 5)
        expected = {"result": "1", "exception": "ValueError(2)", "cancel": "CancelledError('')"}
        assert (repr(first), second) == (expected[end], 3)

    run(main())


class Awaitable:
    def __init__(self, key: Any) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Awaitable) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __await__(self) -> Any:
        yield
        return self


def test_equal_awaitables_are_awaited_once(run: Any, functions: Any) -> None:
    async def main() -> None:
        first, second, other = Awaitable(1), Awaitable(1), Awaitable(2)
        given = await functions.gather(give(0), first, other, second, give(5), other)
        assert [id(each) for each in given[1:4]] == [id(first), id(other), id(first)]
        assert (given[0], given[4], given[5]) == (0, 5, other)

    run(main())


def test_awaitable_that_cannot_be_hashed_is_refused(run: Any, functions: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="unhashable"):
            functions.gather(Awaitable([]))

    run(main())


def test_first_future_says_which_loop_a_gather_belongs_to(run: Any, functions: Any, loop_factory: Any) -> None:
    other = loop_factory()

    async def main() -> None:
        future = other.create_future()
        if sys.version_info >= (3, 14):  # it is the one that runs
            with pytest.raises(ValueError, match="different loop"):
                functions.gather(future)
            return
        assert functions.gather(future).get_loop() is other
        with pytest.raises(ValueError, match="different loop"):
            functions.gather(future, asyncio.get_running_loop().create_future())

    try:
        run(main())
    finally:
        other.close()


def brief_future(loop: asyncio.AbstractEventLoop) -> Any:
    """A future whose `add_done_callback` takes what asyncio's `gather`, `wait` and the like give it, and no more."""

    class Brief(type(loop.create_future())):  # type: ignore[misc]
        def add_done_callback(self, function: Any) -> None:
            super().add_done_callback(function)

    return Brief(loop=loop)


class Foreign:
    """A future that derives from none, with methods as brief."""

    _asyncio_future_blocking = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.callbacks: list[Any] = []
        self.value: list[Any] = []

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.loop

    def add_done_callback(self, function: Any) -> None:
        self.callbacks.append(function)

    def remove_done_callback(self, function: Any) -> int:
        before = len(self.callbacks)
        self.callbacks = [callback for callback in self.callbacks if callback != function]
        return before - len(self.callbacks)

    def set_result(self, value: Any) -> None:
        self.value.append(value)
        for callback in self.callbacks:
            self.loop.call_soon(callback, self)

    def done(self) -> bool:
        return bool(self.value)

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return self.value[0]


@pytest.mark.parametrize("kind", [brief_future, Foreign])
@pytest.mark.parametrize("way", ["gather", "shield", "wait", "as_completed"])
def test_future_whose_add_done_callback_takes_no_context_is_waited_for(
    run: Any, functions: Any, way: str, kind: Any
) -> None:
    async def main() -> None:
        future = kind(asyncio.get_running_loop())
        if way == "wait":
            waiting = asyncio.ensure_future(functions.wait([future]))
        elif way == "as_completed":
            waiting = asyncio.ensure_future(next(iter(functions.as_completed([future]))))
        else:
            waiting = getattr(functions, way)(future)
        await asyncio.sleep(0)
        future.set_result(3)
        result = await asyncio.wait_for(waiting, 5)
        assert result == {"gather": [3], "wait": ({future}, set())}.get(way, 3)

    run(main())


def test_task_whose_add_done_callback_takes_no_context_ends_in_its_group(run: Any) -> None:
    async def main() -> None:
        class Brief(task_class()):  # type: ignore[misc]
            def add_done_callback(self, function: Any) -> None:
                super().add_done_callback(function)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **more: Brief(coro, loop=loop, **more))
        async with aioxide.TaskGroup() as group:
            task = group.create_task(give(3, 1))
        assert task.result() == 3

    run(main())
