"""The body of a response as a stream: `response.content`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import ClientConnectionError

if TYPE_CHECKING:
    from .response import ClientResponse

_T = TypeVar("_T")


class EofStream(Exception):
    """The stream is at its end."""


class LineTooLong(ValueError):
    """A line is longer than the buffer."""


class AsyncStreamIterator(Generic[_T]):
    """What `async for` gets of a stream."""

    def __init__(self, read: Callable[[], Awaitable[_T]]) -> None:
        self._read = read

    def __aiter__(self) -> AsyncStreamIterator[_T]:
        return self

    async def __anext__(self) -> _T:
        piece = await self._read()
        if not piece:
            raise StopAsyncIteration
        return piece


class ChunkTupleAsyncStreamIterator:
    """What `iter_chunks` returns: pairs of bytes, and whether the server's chunk ends there."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream

    def __aiter__(self) -> ChunkTupleAsyncStreamIterator:
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        pair = await self._stream.readchunk()
        if pair == (b"", False):
            raise StopAsyncIteration
        return pair


class StreamReader:
    """The bytes of a body, in the pieces that the program asks for; nothing is received before it is asked for.

    Its methods raise what the connection's end is: `ClientPayloadError`, `SocketTimeoutError`,
    `asyncio.TimeoutError`. A cancelled
    call loses nothing that it would not have returned, but for `read(-1)` and `readexactly`, which drop what they have.
    """

    total_bytes = 0

    def __init__(self, response: ClientResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        # What was received and not taken yet.
        self._buffer = bytearray()
        self._eof = False
        self._exception: BaseException | None = None
        self._eof_callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._buffer:
            info.append(f"{len(self._buffer)} bytes")
        if self._eof:
            info.append("eof")
        if self._exception is not None:
            info.append(f"e={self._exception!r}")
        return f"<{' '.join(info)}>"

    def __aiter__(self) -> AsyncStreamIterator[bytes]:
        return AsyncStreamIterator(self.readline)

    def iter_chunked(self, n: int) -> AsyncStreamIterator[bytes]:
        """Pieces of at most `n` bytes."""
        return AsyncStreamIterator(lambda: self.read(n))

    def iter_any(self) -> AsyncStreamIterator[bytes]:
        """Pieces as they come."""
        return AsyncStreamIterator(self.readany)

    def iter_chunks(self) -> ChunkTupleAsyncStreamIterator:
        """Pieces as they come, each with whether it ends a chunk."""
        return ChunkTupleAsyncStreamIterator(self)

    def get_read_buffer_limits(self) -> tuple[int, int]:
        return self._limit, self._limit * 2

    def exception(self) -> BaseException | None:
        return self._exception

    def set_exception(self, exception: BaseException, cause: BaseException | None = None) -> None:
        self._exception = exception

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Calls `callback` when the end has come."""
        if self._eof:
            callback()
        else:
            self._eof_callbacks.append(callback)

    def is_eof(self) -> bool:
        """Whether the server has sent everything."""
        if not self._eof and self._exception is None:
            self._take_here()
        return self._eof

    def at_eof(self) -> bool:
        """Whether everything was read."""
        return not self._buffer and self.is_eof()

    def unread_data(self, data: bytes) -> None:
        """Puts bytes back in front of the others."""
        self._buffer[:0] = data

    def _take_here(self) -> None:
        """Takes what needs no waiting for, but no more than the limit."""
        while len(self._buffer) <= self._limit and not self._eof:
            piece = self._response._chunk_now()
            if piece is None:
                if self._response._is_over:
                    self._end()
                return
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        self.total_bytes += len(piece)
        self._buffer += piece

    def _end(self) -> None:
        self._eof = True
        callbacks, self._eof_callbacks = self._eof_callbacks, []
        for callback in callbacks:
            callback()

    async def _next_piece(self) -> bytes:
        """Waits for another piece, which is the caller's; empty at the end."""
        if self._exception is not None:
            raise self._exception
        if self._eof:
            return b""
        if self._response._is_closed:
            raise ClientConnectionError("Connection closed")
        try:
            piece = await self._response._chunk()
        except RuntimeError:
            # Another coroutine reads just now, and goes on.
            raise
        except Exception as error:
            self._exception = error
            raise
        if piece is None:
            if self._response._is_closed:
                raise ClientConnectionError("Connection closed")
            self._end()
            return b""
        await self._response._tell_chunk(piece)
        self.total_bytes += len(piece)
        return piece

    async def _more(self) -> bool:
        """Waits for another piece, which is kept; False at the end."""
        piece = await self._next_piece()
        self._buffer += piece
        return bool(piece)

    def _pop(self, n: int) -> bytes:
        # Without the view it would be copied twice.
        taken = bytes(memoryview(self._buffer)[:n])
        del self._buffer[:n]
        return taken

    async def wait_eof(self) -> None:
        """Waits until everything was received."""
        while await self._more():
            pass

    async def readany(self) -> bytes:
        """What there is, or the next piece; empty at the end."""
        if self._exception is not None:
            raise self._exception
        return await self._at_most(None)

    async def _at_most(self, n: int | None) -> bytes:
        if not self._buffer:
            piece = await self._next_piece()
            # What comes is handed on as it is, unless somebody has put bytes back meanwhile.
            if not self._buffer and (n is None or len(piece) <= n):
                return piece
            self._buffer += piece
        return self._pop(len(self._buffer) if n is None else n)

    async def read(self, n: int = -1) -> bytes:
        """At most `n` bytes, at least one but at the end; everything when `n` is negative."""
        if self._exception is not None:
            raise self._exception
        if n < 0:
            pieces = []
            while piece := await self.readany():
                pieces.append(piece)
            return b"".join(pieces)
        if n == 0:
            return b""
        return await self._at_most(n)

    async def readchunk(self) -> tuple[bytes, bool]:
        """The next piece and whether a chunk ends with it; `(b"", False)` at the end.

        A body that is not sent in chunks has no ends of chunks.
        """
        piece = await self.readany()
        return piece, bool(piece) and self._response._is_chunked

    async def readexactly(self, n: int) -> bytes:
        """`n` bytes; `asyncio.IncompleteReadError` when there are fewer."""
        import asyncio

        if self._exception is not None:
            raise self._exception
        while len(self._buffer) < n:
            if not await self._more():
                partial = self._pop(len(self._buffer))
                raise asyncio.IncompleteReadError(partial, n)
        return self._pop(n)

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        """The next line with its end.

        What is left at the end of the body; `ValueError` for one longer than the buffer.
        """
        return await self.readuntil(max_line_length=max_line_length)

    async def readuntil(
        self, separator: bytes = b"\n", *, max_size: int | None = None, max_line_length: int | None = None
    ) -> bytes:
        """Up to and with `separator`; what is left at the end of the body."""
        if not separator:
            raise ValueError("Separator should be at least one-byte string")
        if self._exception is not None:
            raise self._exception
        limit = max_line_length or max_size or self._limit * 2
        searched = 0
        while True:
            found = self._buffer.find(separator, searched)
            if found >= 0:
                end = found + len(separator)
                if end > limit:
                    raise LineTooLong("Chunk too big")
                return self._pop(end)
            if len(self._buffer) > limit:
                raise LineTooLong("Chunk too big")
            searched = max(len(self._buffer) - len(separator) + 1, 0)
            if not await self._more():
                return self._pop(len(self._buffer))

    def read_nowait(self, n: int = -1) -> bytes:
        """What was received already, at most `n` bytes."""
        if self._exception is not None:
            raise self._exception
        self._take_here()
        return self._pop(len(self._buffer) if n < 0 else n)
