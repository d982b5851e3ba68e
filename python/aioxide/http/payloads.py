"""Bodies of requests: bytes, text, JSON, files, asynchronous iterators, and classes of the program's own."""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from .dispositions import content_disposition_header

READ_SIZE = 1 << 16
OCTETS = "application/octet-stream"


class LookupError(Exception):
    """No kind of payload takes such an object."""


class Payload:
    """A body, or a part of one, with its headers.

    `value`: what is sent. `size`: its length in bytes, None when that is not known. A class of your own defines
    `chunks`, or
    `write(writer)` as aiohttp's do.
    """

    _default_content_type = OCTETS
    _size: int | None = None
    # Closed by itself, as nothing is open.
    autoclose = True

    def __init__(
        self,
        value: Any,
        headers: Any = None,
        content_type: str | None = None,
        filename: str | None = None,
        encoding: str | None = None,
        **_options: Any,
    ) -> None:
        self._value = value
        self._encoding = encoding
        self._filename = filename
        self.consumed = False
        self._headers: CIMultiDict[str] = CIMultiDict()
        if content_type is None and filename is not None:
            content_type = mimetypes.guess_type(filename)[0]
        self._headers["Content-Type"] = content_type or self._default_content_type
        if headers:
            self._headers.update(headers)

    @property
    def size(self) -> int | None:
        return self._size

    @property
    def filename(self) -> str | None:
        return self._filename

    @property
    def headers(self) -> CIMultiDict[str]:
        return self._headers

    @property
    def _binary_headers(self) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return f"{lines}\r\n".encode()

    @property
    def encoding(self) -> str | None:
        return self._encoding

    @property
    def content_type(self) -> str:
        return self._headers["Content-Type"]

    def set_content_disposition(
        self, disptype: str, quote_fields: bool = True, _charset: str = "utf-8", **params: str
    ) -> None:
        """Sets the header `Content-Disposition`."""
        self._headers["Content-Disposition"] = content_disposition_header(
            disptype, quote_fields=quote_fields, charset=_charset, params=params
        )

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, piece by piece."""
        return Pump(self.write)

    async def write(self, writer: Any) -> None:
        """Writes the bytes to `writer`, whose `write` is a coroutine function."""
        if type(self).chunks is Payload.chunks:
            raise NotImplementedError(f"{type(self).__name__} needs a method chunks() or write(writer)")
        async for chunk in self.chunks():
            await writer.write(chunk)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        """Writes at most so many bytes."""
        left = content_length
        async for chunk in self.chunks():
            piece = chunk if left is None else chunk[:left]
            await writer.write(piece)
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    return

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text, without sending it."""
        value = self._value
        return value if isinstance(value, str) else bytes(value).decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def close(self) -> None:
        self._close()

    def _close(self) -> None:
        """Closes what the payload opened."""


def _bytes_of(piece: Any) -> bytes:
    # `bytes(5)` would be five zeros.
    if isinstance(piece, int | str):
        raise TypeError(f"a body is made of bytes, not {type(piece).__name__}: {piece!r:.40}")
    return bytes(piece)


class _Writer:
    """What `write` of a payload gets: each piece waits until the one before was taken."""

    def __init__(self, pieces: asyncio.Queue[Any]) -> None:
        self._pieces = pieces

    async def write(self, piece: bytes) -> None:
        if piece:
            await self._pieces.put(_bytes_of(piece))

    async def write_eof(self, piece: bytes = b"") -> None:
        await self.write(piece)

    async def drain(self) -> None:
        """Nothing is held back."""


async def _run(write: Callable[[Any], Any], pieces: asyncio.Queue[Any]) -> None:
    end: BaseException = StopAsyncIteration()
    try:
        await write(_Writer(pieces))
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        end = error
    await pieces.put(end)


class Pump:
    """The pieces that `write(writer)` writes, one at a time, for who asks for them."""

    def __init__(self, write: Callable[[Any], Any]) -> None:
        self._write = write
        self._pieces: asyncio.Queue[Any] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None

    def __del__(self) -> None:
        # Whoever wanted the pieces has gone.
        if self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            self._task.cancel()

    def __aiter__(self) -> Pump:
        return self

    async def __anext__(self) -> bytes:
        if self._task is None:
            # It holds the queue alone, so that it ends when this pump is dropped.
            self._task = asyncio.ensure_future(_run(self._write, self._pieces))
        try:
            piece = await self._pieces.get()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if isinstance(piece, BaseException):
            raise piece
        return piece  # type: ignore[no-any-return]


