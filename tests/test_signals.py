"""Signal handlers, and Ctrl-C as asyncio's Runner expects."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest


def test_handler_runs_in_the_loop_with_its_arguments(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []

    def handle(*arguments: Any) -> None:
        seen.append((asyncio.get_running_loop() is loop, arguments))
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handle, 1, 2)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert seen == [(True, (1, 2))]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_signal_wakes_a_waiting_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    main = threading.main_thread().ident
    assert main is not None
    thread = threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGUSR1))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_handlers_can_be_looked_at_and_put_back(loop: asyncio.AbstractEventLoop) -> None:
    def handle(word: str) -> None:
        raise AssertionError

    loop.add_signal_handler(signal.SIGWINCH, handle, "word")
    handle_object = loop._signal_handlers[signal.SIGWINCH]  # type: ignore[attr-defined]
    assert handle_object._callback is handle
    assert handle_object._args == ("word",)
    loop.remove_signal_handler(signal.SIGWINCH)
    assert signal.SIGWINCH not in loop._signal_handlers  # type: ignore[attr-defined]


def test_closing_the_loop_puts_the_default_back(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_signals_that_cannot_be_caught(loop: asyncio.AbstractEventLoop, number: int) -> None:
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(number, print)


def test_wrong_arguments(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(ValueError, match="signal"):
        loop.add_signal_handler(10_000, print)
    with pytest.raises(TypeError):
        loop.add_signal_handler("SIGUSR1", print)  # type: ignore[arg-type]

    async def coroutine() -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)


def test_other_thread_may_not_add_handlers(loop: asyncio.AbstractEventLoop) -> None:
    caught: list[BaseException] = []

    def add() -> None:
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except (RuntimeError, ValueError) as error:
            caught.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner came with 3.11")
def test_interrupt_with_asyncios_runner(loop_factory: Any) -> None:
    log: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())
    assert log == ["cancelled"]


def test_python_handler_runs_while_the_loop_is_busy(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: (seen.append(number), loop.stop()))
    try:

        def spin() -> None:
            loop.call_soon(spin)

        spin()
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [signal.SIGUSR1]


def test_python_handler_that_raises_leaves_a_waiting_loop(loop: asyncio.AbstractEventLoop) -> None:
    class Alarm(Exception):
        pass

    def ring(number: int, frame: Any) -> None:
        raise Alarm

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        start = time.monotonic()
        with pytest.raises(Alarm):
            loop.run_forever()
        assert time.monotonic() - start < 10
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_child_processes_get_default_signals(loop: asyncio.AbstractEventLoop, run: Any) -> None:
    loop.add_signal_handler(signal.SIGTERM, print)

    async def main() -> int:
        process = await asyncio.create_subprocess_exec("sleep", "1000", stdin=subprocess.DEVNULL)
        process.terminate()
        return await process.wait()

    assert run(main()) == -signal.SIGTERM
    loop.remove_signal_handler(signal.SIGTERM)
