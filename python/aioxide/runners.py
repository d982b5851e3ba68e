"""`run`, `Runner` and `new_event_loop`: asyncio's, on every supported Python, with aioxide's loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import signal
import sys
import threading
from asyncio import coroutines, events
from collections.abc import Awaitable, Callable
from functools import cache
from types import FrameType, TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
_LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# How long the threads of the default executor may take to end, as in asyncio.
_THREAD_JOIN_SECONDS = 300


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Returns a new loop of aioxide. The name to give wherever a loop factory is asked for.

    # Examples

        loop = aioxide.new_event_loop()
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
        loop.close()

    asyncio: `asyncio.new_event_loop`.
    """
    loop: asyncio.AbstractEventLoop = _loop_class()()
    return loop


@cache
def _loop_class() -> Callable[[], asyncio.AbstractEventLoop]:
    """Kept: later on the program may have put something in the way of imports, and the interpreter may be ending."""
    from .event_loop import EventLoop

    return EventLoop


def run(
    main: Awaitable[_T],
    *,
    debug: bool | None = None,
    loop_factory: _LoopFactory | None = None,
) -> _T:
    """Runs ``main`` on a new loop of aioxide, cleans up and returns its result.

    # Examples

        async def main():
            return isinstance(asyncio.get_running_loop(), aioxide.EventLoop)

        assert aioxide.run(main())

    asyncio: `asyncio.run`; takes any awaitable and `loop_factory` on every Python.
    """
    if events._get_running_loop() is not None:
        raise RuntimeError("aioxide.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


class Runner:
    """Runs coroutines one after the other on one loop of its own.

    Ctrl-C cancels the coroutine that runs, and comes out as KeyboardInterrupt; a second Ctrl-C raises at once.

    # Examples

        with aioxide.Runner() as runner:
            assert runner.run(asyncio.sleep(0, "first")) == "first"
            assert runner.run(asyncio.sleep(0, "second")) == "second"

    asyncio: `asyncio.Runner`, which Python 3.10 does not have. There, a task takes a copy of the context that is
    given, since its tasks know no other way.
    """

    def __init__(self, *, debug: bool | None = None, loop_factory: _LoopFactory | None = None) -> None:
        self._debug = debug
        self._loop_factory = loop_factory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._closed = False
        self._interrupts = 0

    def __enter__(self) -> Runner:
        self._open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the loop, made now if need be."""
        return self._open()[0]

    def run(self, coro: Awaitable[_T], *, context: contextvars.Context | None = None) -> _T:
        """Runs an awaitable on the loop and returns its result.

        # Errors
        RuntimeError in a running loop or when closed. What is not awaitable raises TypeError, before Python 3.14
        ValueError (as `asyncio.Runner.run` does).
        """
        if events._get_running_loop() is not None:
            raise RuntimeError("Runner.run() cannot be called from a running event loop")
        coroutine = _as_coroutine(coro)
        loop, own_context = self._open()
        task: asyncio.Task[_T] = _create_task(loop, coroutine, own_context if context is None else context)
        handler = self._catch_interrupts(loop, task)
        self._interrupts = 0
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if self._interrupts > 0 and _was_last_cancel(task):
                raise KeyboardInterrupt from None
            raise
        finally:
            if handler is not None and signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """Cancels what still runs, ends asynchronous generators and the executor, and closes the loop."""
        loop = self._loop
        if loop is None:
            return
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(_shutdown_default_executor(loop))
        finally:
            if self._loop_factory is None:
                events.set_event_loop(None)
            loop.close()
            self._loop = None
            self._closed = True

    def _open(self) -> tuple[asyncio.AbstractEventLoop, contextvars.Context]:
        if self._closed:
            raise RuntimeError("Runner is closed")
        if self._loop is None or self._context is None:
            if self._loop_factory is None:
                self._loop = new_event_loop()
                events.set_event_loop(self._loop)
            else:
                self._loop = self._loop_factory()
            if self._debug is not None:
                self._loop.set_debug(self._debug)
            self._context = contextvars.copy_context()
        return self._loop, self._context

    def _catch_interrupts(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Any:
        """Takes SIGINT over if nobody else has; returns the handler, or None."""
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            return None

        def on_interrupt(signum: int, frame: FrameType | None) -> None:
            self._interrupts += 1
            if self._interrupts == 1 and not task.done():
                task.cancel()
                # Ends the wait for events, if the loop is in one.
                loop.call_soon_threadsafe(lambda: None)
                return
            raise KeyboardInterrupt

        try:
            signal.signal(signal.SIGINT, on_interrupt)
        except ValueError:  # an embedded interpreter that leaves signals to its host
            return None
        return on_interrupt


def _as_coroutine(awaitable: Awaitable[_T]) -> Any:
    if coroutines.iscoroutine(awaitable):
        return awaitable
    if inspect.isawaitable(awaitable):

        async def wait() -> _T:
            return await awaitable

        return wait()
    if sys.version_info >= (3, 14):
        raise TypeError("An asyncio.Future, a coroutine or an awaitable is required")
    raise ValueError(f"a coroutine was expected, got {awaitable!r}")


def _create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[Any]:
    if sys.version_info >= (3, 11):
        return loop.create_task(coroutine, context=context)
    return context.run(loop.create_task, coroutine)


def _was_last_cancel(task: asyncio.Task[Any]) -> bool:
    """Whether the cancellation by Ctrl-C was the only one; Python 3.10 keeps no count."""
    uncancel = getattr(task, "uncancel", None)
    return uncancel is None or uncancel() == 0


def _shutdown_default_executor(loop: asyncio.AbstractEventLoop) -> Any:
    if sys.version_info >= (3, 12):
        return loop.shutdown_default_executor(_THREAD_JOIN_SECONDS)  # type: ignore[call-arg]
    return loop.shutdown_default_executor()


def _cancel_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during aioxide.run() shutdown",
                    "exception": task.exception(),
                    "task": task,
                }
            )
