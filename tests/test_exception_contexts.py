"""Exceptions out of futures name what was being handled; the exception handler is called inside of `except`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import aioxide
import pytest


class First(Exception):
    """What is being handled."""


class Second(Exception):
    """What comes out of a future meanwhile."""


@pytest.fixture
def functions(loop_name: str) -> Any:
    """The module whose `gather` and the like belong to the loop under test."""
    return aioxide if loop_name == "aioxide" else asyncio


def failed() -> asyncio.Future[None]:
    future = asyncio.get_running_loop().create_future()
    future.set_exception(Second())
    return future


def cancelled() -> asyncio.Future[None]:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def failing() -> None:
    raise Second


async def done(coro: Any) -> asyncio.Task[None]:
    task = asyncio.ensure_future(coro)
    await asyncio.wait([task])
    return task


async def result(functions: Any) -> None:
    failed().result()


async def exception_of_a_cancelled_one(functions: Any) -> None:
    cancelled().exception()


async def awaited(functions: Any) -> None:
    await failed()


async def awaited_cancelled(functions: Any) -> None:
    await cancelled()


async def awaited_task(functions: Any) -> None:
    await (await done(failing()))


async def gather(functions: Any) -> None:
    await functions.gather(failed())


async def shield(functions: Any) -> None:
    await functions.shield(failed())


async def wait_for(functions: Any) -> None:
    await functions.wait_for(failed(), 1)


async def wait_for_without_time(functions: Any) -> None:
    await functions.wait_for(failed(), 0)


async def wait_for_too_long(functions: Any) -> None:
    await functions.wait_for(asyncio.get_running_loop().create_future(), 0)


async def as_completed(functions: Any) -> None:
    for each in functions.as_completed([failing()]):
        await each


async def as_completed_too_late(functions: Any) -> None:
    future = asyncio.get_running_loop().create_future()
    for each in functions.as_completed([future], timeout=0.001):
        await each


WAYS = (
    result,
    exception_of_a_cancelled_one,
    awaited,
    awaited_cancelled,
    awaited_task,
    gather,
    shield,
    wait_for,
    wait_for_without_time,
    wait_for_too_long,
    as_completed,
    as_completed_too_late,
)


@pytest.mark.parametrize("way", WAYS)
def test_exception_out_of_a_future_names_what_was_being_handled(run: Any, functions: Any, way: Any) -> None:
    async def main() -> BaseException:
        try:
            try:
                raise First
            except First:
                await way(functions)
        except BaseException as error:
            return error
        raise AssertionError("nothing was raised")

    error: BaseException | None = run(main())
    seen = []
    while error is not None:
        seen.append(type(error))
        error = error.__context__
    assert seen[-1] is First
    assert seen[0] in (Second, asyncio.CancelledError, asyncio.TimeoutError)


@pytest.mark.parametrize("way", WAYS)
def test_exception_out_of_a_future_has_no_context_outside_of_except(run: Any, functions: Any, way: Any) -> None:
    async def main() -> BaseException:
        try:
            await way(functions)
        except BaseException as error:
            return error
        raise AssertionError("nothing was raised")

    error = run(main())
    while error.__context__ is not None:
        error = error.__context__
    assert type(error) in (Second, asyncio.CancelledError, asyncio.TimeoutError)


def test_same_exception_raised_again_is_not_its_own_context(run: Any) -> None:
    async def main() -> None:
        future = failed()
        try:
            await future
        except Second:
            with pytest.raises(Second) as again:
                await future
        assert again.value is future.exception()
        assert again.value.__context__ is None

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="raises another exception, up to Python 3.12")
def test_second_cancellation_of_a_condition_names_the_first(run: Any, functions: Any) -> None:
    async def main() -> None:
        condition = functions.Condition()

        async def wait() -> None:
            async with condition:
                await condition.wait()

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        await condition.acquire()
        for message in ("first", "second", "third"):
            waiting.cancel(message)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        condition.release()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        assert caught.value.args == ("third",)
        assert caught.value.__context__ is not None
        assert caught.value.__context__.args == ("first",)

    run(main())


class Handled(list[bool]):
    """Whether each call of the exception handler found the exception as the one that is handled."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.called = asyncio.Event()
        loop.set_exception_handler(self.handle)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.append(sys.exc_info()[1] is context["exception"])
        self.called.set()


