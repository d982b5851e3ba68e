"""How much of a request's body has been sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from .errors import UploadAbortedError


class UploadTracker:
    """Watches the upload of one request: `session.post(url, data=…, upload_tracker=tracker)`.

    `bytes_written`: of the attempt under way, what was handed to the connection. `attempts`: how often the body was
    begun.
    `upload_complete`: a future of the running loop.
    """

    def __init__(self) -> None:
        self.attempts = 0
        self.bytes_written = 0
        self.upload_complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bound = False
        self._finished = False
        self._final = False
        # A body is being sent.
        self._active = False
        self._error: BaseException | None = None

    def _bind(self) -> None:
        if self._bound:
            raise RuntimeError("UploadTracker is already bound to a request")
        self._bound = True

    def _begin(self, *, is_empty: bool) -> None:
        """Another attempt."""
        self.attempts += 1
        self.bytes_written = 0
        self._finished = is_empty
        self._error = None

    def _watch(self, body: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        """The pieces of this attempt, counted."""
        return self._pieces(body, length, self.attempts)

    async def _pieces(self, body: Any, length: int | None, attempt: int) -> AsyncIterator[bytes]:
        self._active = attempt == self.attempts
        try:
            async for piece in body:
                if attempt == self.attempts:
                    self.bytes_written += len(piece)
                    # Nobody asks for more when all has come that was announced.
                    self._finished = self.bytes_written == length
                    if self._finished:
                        self._end()
                yield piece
            if attempt == self.attempts:
                self._finished = True
        except Exception as error:
            if attempt == self.attempts:
                self._error = error
            raise
        finally:
            if attempt == self.attempts:
                self._end()

    def _end(self) -> None:
        self._active = False
        if self._final:
            self._settle()

    def _failed(self, error: BaseException) -> None:
        """What the program gets for the error of its body."""
        if self._error is not None and error.__cause__ is self._error:
            self._error = error

    def _finalize(self) -> None:
        """No more attempts come; one that goes on while the answer is there already settles at its end."""
        self._final = True
        if not self._active:
            self._settle()

    def _settle(self) -> None:
        future = self.upload_complete
        if future.done():
            return
        if self._finished:
            future.set_result(None)
            return
        future.set_exception(self._error or UploadAbortedError("The request body was not fully sent"))
        # Who never looks at it is not told about it.
        future.exception()
