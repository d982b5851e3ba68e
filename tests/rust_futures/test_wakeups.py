"""How a Rust future waits and is woken, by its loop and by other threads, and which loops and threads may await it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import Any

import aioxide
import pytest

from rust_futures import Notes, Run, turns


def test_pending_future_lets_others_run(probe: Any, run: Run) -> None:
    async def main() -> list[str]:
        notes = Notes()

        async def other() -> None:
            for _ in range(3):
                notes.append("other")
                await asyncio.sleep(0)

        async def rust() -> None:
            notes.append("before")
            assert await probe.yields(3) == 3
            notes.append("after")

        await asyncio.gather(rust(), other())
        return notes

    assert run(main()) == ["before", "other", "other", "other", "after"]


def test_sleep_takes_its_time(probe: Any, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await asyncio.gather(probe.sleeps(0.03, "a"), probe.sleeps(0.01, "b"), probe.sleeps(0)) == [
            "a",
            "b",
            None,
        ]
        assert loop.time() - start >= 0.03

    run(main())


def test_readiness_of_a_socket(probe: Any, run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(probe.echo(theirs.detach(), 6))
        await asyncio.sleep(0.02)
        await loop.sock_sendall(ours, b"abc")
        await turns(3)
        await loop.sock_sendall(ours, b"def")
        filled, ticks = await task
        assert filled == 6
        assert ticks > 0
        assert await loop.sock_recv(ours, 10) == b"abcdef"
        ours.close()

    run(main())


def test_local_state_without_locks(probe: Any, run: Run) -> None:
    async def main() -> None:
        slot = probe.Slot()
        tasks = [asyncio.ensure_future(slot.get()) for _ in range(3)]
        await turns(2)
        assert slot.polls == 3
        slot.set("value")
        assert await asyncio.gather(*tasks) == ["value"] * 3
        assert slot.polls == 6

    run(main())


def test_wakeup_without_progress_polls_once_more(probe: Any, run: Run) -> None:
    async def main() -> None:
        slot = probe.Slot()
        task = asyncio.ensure_future(slot.get())
        await turns(2)
        slot.disturb()
        slot.disturb()
        await turns(4)
        assert slot.polls == 2
        slot.set(1)
        assert await task == 1

    run(main())


def test_wakeup_keeps_the_queue_in_order(probe: Any, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slot = probe.Slot()
        notes = Notes()

        async def waiting() -> None:
            await slot.get()
            notes.append("woken")

        task = asyncio.ensure_future(waiting())
        await turns(2)
        loop.call_soon(notes.append, "before")
        slot.set(1)
        loop.call_soon(notes.append, "after")
        await task
        assert notes[:2] == ["before", "woken"] or loop.get_debug()
        assert set(notes) == {"before", "woken", "after"}

    run(main())


def test_wakeup_while_detached(probe: Any, run: Run) -> None:
    async def main() -> object:
        slot = probe.Slot()
        task = asyncio.ensure_future(slot.get())
        await turns(2)
        slot.set_detached("value")
        return await task

    assert run(main()) == "value"


def test_wakeup_from_a_thread_ends_the_wait(probe: Any, run: Run) -> None:
    assert run(probe.woken_by_thread(1)) == 1
    assert run(probe.woken_by_thread(200)) == 200


def test_waker_used_by_threads_within_the_poll(probe: Any, run: Run) -> None:
    assert run(probe.woken_within_poll()) is True


def test_two_loops_in_two_threads(probe: Any) -> None:
    def work(results: list[object]) -> None:
        async def main() -> None:
            slot = probe.Slot()
            tasks = [asyncio.ensure_future(slot.get()), asyncio.ensure_future(probe.woken_by_thread(50))]
            await probe.sleeps(0.001)
            slot.set("value")
            results.extend(await asyncio.gather(*tasks))

        aioxide.run(main())

    results: list[list[object]] = [[], []]
    threads = [threading.Thread(target=work, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["value", 50]] * 2


def test_future_of_another_thread_is_refused_and_dropped_at_home(probe: Any, run: Run) -> None:
    notes = Notes()

    async def main() -> None:
        dropped_in: list[int] = []
        awaitable = probe.forever(notes.polled, lambda: dropped_in.append(threading.get_ident()))
        errors = []

        def elsewhere(awaitable: Any) -> None:
            try:
                aioxide.run(awaitable)
            except RuntimeError as error:
                errors.append(str(error))

        await asyncio.get_running_loop().run_in_executor(None, elsewhere, awaitable)
        assert errors == ["a Rust future is awaited in another thread than the one that made it"]
        # The task over there is in a cycle with its exception.
        gc.collect()
        # One that waits on this loop and is collected elsewhere comes back to be dropped.
        iterator = awaitable.__await__()
        assert iterator.send(None) is not None
        holder = [awaitable]
        del awaitable, iterator
        await asyncio.get_running_loop().run_in_executor(None, holder.clear)
        while not dropped_in:
            await asyncio.sleep(0)
        assert dropped_in == [threading.get_ident()]

    run(main())


def test_other_loops_are_refused(probe: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="not aioxide's"):
            await probe.ready(1)

    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