def bad(*_: Any) -> Any:
    raise Second


def from_call_soon(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(bad)


def from_call_later(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0.001, bad)


def from_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(bad)


def from_a_done_callback(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    future.add_done_callback(bad)
    future.set_result(None)


def from_a_signal_handler(loop: asyncio.AbstractEventLoop) -> None:
    def handle() -> None:
        loop.remove_signal_handler(signal.SIGUSR1)
        bad()

    loop.add_signal_handler(signal.SIGUSR1, handle)
    os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize(
    "cause", [from_call_soon, from_call_later, from_another_thread, from_a_done_callback, from_a_signal_handler]
)
def test_handler_finds_the_exception_of_a_callback(
    run: Any, loop: asyncio.AbstractEventLoop, cause: Callable[[asyncio.AbstractEventLoop], None]
) -> None:
    async def main() -> Handled:
        handled = Handled(loop)
        cause(loop)
        await handled.called.wait()
        assert sys.exc_info()[1] is None
        return handled

    assert run(main()) == [True]


def test_handler_finds_the_exception_of_a_reader(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> Handled:
        handled = Handled(loop)
        ours, theirs = socket.socketpair()
        with ours, theirs:

            def read() -> None:
                loop.remove_reader(ours)
                bad()

            loop.add_reader(ours, read)
            theirs.send(b"x")
            await handled.called.wait()
        return handled

    assert run(main()) == [True]


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_handler_finds_the_exception_of_a_protocol(run: Any, loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> Handled:
        handled = Handled(loop)
        ours, theirs = socket.socketpair()
        with theirs:
            protocol = type("Protocol", (asyncio.Protocol,), {method: bad})
            transport, _ = await loop.create_connection(protocol, sock=ours)
            theirs.send(b"x")
            await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)
            await handled.called.wait()
            transport.close()
            await asyncio.sleep(0)
        return handled

    assert run(main()) == [True]


def test_handler_finds_the_exception_of_a_datagram_protocol(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> Handled:
        handled = Handled(loop)
        protocol = type("Protocol", (asyncio.DatagramProtocol,), {"datagram_received": bad})
        transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=("127.0.0.1", 0))
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        await handled.called.wait()
        transport.close()
        await asyncio.sleep(0)
        return handled

    assert run(main()) == [True]


def test_exception_of_the_handler_names_what_it_was_told_of(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    raised = []

    async def main() -> None:
        called = asyncio.Event()

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            try:
                raise LookupError
            except LookupError as error:
                raised.append(type(error.__context__))
            called.set()

        loop.set_exception_handler(handle)
        loop.call_soon(bad)
        await called.wait()

    run(main())
    assert raised == [Second]


def test_wait_cancelled_while_it_takes_the_lock_back_names_what_was_handled(run: Any, functions: Any) -> None:
    async def main() -> None:
        condition = functions.Condition()

        async def wait() -> None:
            try:
                raise First
            except First:
                async with condition:
                    await condition.wait()

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        await condition.acquire()
        condition.notify()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        condition.release()
        with pytest.raises(asyncio.CancelledError) as found:
            await task
        cancelled: Any = found.value
        # Who awaits a cancelled task gets an exception of its own on 3.10, above the task's.
        if sys.version_info < (3, 11):
            cancelled = cancelled.__context__
        assert type(cancelled.__context__) is First

    run(main())


def test_exception_of_a_callbacks_repr_names_what_the_callback_raised(loop: asyncio.AbstractEventLoop) -> None:
    class Callback:
        def __call__(self) -> None:
            raise First

        def __repr__(self) -> str:
            raise Second

    loop.call_soon(Callback())
    with pytest.raises(Second) as caught:
        loop.run_until_complete(asyncio.sleep(0))
    assert isinstance(caught.value.__context__, First)