class BytesPayload(Payload):
    """Bytes."""

    def __init__(self, value: bytes | bytearray | memoryview, *arguments: Any, **options: Any) -> None:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"value argument must be byte-ish, not {type(value)!r}")
        super().__init__(value, *arguments, **options)
        self._size = value.nbytes if isinstance(value, memoryview) else len(value)

    def whole(self) -> bytes:
        return bytes(self._value)

    async def chunks(self) -> AsyncIterator[bytes]:
        yield bytes(self._value)


class StringPayload(BytesPayload):
    """Text, encoded as its content type says, or as UTF-8."""

    def __init__(
        self, value: str, *arguments: Any, encoding: str | None = None, content_type: str | None = None, **options: Any
    ) -> None:
        if encoding is None:
            if content_type is None:
                encoding, content_type = "utf-8", "text/plain; charset=utf-8"
            else:
                from .headers import parse_type

                encoding = parse_type(content_type)[1].get("charset", "utf-8")
        elif content_type is None:
            content_type = f"text/plain; charset={encoding}"
        super().__init__(value.encode(encoding), *arguments, encoding=encoding, content_type=content_type, **options)


class StringIOPayload(StringPayload):
    """What a `StringIO` holds."""

    def __init__(self, value: io.StringIO, *arguments: Any, **options: Any) -> None:
        super().__init__(value.read(), *arguments, **options)


