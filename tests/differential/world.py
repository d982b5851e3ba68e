"""Runs a program with one loop and one set of classes, and keeps the log of what happened in which order."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from .program import NESTING_LOCKS, Body, Op, Program

# Iterations that a program may take before everything still alive is cancelled.
PATIENCE = 60
ROUNDS = 6
MOST_TASKS = 30
# Equal notes in a row, at the most.
REPEATED = 20
# Reports whose time depends on when garbage is collected.
UNTIMED = ("never retrieved", "was destroyed but it is pending")


class Names:
    """The names of a package, or asyncio's where it has none."""

    def __init__(self, package: Any) -> None:
        self._package = package

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name, None) or getattr(asyncio, name)


class World:
    """One run of one program."""

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop], package: Any = asyncio) -> None:
        self.loop = factory()
        self.loop.set_exception_handler(self._report)
        self.names = Names(package)
        self.log: list[str] = []
        # How deep in `cancel` of derived tasks: only the outermost is noted, as a ring of them ends in recursion.
        self.cancelling = 0
        self.tasks: list[Any] = []
        # The timeouts and the groups that each task is in, the innermost last.
        self.scopes: defaultdict[Any, list[Any]] = defaultdict(list)
        self.groups: defaultdict[Any, list[Any]] = defaultdict(list)

    def run(self, program: Program) -> list[str]:
        """Returns the log."""
        try:
            self.loop.run_until_complete(self._main(program))
            return list(self.log)
        finally:
            self.loop.close()
            self._end_coroutines()

    def _end_coroutines(self) -> None:
        """Ends what no cancellation ended, so that the collector has nothing to complain of."""
        for task in self.tasks:
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()

    def note(self, text: str) -> None:
        task = asyncio.current_task() if asyncio._get_running_loop() else None
        # asyncio and aioxide count their tasks apart.
        name = task.get_name().partition("Task-")[0] or "unnamed" if task else "-"
        self.log.append(f"{name}: {text}")

    def note_repeated(self, text: str) -> None:
        """Notes what a ring may do once for each level of the stack: how many fit is not told."""
        latest = self.log[-REPEATED:]
        if len(latest) < REPEATED or any(not line.endswith(text) for line in latest):
            self.note(text)

    def _report(self, loop: Any, context: dict[str, Any]) -> None:
        if not any(text in context["message"] for text in UNTIMED):
            reported = describe(context["exception"]) if "exception" in context else ""
            self.log.append(f"report: {context['message'].split('<')[0]} {reported}")

    async def _main(self, program: Program) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("main")
        names = self.names
        self.scripts, self.eager = program.scripts, program.eager
        if program.eager:
            self.loop.set_task_factory(asyncio.eager_task_factory)
        self.task_class, future_class = self._derived_classes()
        self.futures = [self.loop.create_future(), future_class(loop=self.loop), self.loop.create_future()]
        self.lock, self.condition = names.Lock(), names.Condition()
        self.semaphore, self.event = names.Semaphore(2), names.Event()
        self.bounded, self.level = names.BoundedSemaphore(1), 0
        self.queues = [names.Queue(1), names.PriorityQueue(), names.LifoQueue(2)]
        self.barrier = names.Barrier(2) if hasattr(asyncio, "Barrier") else None
        self.spawn(0)
        for number in range(ROUNDS):
            await self._wait_and_cancel(number)
        for index, task in enumerate(self.tasks):
            self.log.append(f"end {index}: {outcome(task)}")

    async def _wait_and_cancel(self, number: int) -> None:
        for _ in range(PATIENCE):
            if all(task.done() for task in self.tasks):
                return
            await asyncio.sleep(0)
        for task in self.tasks:
            if not task.done():
                self.note(f"round {number} cancels {task.get_name()}")
                try:
                    task.cancel()
                except RecursionError:
                    self.note("it waits in a ring")

    def spawn(self, script: int) -> Any:
        if len(self.tasks) >= MOST_TASKS:
            raise LookupError("enough tasks")
        way, name = len(self.tasks) % 5, f"t{len(self.tasks)}s{script}"
        if way == 4 and sys.version_info >= (3, 12):
            coroutine = self._eager_script(script)
            return self.names.Task(coroutine, loop=self.loop, name=name, eager_start=True)
        if self.eager and way != 3:
            return self._spawn_by_factory(way, script, name)
        coroutine = self._script(script)
        if way == 0:
            task: Any = self.loop.create_task(coroutine)
        elif way == 1:
            task = self.names.create_task(coroutine)
        elif way == 2:
            task = self.names.ensure_future(coroutine)
        else:
            task = self.task_class(coroutine, loop=self.loop)
        task.set_name(name)
        self.tasks.append(task)
        return task

    def _spawn_by_factory(self, way: int, script: int, name: str) -> Any:
        """Starts a task on a loop whose factory makes it eager."""
        coroutine = self._eager_script(script)
        context = contextvars.copy_context() if script % 2 else None
        if way == 0:
            return self.loop.create_task(coroutine, name=name, context=context)
        if way == 1:
            return self.names.create_task(coroutine, name=name, context=context)
        task = self.names.ensure_future(coroutine)
        task.set_name(name)
        return task

    def _spawn_in(self, group: Any, script: int, name: str) -> Any:
        """Starts a task in a group."""
        if self.eager:
            return group.create_task(self._eager_script(script), name=name)
        self.tasks.append(group.create_task(self._script(script), name=name))
        return self.tasks[-1]

    def _derived_classes(self) -> tuple[Any, Any]:
        """Classes derived from those of tasks and futures, whose methods note that they are called."""
        world = self

        class Task(self.names.Task):  # type: ignore[misc]
            def cancel(self, msg: Any = None) -> Any:
                if not world.cancelling:
                    world.note_repeated(f"cancel of {self.get_name()} {msg}")
                world.cancelling += 1
                try:
                    return super().cancel(msg=msg)
                finally:
                    world.cancelling -= 1

            def result(self) -> Any:
                world.note(f"result of {self.get_name()}")
                return super().result()

        class Future(self.names.Future):  # type: ignore[misc]
            def cancel(self, msg: Any = None) -> Any:
                world.note(f"cancel of the future {msg}")
                return super().cancel(msg=msg)

            def add_done_callback(self, fn: Any, *, context: Any = None) -> None:
                world.note("somebody waits for the future")
                super().add_done_callback(fn, context=context)

        return Task, Future

    async def _eager_script(self, number: int) -> Any:
        """A script that is in the list of tasks before its task was handed to who started it."""
        self.tasks.append(asyncio.current_task())
        return await self._script(number)

    async def _script(self, number: int) -> Any:
        self.note("starts")
        try:
            return await self._body(self.scripts[number], number)
        finally:
            self.note("ends")

    async def _body(self, body: Body, number: int) -> Any:
        for op in body:
            result = await self._op(op, number)
            if op[0] == "return":
                return result
        return None

    async def _op(self, op: Op, number: int) -> Any:
        name, *arguments = op
        if name in ("raise", "return", "try", "finally", "handling", "timeout", "group", *NESTING_LOCKS):
            return await getattr(self, f"_do_{name}")(*arguments, number=number)
        try:
            result = await getattr(self, f"_do_{name}")(*arguments)
        except asyncio.CancelledError as error:
            self.note(f"{name} cancelled {error.args}{background(error)}")
            raise
        except Exception as error:
            self.note(f"{name} failed: {describe(error)}{background(error)}")
        else:
            self.note(f"{name} {result!r}")
        return None

    def pick(self, index: int) -> Any:
        return self.tasks[index % len(self.tasks)]

    def later(self, index: int) -> Any:
        """Picks a task made after the current one, so that there is no ring."""
        task = asyncio.current_task()
        candidates = self.tasks[self.tasks.index(task) + 1 :]
        if not candidates:
            raise LookupError("no later task")
        return candidates[index % len(candidates)]

    # Control: what these raise goes up through the script.

    async def _do_raise(self, kind: str, *, number: int) -> None:
        error: Any = {"LookupError": LookupError, "ValueError": ValueError}.get(kind, asyncio.CancelledError)
        raise error("raised")

    async def _do_return(self, value: int, *, number: int) -> int:
        return value

    async def _do_try(self, then: str, body: Body, *, number: int) -> None:
        try:
            await self._body(body, number)
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                raise
            self.note(f"caught {describe(error)}{background(error)}")
            if then == "reraise":
                raise

    async def _do_handling(self, body: Body, *, number: int) -> None:
        """What is raised in the body has what is handled as its context."""
        try:
            raise KeyError(number)
        except KeyError:
            await self._body(body, number)

    async def _do_finally(self, body: Body, cleanup: Body, *, number: int) -> None:
        try:
            await self._body(body, number)
        finally:
            await self._body(cleanup, number)

    async def _do_timeout(self, delay: float | None, body: Body, *, number: int) -> None:
        try:
            async with self.names.timeout(delay) as scope:
                scopes = self.scopes[asyncio.current_task()]
                scopes.append(scope)
                try:
                    await self._body(body, number)
                finally:
                    scopes.pop()
        finally:
            self.note(f"timeout expired={scope.expired()}")

    async def _do_group(self, children: tuple[int, ...], body: Body, *, number: int) -> None:
        async with self.names.TaskGroup() as group:
            for child in children if len(self.tasks) < MOST_TASKS else ():
                name = f"t{len(self.tasks)}s{child}"
                self._spawn_in(group, child, name)
            groups = self.groups[asyncio.current_task()]
            groups.append(group)
            try:
                await self._body(body, number)
            finally:
                groups.pop()

    async def _do_lock(self, body: Body, *, number: int) -> None:
        async with self.lock:
            self.note("has the lock")
            await self._body(body, number)

    async def _do_semaphore(self, body: Body, *, number: int) -> None:
        async with self.semaphore:
            self.note("has the semaphore")
            await self._body(body, number)

    async def _do_condition(self, body: Body, *, number: int) -> None:
        async with self.condition:
            await self.condition.wait()
            self.note("was notified")
            await self._body(body, number)

    async def _do_bounded(self, body: Body, *, number: int) -> None:
        async with self.bounded:
            self.note("has the bounded semaphore")
            await self._body(body, number)

    async def _do_condition_for(self, levels: int, body: Body, *, number: int) -> None:
        needed = self.level + levels
        async with self.condition:
            await self.condition.wait_for(lambda: self.level >= needed)
            self.note(f"waited for level {needed}")
            await self._body(body, number)

    # Operations whose outcome is noted.

    async def _do_yield(self) -> None:
        await self.names.sleep(0)

    async def _do_log(self) -> None:
        pass

    async def _do_spawn(self, script: int) -> str:
        return self.spawn(script).get_name()  # type: ignore[no-any-return]

    async def _do_await(self, index: int) -> Any:
        return await self.later(index)

    async def _do_await_any(self, index: int) -> Any:
        """Tasks that wait for each other in a ring cannot be cancelled: that is a RecursionError."""
        return await self.pick(index)

    async def _do_cancel(self, index: int, message: str | None) -> bool:
        return self.pick(index).cancel(message)  # type: ignore[no-any-return]

    async def _do_uncancel(self) -> int:
        return asyncio.current_task().uncancel()  # type: ignore[union-attr]

    async def _do_inspect(self, index: int) -> str:
        task = self.pick(index)
        counts = task.cancelling() if hasattr(task, "cancelling") else 0
        # In a ring the count goes up until the recursion ends.
        counts = counts if counts < 5 else "many"
        return f"{outcome(task)} {counts} {task._must_cancel} {task._fut_waiter is not None}"

    async def _do_callback(self, index: int) -> None:
        task = self.pick(index)
        task.add_done_callback(lambda task: self.note(f"callback of {task.get_name()} {outcome(task)}"))

    async def _do_call_soon(self) -> None:
        self.loop.call_soon(self.note, "called soon")

    async def _do_shield(self, index: int) -> Any:
        return await self.names.shield(self.later(index))

    async def _do_wait_for(self, index: int, timeout: float | None) -> Any:
        return await self.names.wait_for(self.later(index), timeout)

    async def _do_gather(self, indices: tuple[int, ...], return_exceptions: bool) -> Any:
        found = await self.names.gather(*map(self.later, indices), return_exceptions=return_exceptions)
        return [describe(value) if isinstance(value, BaseException) else value for value in found]

    async def _do_wait(self, indices: tuple[int, ...], when: str, timeout: float | None) -> Any:
        done, pending = await self.names.wait({*map(self.later, indices)}, return_when=when, timeout=timeout)
        return sorted(task.get_name() for task in done), sorted(task.get_name() for task in pending)

    async def _do_as_completed(self, indices: tuple[int, ...], timeout: float | None, asynchronous: bool) -> Any:
        # Of those that are done already one at most: the order in which a set gives its members is no behaviour.
        chosen = [task for task in map(self.later, indices) if not task.done()] or [self.later(indices[0])]
        found = []
        if asynchronous and sys.version_info >= (3, 13):
            async for task in self.names.as_completed(chosen, timeout=timeout):
                found.append(task.get_name())
            return found
        for each in self.names.as_completed(chosen, timeout=timeout):
            try:
                found.append(await each)
            except Exception as error:
                found.append(describe(error))
        return found

    async def _do_shield_future(self, index: int) -> Any:
        return await self.names.shield(self.futures[index])

    async def _do_wait_for_future(self, index: int, timeout: float | None) -> Any:
        return await self.names.wait_for(self.futures[index], timeout)

    async def _do_reschedule(self, delay: float | None) -> Any:
        scope = self.scopes[asyncio.current_task()][-1]
        scope.reschedule(None if delay is None else self.loop.time() + delay)
        return scope.expired()

    async def _do_group_spawn(self, script: int) -> Any:
        """Starts a task in the innermost group, if that has none: in which order several are cancelled is chance."""
        group = self.groups[asyncio.current_task()][-1]
        if len(self.tasks) >= MOST_TASKS or any(not task.done() for task in group._tasks):
            raise LookupError("enough tasks")
        return self._spawn_in(group, script, f"t{len(self.tasks)}s{script}").get_name()

    async def _do_set_result(self, index: int, value: int) -> None:
        self.futures[index].set_result(value)

    async def _do_set_exception(self, index: int) -> None:
        self.futures[index].set_exception(LookupError("set"))

    async def _do_cancel_future(self, index: int) -> bool:
        return self.futures[index].cancel()

    async def _do_await_future(self, index: int) -> Any:
        return await self.futures[index]

    async def _do_event_wait(self) -> bool:
        return await self.event.wait()  # type: ignore[no-any-return]

    async def _do_event_set(self) -> None:
        self.event.set()

    async def _do_event_clear(self) -> None:
        self.event.clear()

    async def _do_notify(self, count: int) -> None:
        async with self.condition:
            self.condition.notify(count)

    async def _do_notify_all(self) -> None:
        async with self.condition:
            self.level += 1
            self.condition.notify_all()

    async def _do_acquire(self, index: int) -> Any:
        return await self._lock_of(index).acquire()

    async def _do_release(self, index: int) -> None:
        self._lock_of(index).release()

    def _lock_of(self, index: int) -> Any:
        return (self.lock, self.semaphore, self.bounded, self.condition)[index]

    async def _do_inspect_locks(self) -> str:
        things = (self.lock, self.semaphore, self.bounded, self.condition, self.event, self.barrier)
        return " ".join(repr(thing).rpartition("[")[2] for thing in things)

    async def _do_barrier_reset(self) -> None:
        await self.barrier.reset()  # type: ignore[union-attr]

    async def _do_barrier_abort(self) -> None:
        await self.barrier.abort()  # type: ignore[union-attr]

    async def _do_barrier(self) -> int:
        return await self.barrier.wait()  # type: ignore[no-any-return, union-attr]

    async def _do_put(self, index: int, value: int) -> None:
        await self.queues[index].put(value)

    async def _do_get(self, index: int) -> Any:
        return await self.queues[index].get()

    async def _do_put_nowait(self, index: int, value: int) -> None:
        self.queues[index].put_nowait(value)

    async def _do_get_nowait(self, index: int) -> Any:
        return self.queues[index].get_nowait()

    async def _do_task_done(self, index: int) -> None:
        self.queues[index].task_done()

    async def _do_join(self, index: int) -> None:
        await self.queues[index].join()

    async def _do_shutdown(self, index: int, immediate: bool) -> None:
        self.queues[index].shutdown(immediate)


def outcome(task: Any) -> str:
    """Tells how a task stands, without marking its exception as seen."""
    if not task.done():
        return "pending"
    if task.cancelled():
        return "cancelled"
    error = task._exception
    return describe(error) + background(error) if error is not None else f"result {task.result()!r}"


def background(error: BaseException) -> str:
    """Tells what was being handled when an exception was raised, and what caused it."""
    seen = [error]
    text = ""
    while error.__context__ is not None and error.__context__ not in seen:
        cause = " which caused it" if error.__cause__ is error.__context__ else ""
        error = error.__context__
        seen.append(error)
        text += f", while {describe(error)} was handled{cause}"
    return text


def describe(error: BaseException) -> str:
    inner = getattr(error, "exceptions", None)
    if inner is not None:
        return f"{type(error).__name__} of [{', '.join(map(describe, inner))}]"
    # Messages of RuntimeErrors hold addresses; those of InvalidStateError differ in asyncio's own two versions.
    untold = isinstance(error, (RuntimeError, asyncio.InvalidStateError))
    return type(error).__name__ if untold else f"{type(error).__name__} {error.args}"
