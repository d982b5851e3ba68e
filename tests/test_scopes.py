"""`timeout` and `TaskGroup`: asyncio's on its loop, and ours on both loops."""

# ruff: noqa: PT012 - that a scope raises is told by leaving it: it stands with its body inside `raises`

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref
from typing import Any

import aioxide
import pytest

if (3, 11) <= sys.version_info < (3, 11, 7):
    pytest.skip("asyncio's own scopes of 3.11's first releases fail several of these", allow_module_level=True)

PACKAGES = [asyncio, aioxide] if sys.version_info >= (3, 11) else [aioxide]


@pytest.fixture(params=PACKAGES, ids=[f"of_{package.__name__}" for package in PACKAGES])
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _counting(loop_name: str) -> None:
    if loop_name == "asyncio" and sys.version_info < (3, 11):
        pytest.skip("tasks of Python 3.10 do not count their cancellations")


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def give(value: Any, turns: int = 0) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fail(turns: int = 0, kind: type[BaseException] = LookupError) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise kind("failed")


def cancelling() -> int:
    task: Any = asyncio.current_task()
    return task.cancelling()  # type: ignore[no-any-return]


async def one_turn_and_two() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def kinds(group: Any) -> list[str]:
    return sorted(type(error).__name__ for error in group.exceptions)


# Timeouts


def test_timeout_in_time(package: Any, loop: Any) -> None:
    async def main() -> Any:
        async with package.timeout(1000) as scope:
            shown = repr(scope).split("=")[0]
            await asyncio.sleep(0)
        return shown, repr(scope), scope.expired(), cancelling(), scope.when() > loop.time()

    assert loop.run_until_complete(main()) == ("<Timeout [active] when", "<Timeout [finished]>", False, 0, True)


@pytest.mark.parametrize("delay", [0, -1, 0.001])
def test_timeout_is_up(package: Any, loop: Any, delay: float) -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError) as caught:
            async with package.timeout(delay) as scope:
                await forever()
        cause = caught.value.__cause__
        same = caught.value.__context__ is cause
        return repr(scope), scope.expired(), type(cause), same, cancelling()

    assert loop.run_until_complete(main()) == ("<Timeout [expired]>", True, asyncio.CancelledError, True, 0)


def test_timeout_that_is_up_as_the_block_ends_raises_nothing(package: Any, loop: Any) -> None:
    async def main() -> Any:
        async with package.timeout(0) as scope:
            with contextlib.suppress(asyncio.CancelledError):
                await forever()
        return scope.expired(), cancelling()

    assert loop.run_until_complete(main()) == (True, 0)


def test_timeout_passes_a_cancellation_that_is_not_its_own(package: Any, loop: Any) -> None:
    async def body() -> None:
        async with package.timeout(1000):
            await forever()

    async def main() -> Any:
        task = asyncio.ensure_future(body())
        await one_turn_and_two()
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert loop.run_until_complete(main())


def test_timeout_and_a_cancellation_at_once_give_the_cancellation(package: Any, loop: Any) -> None:
    async def body() -> None:
        async with package.timeout(0):
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await forever()

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(body())

    loop.run_until_complete(main())


def test_inner_and_outer_timeouts(package: Any, loop: Any) -> None:
    async def main() -> Any:
        found = []
        with pytest.raises(TimeoutError):
            async with package.timeout(0.001) as outer, package.timeout(1000) as inner:
                await forever()
        found.append((outer.expired(), inner.expired()))
        async with package.timeout(1000) as outer:
            with pytest.raises(TimeoutError):
                async with package.timeout(0) as inner:
                    await forever()
            await asyncio.sleep(0)
        found.append((outer.expired(), inner.expired()))
        return found, cancelling()

    assert loop.run_until_complete(main()) == ([(True, False), (False, True)], 0)