class JsonPayload(BytesPayload):
    """An object as JSON."""

    def __init__(
        self,
        value: Any,
        encoding: str = "utf-8",
        content_type: str = "application/json",
        dumps: Callable[[Any], str] = json.dumps,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(
            dumps(value).encode(encoding), *arguments, content_type=content_type, encoding=encoding, **options
        )


class JsonBytesPayload(BytesPayload):
    """An object as JSON, by a function that makes bytes."""

    def __init__(self, value: Any, dumps: Callable[[Any], bytes], *arguments: Any, **options: Any) -> None:
        options.setdefault("content_type", "application/json")
        super().__init__(dumps(value), *arguments, **options)


class IOBasePayload(Payload):
    """A file, read in the executor while it is sent."""

    autoclose = False

    def __init__(self, value: Any, disposition: str = "attachment", *arguments: Any, **options: Any) -> None:
        if options.get("filename") is None:
            name = getattr(value, "name", None)
            if isinstance(name, str) and name and name[0] != "<":
                options["filename"] = Path(name).name
        super().__init__(value, *arguments, **options)
        self._start: int | None = None
        if self._filename is not None and disposition is not None and "Content-Disposition" not in self.headers:
            self.set_content_disposition(disposition, filename=self._filename)

    @property
    def size(self) -> int | None:
        try:
            at = self._at_start()
            return max(os.fstat(self._value.fileno()).st_size - at, 0)
        except (OSError, AttributeError, ValueError):
            return None

    def _at_start(self) -> int:
        if self._start is None:
            self._start = self._value.tell()
        return self._start

    def _rewind(self) -> None:
        try:
            self._value.seek(self._at_start())
        except (OSError, AttributeError, ValueError):
            # It cannot be read twice.
            self.consumed = True

    def _encoded(self, piece: Any) -> bytes:
        return _bytes_of(piece)

    async def chunks(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._rewind)
        while piece := await loop.run_in_executor(None, self._value.read, READ_SIZE):
            yield self._encoded(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        self._rewind()
        return b"".join(self._encoded(line) for line in self._value.readlines()).decode(encoding, errors)

    def _close(self) -> None:
        close = getattr(self._value, "close", None)
        if close is not None:
            close()


class TextIOPayload(IOBasePayload):
    """A file of text."""

    def __init__(
        self, value: Any, *arguments: Any, encoding: str | None = None, content_type: str | None = None, **options: Any
    ) -> None:
        if encoding is None and content_type is not None:
            from .headers import parse_type

            encoding = parse_type(content_type)[1].get("charset", "utf-8")
        encoding = encoding or "utf-8"
        content_type = content_type or f"text/plain; charset={encoding}"
        super().__init__(value, *arguments, content_type=content_type, encoding=encoding, **options)

    @property
    def size(self) -> int | None:
        # The file's own encoding need not be the one that is sent.
        return None

    def _encoded(self, piece: Any) -> bytes:
        return bytes(piece.encode(self._encoding or "utf-8"))


class BytesIOPayload(IOBasePayload):
    """What a `BytesIO` holds from where it stands."""

    @property
    def size(self) -> int | None:
        return max(len(self._value.getbuffer()) - self._at_start(), 0)

    async def chunks(self) -> AsyncIterator[bytes]:
        self._rewind()
        while piece := self._value.read(READ_SIZE):
            yield piece

    def _close(self) -> None:
        """Memory needs not be closed, and the program may read it again."""


class BufferedReaderPayload(IOBasePayload):
    """A file opened for reading bytes."""


class AsyncIterablePayload(Payload):
    """An asynchronous iterable of bytes."""

    def __init__(self, value: AsyncIterable[bytes], *arguments: Any, **options: Any) -> None:
        if not isinstance(value, AsyncIterable):
            raise TypeError(f"value argument must support collections.abc.AsyncIterable interface, got {type(value)!r}")
        super().__init__(value, *arguments, **options)
        self._iterator = value.__aiter__()

    async def chunks(self) -> AsyncIterator[bytes]:
        self.consumed = True
        async for piece in self._iterator:
            yield _bytes_of(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("Unable to decode.")


class StreamReaderPayload(AsyncIterablePayload):
    """The body of another response."""

    def __init__(self, value: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(value.iter_any(), *arguments, **options)


class PayloadRegistry:
    """Which class takes which type; the program's own come first."""

    def __init__(self) -> None:
        self._own: list[tuple[Any, Callable[..., Payload]]] = []
        self._known: list[tuple[Any, Callable[..., Payload]]] = []

    def register(self, factory: Callable[..., Payload], kind: Any, *, order: Any = None) -> None:
        self._own.insert(0, (kind, factory))

    def get(self, data: Any, *arguments: Any, **options: Any) -> Payload:
        if isinstance(data, Payload) or is_foreign(data):
            return data  # type: ignore[no-any-return]
        for kind, factory in (*self._own, *self._known):
            if isinstance(data, kind):
                return factory(data, *arguments, **options)
        raise LookupError


def is_foreign(data: Any) -> bool:
    """Whether it is a payload of aiohttp's: its classes serve as well as ours."""
    return hasattr(data, "write") and hasattr(data, "_binary_headers")


def pieces_of(payload: Any) -> AsyncIterator[bytes]:
    """The bytes of a payload of ours or of aiohttp's."""
    if isinstance(payload, Payload):
        for kind in type(payload).__mro__:
            # What the most derived class has is meant.
            if "chunks" in vars(kind) and kind is not Payload:
                return payload.chunks()
            if "write" in vars(kind):
                break
    return Pump(payload.write)


PAYLOAD_REGISTRY = PayloadRegistry()
PAYLOAD_REGISTRY._known = [
    ((bytes, bytearray, memoryview), BytesPayload),
    (str, StringPayload),
    (io.StringIO, StringIOPayload),
    (io.BytesIO, BytesIOPayload),
    (io.TextIOBase, TextIOPayload),
    ((io.BufferedReader, io.BufferedRandom), BufferedReaderPayload),
    (io.IOBase, IOBasePayload),
    (AsyncIterable, AsyncIterablePayload),
]


def get_payload(data: Any, *arguments: Any, **options: Any) -> Payload:
    """The payload for an object; `LookupError` of this module when no class takes it."""
    return PAYLOAD_REGISTRY.get(data, *arguments, **options)


def register_payload_type(factory: Callable[..., Payload], kind: Any, *, order: Any = None) -> None:
    """Has `factory` make the payloads for objects of a type."""
    PAYLOAD_REGISTRY.register(factory, kind, order=order)


class payload_type:  # noqa: N801  (aiohttp's name)
    """The same as a decorator of the class."""

    def __init__(self, kind: Any, *, order: Any = None) -> None:
        self.kind = kind

    def __call__(self, factory: Any) -> Any:
        register_payload_type(factory, self.kind)
        return factory


json_payload = partial(JsonPayload)
