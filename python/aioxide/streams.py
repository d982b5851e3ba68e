"""`StreamReader`, `StreamReaderProtocol` and `StreamWriter`: asyncio's, with what runs once per message in Rust."""

from __future__ import annotations

import asyncio

from . import _aioxide

__all__ = ["StreamReader", "StreamReaderProtocol", "StreamWriter"]

# The slots are asyncio's attributes; Rust reads them where they lie. `_odd` and `_pending` are its own: their
# descriptors are taken out of the classes.


class StreamReader(asyncio.StreamReader):
    """A stream's reading side.

    # Cancel safety
    A read that is cancelled takes nothing out of the buffer, but for `read(-1)`, which loses what it had taken.

    asyncio: `asyncio.StreamReader`, made by calling that with a loop of aioxide's; what its methods give to `await` is
    no coroutine object.
    """

    __slots__ = (
        "_buffer",
        "_eof",
        "_exception",
        "_limit",
        "_loop",
        "_odd",
        "_paused",
        "_pending",
        "_transport",
        "_waiter",
    )


class StreamReaderProtocol(asyncio.StreamReaderProtocol):
    """What feeds a reader. asyncio: `asyncio.StreamReaderProtocol`, made by calling that with a loop of aioxide's."""

    __slots__ = ("_connection_lost", "_drain_waiters", "_loop", "_odd", "_paused", "_stream_reader_wr")


class StreamWriter(asyncio.StreamWriter):
    """A stream's writing side.

    asyncio: `asyncio.StreamWriter`, made by calling that with a loop of aioxide's, or by `asyncio.open_connection`.
    """

    __slots__ = ("_complete_fut", "_loop", "_protocol", "_reader", "_transport")


_aioxide.equip_streams(StreamReader, StreamReaderProtocol, StreamWriter)