def test_reschedule(package: Any, loop: Any) -> None:
    async def main() -> Any:
        async with package.timeout(0.0005) as scope:
            scope.reschedule(None)
            first = scope.when()
            await asyncio.sleep(0.002)
        with pytest.raises(TimeoutError):
            async with package.timeout_at(None) as scope:
                scope.reschedule(when=loop.time() - 1)
                await forever()
        with pytest.raises(RuntimeError, match="Cannot change state of expired Timeout"):
            scope.reschedule(None)
        with pytest.raises(RuntimeError, match="has not been entered"):
            package.timeout(1).reschedule(None)
        for wrong in ((), (1, 2)):
            with pytest.raises(TypeError, match="argument"):
                scope.reschedule(*wrong)
        return first

    assert loop.run_until_complete(main()) is None


def test_reschedule_of_one_that_is_about_to_expire(package: Any, loop: Any) -> None:
    async def main() -> Any:
        async with package.timeout(0) as scope:
            scope.reschedule(loop.time() + 1000)
            await one_turn_and_two()
        return scope.expired()

    assert loop.run_until_complete(main()) is False


def test_timeout_is_used_once_and_inside_a_task(package: Any, loop: Any) -> None:
    async def main() -> Any:
        scope = package.timeout(1000)
        async with scope:
            with pytest.raises(RuntimeError, match="already been entered"):
                await scope.__aenter__()
        with pytest.raises(RuntimeError, match="already been entered"):
            async with scope:
                pass
        return package.timeout(1)

    outside = loop.run_until_complete(main())
    with pytest.raises(RuntimeError):
        outside.__aenter__().send(None)
    with pytest.raises(RuntimeError, match="no running event loop"):
        package.timeout(1)


def test_when_is_what_was_given(package: Any, loop: Any) -> None:
    async def main() -> Any:
        return package.timeout_at(5).when(), package.timeout_at(None).when(), package.timeout(None).when()

    found = loop.run_until_complete(main())
    assert found == (5, None, None)
    assert type(found[0]) is int


def test_timeout_over_a_group(package: Any, loop: Any) -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError):
            async with package.timeout(0.001), package.TaskGroup() as group:
                tasks = [group.create_task(forever()) for _ in range(3)]
        return [task.cancelled() for task in tasks], cancelling()

    assert loop.run_until_complete(main()) == ([True] * 3, 0)


def test_timeout_holds_nothing_afterwards(package: Any, loop: Any) -> None:
    async def main() -> Any:
        async with package.timeout(1000) as scope:
            pass
        died = weakref.ref(scope)
        del scope
        return died()

    gc.disable()
    try:
        assert loop.run_until_complete(main()) is None
    finally:
        gc.enable()


def test_timeouts_are_of_asyncio_s_class(loop: Any) -> None:
    async def main() -> Any:
        return aioxide.timeout(1)

    scope = loop.run_until_complete(main())
    assert isinstance(scope, aioxide.Timeout)
    if sys.version_info >= (3, 11):
        assert isinstance(scope, asyncio.Timeout)


# Task groups


def test_group_waits_for_all_and_for_those_made_meanwhile(package: Any, loop: Any) -> None:
    async def main() -> Any:
        found = []

        async def child(group: Any, number: int) -> None:
            await asyncio.sleep(0)
            found.append(number)
            if number:
                group.create_task(child(group, number - 1))

        async with package.TaskGroup() as group:
            group.create_task(child(group, 3))
            group.create_task(child(group, 1))
        return sorted(found), repr(group)

    assert loop.run_until_complete(main()) == ([0, 0, 1, 1, 2, 3], "<TaskGroup entered>")


def test_group_leaves_in_the_iteration_in_which_it_does_in_asyncio(package: Any, loop: Any) -> None:
    async def body(turns: list[int]) -> None:
        async with package.TaskGroup() as group:
            for each in turns:
                group.create_task(give(None, each))

    async def main() -> Any:
        found = []
        for turns in ([], [0], [2, 0, 1], [0, 3]):
            task, count = asyncio.ensure_future(body(turns)), 0
            while not task.done():
                count += 1
                await asyncio.sleep(0)
            found.append(count)
        return found

    assert loop.run_until_complete(main()) == [1, 4, 6, 7]


