"""A response's body into a file."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ClientPayloadError

if TYPE_CHECKING:
    from .response import ClientResponse

# So much is kept in memory before it is written.
BUFFER = 1 << 20


async def save(
    response: ClientResponse,
    path: str | os.PathLike[str],
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Writes what is left of the body; returns how many bytes.

    The file has its name only when all is there: until then it is a temporary one beside it, which is removed when
    the body ends early
    or the task is cancelled. `progress(so_far, all_or_none)` is called for each piece.
    """
    target = Path(path)
    loop = asyncio.get_running_loop()
    length = None if response.headers.get("Content-Encoding") else response.content_length
    handle, name = await loop.run_in_executor(
        None, lambda: tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".part", dir=target.parent)
    )
    written = 0
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            waiting = bytearray()
            async for piece in response.content.iter_any():
                waiting += piece
                written += len(piece)
                if progress is not None:
                    progress(written, length)
                if len(waiting) >= BUFFER:
                    taken, waiting = waiting, bytearray()
                    await loop.run_in_executor(None, _write, file, taken)
            await loop.run_in_executor(None, _write, file, waiting)
        if length is not None and written != length and response.method != "HEAD":
            raise ClientPayloadError(f"{written} of {length} bytes came")
        await loop.run_in_executor(None, _finish, name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return written


def _write(file: object, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]  # type: ignore[attr-defined]


def _finish(name: str, target: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, 0o666 & ~umask)
    os.replace(name, target)
