"""What a program can do by objects that come back into the loop: never a crash, a panic or a borrow that stays."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aioxide
import pytest
from hostile import run as hostile


@pytest.mark.slow
def test_random_programs_of_hostile_objects_find_nothing() -> None:
    assert not hostile.batch(0, 60)


def test_an_exception_class_may_finish_the_future_that_it_is_for(loop: Any) -> None:
    future = loop.create_future()

    class Finishing(Exception):
        def __init__(self) -> None:
            future.set_result(1)

    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(Finishing)
    assert future.result() == 1


def test_an_exception_class_that_makes_no_exception_is_refused(loop: Any) -> None:
    class Nothing(Exception):
        def __new__(cls) -> Any:
            return 1

    future = loop.create_future()
    with pytest.raises(TypeError):
        future.set_exception(Nothing)
    assert not future.done()
    for awaitable in (aioxide.sleep(1), aioxide.Queue().get(), aioxide.Lock().acquire(), aioxide.Event().wait()):
        with pytest.raises(TypeError):
            awaitable.throw(Nothing)
        awaitable.close()


class Foreign:
    """Behaves like a future, but for its exception."""

    _asyncio_future_blocking = False
    _log_destroy_pending = False

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def get_loop(self) -> Any:
        return self.loop

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        self.loop.call_soon(callback, self)

    def done(self) -> bool:
        """Not yet: as from 3.12 on, gather itself would fail of one that is."""
        return False

    def cancelled(self) -> bool:
        return False

    def exception(self) -> Any:
        return "no exception"


def test_a_foreign_future_whose_exception_is_none_is_refused_by_gather(loop: Any, reports: Any) -> None:
    async def main() -> None:
        gathered = asyncio.gather(Foreign(loop), loop.create_future())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not gathered.done()

    loop.run_until_complete(main())
    reports.take("Exception in callback")


@pytest.mark.parametrize("how", ["sent", "aborted"])
def test_a_destructor_of_what_waited_to_be_sent_may_use_the_transport(loop: Any, how: str) -> None:
    sizes = []

    class Piece(bytes):
        def __del__(self) -> None:
            sizes.append(transport.get_write_buffer_size())

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport: Any = None

    async def main() -> None:
        nonlocal transport
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.write(bytes(3_000_000))
        transport.write(Piece(b"piece"))
        left = 3_000_005
        while how == "sent" and left:
            left -= len(await loop.sock_recv(theirs, 1 << 20))
        transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with theirs:
        loop.run_until_complete(main())
    assert len(sizes) == 1
