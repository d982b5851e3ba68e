"""Keeps the heartbeat of a websocket up while nobody receives."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .errors import ClientError, ServerTimeoutError

if TYPE_CHECKING:
    from .websocket import ClientWebSocketResponse

_PING = 9


class ReadAhead:
    """Reads one message ahead when nobody has received for as long as a heartbeat: pongs come among messages.

    Who receives keeps the heartbeat up by itself, in Rust. While a message waits to be taken only pings are sent.
    """

    def __init__(self, owner: ClientWebSocketResponse, interval: float) -> None:
        self._loop = asyncio.get_running_loop()
        # A websocket that nobody holds any more ends.
        self._owner = weakref.ref(owner, self._forget)
        self._interval = interval
        self._task: asyncio.Task[Any] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval, self._look)

    def _forget(self, _owner: Any) -> None:
        if not self._loop.is_closed():
            self.stop()

    def _look(self) -> None:
        owner = self._owner()
        if owner is None or owner.closed:
            return
        self._timer = self._loop.call_later(self._interval, self._look)
        if owner._receiving:
            return
        if self._task is None:
            self._task = self._loop.create_task(self._read(owner._socket))
            # What befalls the connection is told to who receives; if nobody does, nobody wants to know.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        elif self._task.done():
            self._pinging = self._loop.create_task(_ping(owner._socket))

    async def _read(self, socket: Any) -> Any:
        try:
            return await socket.receive()
        except ServerTimeoutError as error:
            if (owner := self._owner()) is not None:
                await owner._failed(error)
            raise

    @property
    def is_reading(self) -> bool:
        """Whether the next message is here, or is waited for."""
        return self._task is not None

    async def take(self) -> Any:
        """What `receive` of the socket returns. A cancelled call loses nothing."""
        task = self._task
        assert task is not None
        await asyncio.wait([task])
        self._task = None
        return task.result()

    def stop(self) -> None:
        """There is no heartbeat any more."""
        self._timer.cancel()
        for task in (self._task, self._pinging):
            if task is not None and task is not _current():
                task.cancel()
        self._task = None


def _current() -> Any:
    # A websocket may be collected where no loop runs.
    with suppress(RuntimeError):
        return asyncio.current_task()
    return None


async def _ping(socket: Any) -> None:
    # Who receives hears of it.
    with suppress(ClientError):
        await socket.send(_PING, b"")
