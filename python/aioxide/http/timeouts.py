"""How long a request and its phases may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class ClientTimeout:
    """Limits in seconds; None and 0 mean without limit, as does a negative number but for `sock_read`.

    `total`: from the call to the last byte of the body, redirects and the wait for a place in the pool included.
    `connect`: the place in the pool and the connection. `sock_connect`: reaching the address. `sock_read`: silence.

    >>> ClientTimeout(total=20).sock_read is None
    True
    """

    total: float | None = None
    connect: float | None = None
    sock_read: float | None = None
    sock_connect: float | None = None
    # aiohttp rounds longer limits up to whole seconds; timers here are exact, so this has no effect.
    ceil_threshold: float = 5

    @property
    def _seconds(self) -> tuple[float | None, float | None, float | None, float | None]:
        # A negative total or connect is no limit, as in aiohttp.
        total, connect, sock_connect = (
            None if seconds is not None and seconds < 0 else seconds
            for seconds in (self.total, self.connect, self.sock_connect)
        )
        return (total, connect, sock_connect, self.sock_read)


@dataclass(frozen=True, slots=True)
class ClientWSTimeout:
    """Limits in seconds for a websocket: for a message to come, and for the other side to say goodbye."""

    ws_receive: float | None = None
    ws_close: float | None = None


# How much of a body is kept in advance, in bytes; a line may be twice as long.
DEFAULT_CHUNK_SIZE = 2**18
DEFAULT_TIMEOUT = ClientTimeout(total=5 * 60, sock_connect=30)


def evolve(timeout: ClientTimeout, **changes: Any) -> ClientTimeout:
    return replace(timeout, **changes)
