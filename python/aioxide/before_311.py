"""What asyncio has from Python 3.11 on, for 3.10: the ways of timeouts and task groups that are not in Rust."""

from __future__ import annotations

import asyncio
import enum
from typing import Any


class TimeoutState(enum.Enum):
    """How a timeout stands."""

    CREATED = "created"
    ENTERED = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    EXITED = "finished"


def counting_task(name: str) -> Any:
    """Returns the current task, which must be one that counts its cancellations."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError(f"{name} should be used inside a task")
    if not hasattr(task, "uncancel"):
        raise RuntimeError(f"on Python 3.10 {name} needs aioxide's tasks, not those of {type(task).__module__}")
    return task


class Timeout:
    """The base of `aioxide.Timeout`: entering by the loop's protocol, and what an expired one makes of an exception."""

    # Attributes of the Rust half.
    _state: TimeoutState
    _task: Any
    _cancelling: int
    _timeout_handler: Any
    _when: float | None

    def reschedule(self, when: float | None) -> None:
        """Sets another time, or none."""
        if self._state is TimeoutState.CREATED:
            raise RuntimeError("Timeout has not been entered")
        if self._state is not TimeoutState.ENTERED:
            raise RuntimeError(f"Cannot change state of {self._state.value} Timeout")
        self._when = when
        self._drop_timer()
        if when is None:
            return
        loop = asyncio.get_running_loop()
        if when > loop.time():
            self._timeout_handler = loop.call_at(when, self._on_timeout)
        else:
            self._timeout_handler = loop.call_soon(self._on_timeout)

    def __repr__(self) -> str:
        text = f"<Timeout [{self._state.value}]"
        if self._state is TimeoutState.ENTERED:
            text += f" when={self._when if self._when is None else round(self._when, 3)}"
        return text + ">"

    async def __aenter__(self) -> Any:
        if self._state is not TimeoutState.CREATED:
            raise RuntimeError("Timeout has already been entered")
        self._task = counting_task("Timeout")
        self._cancelling = self._task.cancelling()
        self._state = TimeoutState.ENTERED
        self.reschedule(self._when)
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        assert self._state in (TimeoutState.ENTERED, TimeoutState.EXPIRING), self._state
        self._drop_timer()
        if self._state is TimeoutState.ENTERED:
            self._state = TimeoutState.EXITED
            return
        self._state = TimeoutState.EXPIRED
        if self._task.uncancel() > self._cancelling or error is None:
            return
        # Nobody else wants the task to end: the cancellation was ours.
        if isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
        for each in (error, *getattr(error, "exceptions", ())):
            replace_cancellation(each)

    def _drop_timer(self) -> None:
        if self._timeout_handler is not None:
            self._timeout_handler.cancel()
            self._timeout_handler = None

    def _on_timeout(self) -> None:
        self._task.cancel()
        self._state = TimeoutState.EXPIRING
        self._timeout_handler = None


def replace_cancellation(error: BaseException) -> None:
    """Puts a TimeoutError over the cancellation during which an exception was raised."""
    while error.__context__ is not None:
        if isinstance(error.__context__, asyncio.CancelledError):
            over = TimeoutError()
            over.__cause__ = over.__context__ = error.__context__
            error.__context__ = over
            return
        error = error.__context__


class TaskGroup:
    """The base of `aioxide.TaskGroup`: what becomes of failures and cancellations."""

    # Attributes of the Rust half.
    _loop: Any
    _parent_task: Any
    _tasks: set[Any]
    _errors: Any
    _base_error: BaseException | None
    _on_completed_fut: Any
    _entered: bool
    _exiting: bool
    _aborting: bool
    _parent_cancel_requested: bool

    def __repr__(self) -> str:
        words = ["<TaskGroup"]
        if self._tasks:
            words.append(f"tasks={len(self._tasks)}")
        if self._errors:
            words.append(f"errors={len(self._errors)}")
        if self._aborting or self._entered:
            words.append("cancelling" if self._aborting else "entered")
        return " ".join(words) + ">"

    async def __aenter__(self) -> Any:
        if self._entered:
            raise RuntimeError(f"TaskGroup {self!r} has already been entered")
        self._loop = asyncio.get_running_loop()
        self._parent_task = counting_task("TaskGroup")
        self._entered = True
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._exiting = True
        if self._base_error is None and isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._base_error = error
        cancellation = error if isinstance(error, asyncio.CancelledError) else None
        if error is not None and not self._aborting:
            self._abort()
        while self._tasks:
            if self._on_completed_fut is None:
                self._on_completed_fut = self._loop.create_future()
            try:
                await self._on_completed_fut
            except asyncio.CancelledError as again:
                if not self._aborting:
                    cancellation = again
                    self._abort()
            self._on_completed_fut = None
        if self._base_error is not None:
            raise self._base_error
        if self._parent_cancel_requested and self._parent_task.uncancel() == 0:
            cancellation = None  # it was the group's own
        errors, self._errors = self._errors or [], None
        if cancellation is not None and not errors:
            raise cancellation
        if error is not None and not isinstance(error, asyncio.CancelledError):
            errors.append(error)
        if errors:
            if self._parent_task.cancelling():
                # Somebody else wants the parent cancelled: its next await shall tell it.
                self._parent_task.uncancel()
                self._parent_task.cancel()
            raise exception_group("unhandled errors in a TaskGroup", errors) from None

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        """Starts a task that belongs to the group."""
        refusal = None
        if not self._entered:
            refusal = "has not been entered"
        elif self._exiting and not self._tasks:
            refusal = "is finished"
        elif self._aborting:
            refusal = "is shutting down"
        if refusal is not None:
            coro.close()
            raise RuntimeError(f"TaskGroup {self!r} {refusal}")
        options = {} if context is None else {"context": context}
        task = self._loop.create_task(coro, name=name, **options)
        if task.done():
            self._on_task_done(task)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)
        return task

    def _abort(self) -> None:
        self._aborting = True
        for task in self._tasks:
            if not task.done():
                task.cancel()

    def _on_task_done(self, task: Any) -> None:
        self._tasks.discard(task)
        waiter = self._on_completed_fut
        if waiter is not None and not self._tasks and not waiter.done():
            waiter.set_result(True)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._errors.append(error)
        if self._base_error is None and isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._base_error = error
        if self._parent_task.done():
            message = f"Task {task!r} has errored out but its parent task {self._parent_task} is already completed"
            self._loop.call_exception_handler({"message": message, "exception": error, "task": task})
        elif not self._aborting and not self._parent_cancel_requested:
            self._abort()
            self._parent_cancel_requested = True
            self._parent_task.cancel()


def exception_group(message: str, errors: list[BaseException]) -> BaseException:
    """Makes an exception group, a class that Python 3.10 does not have."""
    try:
        from exceptiongroup import BaseExceptionGroup  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise RuntimeError("task groups on Python 3.10 need the package exceptiongroup: install it") from errors[0]
    group: BaseException = BaseExceptionGroup(message, errors)
    return group