def test_group_with_a_failure_cancels_the_others(package: Any, loop: Any) -> None:
    async def main() -> Any:
        with pytest.raises(Exception, match="unhandled errors in a TaskGroup") as caught:
            async with package.TaskGroup() as group:
                late = group.create_task(forever())
                group.create_task(fail(1))
                group.create_task(fail(1, ValueError))
        return kinds(caught.value), late.cancelled(), caught.value.__suppress_context__, cancelling()

    *found, left = loop.run_until_complete(main())
    assert found == [["LookupError", "ValueError"], True, True]
    if sys.version_info >= (3, 13):  # before, a group may leave its own cancellation of the body's task behind
        assert left == 0


def test_group_whose_body_waits_when_a_child_fails(package: Any, loop: Any) -> None:
    async def main() -> Any:
        with pytest.raises(Exception, match="unhandled errors") as caught:
            async with package.TaskGroup() as group:
                group.create_task(fail(1))
                await forever()
        return kinds(caught.value), cancelling()

    assert loop.run_until_complete(main()) == (["LookupError"], 0)


def test_group_whose_body_fails(package: Any, loop: Any) -> None:
    async def main() -> Any:
        with pytest.raises(Exception, match="unhandled errors") as caught:
            async with package.TaskGroup() as group:
                task = group.create_task(forever())
                await asyncio.sleep(0)
                raise ValueError
        return kinds(caught.value), task.cancelled(), cancelling()

    assert loop.run_until_complete(main()) == (["ValueError"], True, 0)


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_group_that_is_cancelled_cancels_its_tasks(package: Any, loop: Any, turns: int) -> None:
    async def body(tasks: list[Any]) -> None:
        async with package.TaskGroup() as group:
            tasks += [group.create_task(forever()) for _ in range(3)]
            await asyncio.sleep(0)

    async def main() -> Any:
        tasks: list[Any] = []
        task = asyncio.ensure_future(body(tasks))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return all(each.cancelled() for each in tasks)

    assert loop.run_until_complete(main())


def test_group_that_is_cancelled_while_a_child_fails(package: Any, loop: Any) -> None:
    async def stubborn() -> None:
        try:
            await forever()
        finally:
            raise LookupError("in spite")

    async def body() -> Any:
        with pytest.raises(Exception, match="unhandled errors") as caught:
            async with package.TaskGroup() as group:
                group.create_task(stubborn())
        count = cancelling()
        return kinds(caught.value), count

    async def main() -> Any:
        task = asyncio.ensure_future(body())
        await one_turn_and_two()
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return "cancelled at its end"

    assert loop.run_until_complete(main()) in ((["LookupError"], 1), "cancelled at its end")


def test_group_is_cancelled_twice(package: Any, loop: Any) -> None:
    async def slow() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await give(None, 3)
            raise

    async def body() -> None:
        async with package.TaskGroup() as group:
            group.create_task(slow())

    async def main() -> Any:
        task: Any = asyncio.ensure_future(body())
        for _ in range(3):
            await one_turn_and_two()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelling()

    assert loop.run_until_complete(main()) >= 2


def test_group_with_a_base_exception(package: Any, loop: Any) -> None:
    async def main() -> None:
        async with package.TaskGroup() as group:
            group.create_task(fail(1, KeyboardInterrupt))
            group.create_task(forever())

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)


def test_group_refuses_tasks_before_and_after(package: Any, loop: Any) -> None:
    async def main() -> None:
        group = package.TaskGroup()
        coroutines = [give(number) for number in range(2)]
        with pytest.raises(RuntimeError, match="has not been entered"):
            group.create_task(coroutines[0])
        async with group:
            pass
        with pytest.raises(RuntimeError, match="is finished"):
            group.create_task(coroutines[1])
        with pytest.raises(RuntimeError, match="already been entered"):
            async with group:
                pass
        for each in coroutines:
            each.close()  # before 3.13 asyncio leaves that to others

    loop.run_until_complete(main())


def test_group_that_shuts_down_refuses_tasks(package: Any, loop: Any) -> None:
    async def main() -> str:
        refused = ""
        with pytest.raises(Exception, match="unhandled errors"):
            async with package.TaskGroup() as group:
                group.create_task(fail())
                try:
                    await forever()
                finally:
                    coroutine = give(1)
                    try:
                        group.create_task(coroutine)
                    except RuntimeError as error:
                        refused = str(error)
                    coroutine.close()
        return refused

    assert "is shutting down" in loop.run_until_complete(main())


