"""`aioxide.run` and `aioxide.Runner`: as asyncio's, on every Python."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import aioxide
import pytest

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


def test_run_returns_the_result() -> None:
    assert aioxide.run(answer()) == 42


def test_run_uses_our_loop() -> None:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loop = aioxide.run(main())
    assert isinstance(loop, aioxide.EventLoop)
    assert loop.is_closed()


def test_run_takes_another_factory() -> None:
    async def main() -> type:
        return type(asyncio.get_running_loop())

    assert aioxide.run(main(), loop_factory=asyncio.SelectorEventLoop) is asyncio.SelectorEventLoop


def test_run_raises_what_the_coroutine_raises() -> None:
    async def main() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        aioxide.run(main())


def test_run_takes_any_awaitable() -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return answer().__await__()

    assert aioxide.run(Awaitable()) == 42


def test_run_refuses_what_is_not_awaitable() -> None:
    with pytest.raises((TypeError, ValueError), match=r"coroutine|awaitable"):
        aioxide.run(42)  # type: ignore[arg-type]


def test_run_inside_a_loop_is_refused() -> None:
    async def main() -> None:
        inner = answer()
        try:
            with pytest.raises(RuntimeError, match="running event loop"):
                aioxide.run(inner)
        finally:
            inner.close()

    aioxide.run(main())


@pytest.mark.parametrize("debug", [True, False])
def test_run_sets_debug_mode(debug: bool) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert aioxide.run(main(), debug=debug) is debug


def test_run_cancels_what_is_left_and_ends_generators() -> None:
    log: list[str] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def generator() -> Any:
        try:
            yield 1
        finally:
            log.append("generator closed")

    kept: list[Any] = []

    async def main() -> None:
        kept.append(asyncio.ensure_future(left()))
        numbers = generator()
        kept.append(numbers)
        await numbers.__anext__()
        await asyncio.sleep(0)

    aioxide.run(main())
    assert log == ["cancelled", "generator closed"]


def test_run_reports_a_failure_during_shutdown() -> None:
    reports: list[dict[str, Any]] = []
    kept: list[Any] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("while ending")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        kept.append(asyncio.ensure_future(left()))
        await asyncio.sleep(0)

    aioxide.run(main())
    assert len(reports) == 1
    assert "during aioxide.run() shutdown" in reports[0]["message"]
    assert isinstance(reports[0]["exception"], LookupError)


def test_runner_runs_several_on_one_loop() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    with aioxide.Runner() as runner:
        assert runner.run(loop()) is runner.run(loop()) is runner.get_loop()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio's tasks take no context before 3.11")
def test_runner_keeps_the_context_between_runs() -> None:
    async def put() -> None:
        VARIABLE.set("kept")

    async def get() -> str:
        return VARIABLE.get()

    with aioxide.Runner() as runner:
        runner.run(put())
        assert runner.run(get()) == "kept"
        other = contextvars.copy_context()
        assert runner.run(get(), context=other) == "unset"
    assert VARIABLE.get() == "unset"


def test_runner_is_closed_for_good() -> None:
    runner = aioxide.Runner()
    runner.run(answer())
    runner.close()
    runner.close()
    late = answer()
    with pytest.raises(RuntimeError, match="closed"):
        runner.run(late)
    late.close()
    with pytest.raises(RuntimeError, match="closed"):
        runner.get_loop()


def test_interrupt_cancels_the_task_and_becomes_keyboard_interrupt() -> None:
    log: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        aioxide.run(main())
    assert log == ["cancelled"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_that_is_swallowed_lets_the_task_return() -> None:
    async def main() -> str:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "went on"
        return "not reached"

    assert aioxide.run(main()) == "went on"


def test_own_interrupt_handler_is_left_alone() -> None:
    seen: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:

        async def main() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)

        aioxide.run(main())
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, previous)


def test_interrupt_of_an_idle_loop_ends_the_process_by_traceback() -> None:
    program = textwrap.dedent(
        """
        import asyncio, os, signal, threading, aioxide

        async def main():
            print("ready", flush=True)
            await asyncio.Event().wait()

        aioxide.run(main())
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode == -signal.SIGINT
