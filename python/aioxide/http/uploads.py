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
        self._error: BaseException | None = None

    def _bind(self) -> None:
        if self._bound:
            raise RuntimeError("UploadTracker is already bound to a request")
        self._bound = True

    def _watch(self, body: Any) -> Any:
        self.attempts += 1
        self.bytes_written = 0
        self._finished = False
        self._error = None
        if body is None:
            self._finished = True
            return None
        return self._pieces(body).__aiter__()

    async def _pieces(self, body: Any) -> AsyncIterator[bytes]:
        try:
            if isinstance(body, bytes):
                for at in range(0, len(body), 65536):
                    piece = body[at : at + 65536]
                    yield piece
                    self.bytes_written += len(piece)
            else:
                async for piece in body:
                    yield piece
                    self.bytes_written += len(piece)
        except Exception as error:
            self._error = error
            raise
        self._finished = True

    def _finalize(self) -> None:
        """The request is over, one way or the other."""
        future = self.upload_complete
        if future.done():
            return
        if self._finished:
            future.set_result(None)
            return
        future.set_exception(self._error or UploadAbortedError("The request body was not fully sent"))
        # Who never looks at it is not told about it.
        future.exception()