def test_group_needs_a_task(package: Any, loop: Any) -> None:
    async def main() -> Any:
        return package.TaskGroup()

    group = loop.run_until_complete(main())
    found: list[Any] = []

    def outside() -> None:
        try:
            group.__aenter__().send(None)
        except RuntimeError as error:
            found.append(error)
        loop.stop()

    loop.call_soon(outside)
    loop.run_forever()
    assert len(found) == 1


def test_group_tasks_have_names_and_contexts(package: Any, loop: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def main() -> Any:
        context = contextvars.copy_context()
        context.run(variable.set, 7)

        async def read() -> int:
            return variable.get()

        async with package.TaskGroup() as group:
            named = group.create_task(give(1), name="named")
            inside = group.create_task(read(), context=context) if sys.version_info >= (3, 11) else None
            assert len(group._tasks) == len(list(group._tasks)) >= 1
            assert group._parent_task is asyncio.current_task()
        return named.get_name(), 7 if inside is None else inside.result()

    assert loop.run_until_complete(main()) == ("named", 7)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_group_of_eager_tasks(package: Any, loop: Any) -> None:
    async def main() -> Any:
        loop.set_task_factory(asyncio.eager_task_factory)
        async with package.TaskGroup() as group:
            done = group.create_task(give(1)).done()
            group.create_task(give(2, 3))
        loop.set_task_factory(None)
        return done

    assert loop.run_until_complete(main()) is True


def test_group_lets_go_of_tasks_that_are_done(package: Any, loop: Any) -> None:
    async def main() -> Any:
        async with package.TaskGroup() as group:
            quick = weakref.ref(group.create_task(give(1)))
            slow = group.create_task(give(2, 6))
            for _ in range(4):
                await asyncio.sleep(0)
            assert not slow.done()
            return quick()

    gc.disable()
    try:
        assert loop.run_until_complete(main()) is None
    finally:
        gc.enable()


def test_class_derived_from_the_group_is_obeyed(package: Any, loop: Any) -> None:
    if not hasattr(package.TaskGroup, "_on_task_done"):
        pytest.skip("asyncio does it otherwise here")

    class Noting(package.TaskGroup):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ended: list[str] = []

        def _on_task_done(self, task: Any) -> None:
            self.ended.append(task.get_name())
            super()._on_task_done(task)

    class Naming(package.TaskGroup):  # type: ignore[misc]
        def create_task(self, coro: Any, **options: Any) -> Any:
            return super().create_task(coro, **{"name": "given", **options})

    async def main() -> Any:
        async with Noting() as noting:
            noting.create_task(give(1), name="one")
        with pytest.raises(Exception, match="unhandled errors"):
            async with Noting() as failing:
                failing.create_task(fail(), name="two")
        async with Naming() as naming:
            name = naming.create_task(give(1)).get_name()
        return noting.ended, failing.ended, name

    assert loop.run_until_complete(main()) == (["one"], ["two"], "given")


def test_groups_are_of_asyncio_s_class() -> None:
    if sys.version_info >= (3, 11):
        assert issubclass(aioxide.TaskGroup, asyncio.TaskGroup)
    assert repr(aioxide.TaskGroup()) == "<TaskGroup>"


def test_methods_of_a_derived_timeout_are_called(loop: asyncio.AbstractEventLoop, package: Any) -> None:
    called: list[str] = []

    class Derived(package.Timeout):  # type: ignore[misc, name-defined]
        def reschedule(self, when: float | None) -> None:
            called.append("reschedule")
            super().reschedule(when)

        def _on_timeout(self) -> None:
            called.append("_on_timeout")
            super()._on_timeout()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            async with Derived(loop.time() + 0.01) as limit:
                assert isinstance(limit._timeout_handler, asyncio.TimerHandle)
                await forever()
        assert limit.expired()

    loop.run_until_complete(main())
    assert called == ["reschedule", "_on_timeout"]
