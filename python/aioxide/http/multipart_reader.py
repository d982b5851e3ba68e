"""Bodies in parts: read."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy

from .dispositions import content_disposition_filename, parse_content_disposition
from .headers import parse_type
from .payloads import Payload
from .streams import LineTooLong

_T = TypeVar("_T")
_Self = TypeVar("_Self")

CHUNK = 8192
LINE = 8190
HEADERS = 128


def _headers(pairs: list[tuple[str, str]]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


class _Parts(Generic[_T]):
    """What `async for` takes one by one, until `next` returns None."""

    async def next(self) -> _T | None:
        raise NotImplementedError

    def __aiter__(self: _Self) -> _Self:
        return self

    async def __anext__(self) -> _T:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part


class BodyPartReader(_Parts[bytes]):
    """One part: its headers, and its bytes as they come."""

    chunk_size = CHUNK

    def __init__(
        self, boundary: bytes, headers: CIMultiDictProxy[str], content: Any, *, subtype: str = "mixed"
    ) -> None:
        self.headers = headers
        self._boundary = boundary
        self._content = content
        self._is_form_data = subtype == "form-data"
        length = None if self._is_form_data else headers.get("Content-Length")
        self._left = int(length) if length is not None else None
        # What was read of the content and is not given out yet.
        self._ahead = b"\r\n"
        self._is_first = True
        self._at_eof = False
        self._unread: list[bytes] = []
        self._disposition: tuple[str | None, dict[str, str]] | None = None
        # What follows the boundary that ended this part.
        self._rest = b""

    async def next(self) -> bytes | None:
        piece = await self.read()
        return piece or None

    async def read(self, *, decode: bool = False) -> bytes:
        """All its bytes. `decode`: without the codings that its headers name."""
        if self._at_eof:
            return b""
        data = bytearray()
        while not self._at_eof:
            data += await self.read_chunk(self.chunk_size)
        return self.decode(bytes(data)) if decode else bytes(data)

    async def read_chunk(self, size: int = CHUNK) -> bytes:
        """Some bytes; empty at the end."""
        if self._at_eof:
            return b""
        if self._left is not None:
            return await self._read_counted(size)
        return await self._read_to_boundary(size)

    async def _read_counted(self, size: int) -> bytes:
        left = self._left or 0
        piece: bytes = await self._content.read(min(size, left)) if left else b""
        if left and not piece:
            raise ValueError("Could not find starting boundary: the part is shorter than announced")
        self._left = left - len(piece)
        if self._left == 0:
            self._at_eof = True
            line = await self._content.readline()
            if line not in {b"\r\n", b"\n"}:
                raise ValueError("reader did not read all the data or it is malformed")
        return piece

    async def _read_to_boundary(self, size: int) -> bytes:
        mark = b"\r\n" + self._boundary
        while True:
            found = self._ahead.find(mark)
            start = 2 if self._is_first else 0
            if found >= 0:
                piece = self._ahead[start:found] if found >= start else b""
                self._content.unread_data(self._ahead[found + 2 :])
                self._ahead = b""
                self._at_eof = True
                return piece
            # What might be the beginning of a boundary is kept back.
            safe = len(self._ahead) - len(mark)
            if safe > start:
                piece = self._ahead[start:safe]
                self._ahead = self._ahead[safe:]
                self._is_first = False
                return piece
            more = await self._content.read(max(size, len(mark)))
            if not more:
                raise ValueError("Reading after EOF: the body ends within a part")
            self._ahead += more

    async def readline(self) -> bytes:
        """The next line with its end; empty at the end."""
        if self._at_eof:
            return b""
        line: bytes = self._unread.pop() if self._unread else await self._content.readline(max_line_length=None)
        if line.startswith(self._boundary):
            stripped = line.rstrip(b"\r\n")
            if stripped in {self._boundary, self._boundary + b"--"}:
                self._at_eof = True
                self._content.unread_data(line)
                return b""
        else:
            following: bytes = await self._content.readline()
            if following.startswith(self._boundary):
                line = line.removesuffix(b"\r\n") if line.endswith(b"\r\n") else line.removesuffix(b"\n")
            self._unread.append(following)
        return line

    async def release(self) -> None:
        """Reads what is left and drops it."""
        while not self._at_eof:
            await self.read_chunk(self.chunk_size)

    async def text(self, *, encoding: str | None = None) -> str:
        """The part as text."""
        data = await self.read(decode=True)
        return data.decode(encoding or self.get_charset("utf-8"))

    async def json(self, *, encoding: str | None = None) -> Any:
        """The part as JSON; None when it is empty."""
        data = await self.read(decode=True)
        return json.loads(data.decode(encoding or self.get_charset("utf-8"))) if data else None

    async def form(self, *, encoding: str | None = None) -> list[tuple[str, str]]:
        """The part as pairs."""
        data = await self.read(decode=True)
        if not data:
            return []
        try:
            text = data.rstrip().decode(encoding or self.get_charset("utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"data cannot be decoded with {encoding or self.get_charset('utf-8')} encoding") from None
        return parse_qsl(text, keep_blank_values=True, encoding=encoding or self.get_charset("utf-8"))

    def at_eof(self) -> bool:
        return self._at_eof

    def decode(self, data: bytes) -> bytes:
        """Bytes of the part without its codings. RuntimeError: one is unknown."""
        coding = self.headers.get("Content-Transfer-Encoding", "").lower()
        if coding == "base64":
            data = base64.b64decode(data)
        elif coding == "quoted-printable":
            data = binascii.a2b_qp(data)
        elif coding not in {"", "binary", "8bit", "7bit"}:
            raise RuntimeError(f"unknown content transfer encoding: {coding}")
        encoding = "" if self._is_form_data else self.headers.get("Content-Encoding", "").lower()
        if encoding in {"", "identity"}:
            return data
        if encoding == "gzip":
            return zlib.decompress(data, 31)
        if encoding == "deflate":
            try:
                return zlib.decompress(data, -zlib.MAX_WBITS)
            except zlib.error:
                return zlib.decompress(data)
        raise RuntimeError(f"unknown content encoding: {encoding}")

    async def decode_iter(self, data: bytes) -> AsyncIterator[bytes]:
        yield self.decode(data)

    def get_charset(self, default: str) -> str:
        return parse_type(self.headers.get("Content-Type", ""))[1].get("charset", default)

    def _parsed(self) -> tuple[str | None, dict[str, str]]:
        if self._disposition is None:
            self._disposition = parse_content_disposition(self.headers.get("Content-Disposition"))
        return self._disposition

    @property
    def name(self) -> str | None:
        """The field's name in a form."""
        return content_disposition_filename(self._parsed()[1], "name")

    @property
    def filename(self) -> str | None:
        """The file's name."""
        return content_disposition_filename(self._parsed()[1], "filename")


class BodyPartReaderPayload(Payload):
    """A part that was read, as a body to be sent."""

    def __init__(self, value: BodyPartReader, *arguments: Any, **options: Any) -> None:
        super().__init__(value, *arguments, **options)
        parameters = {key: text for key, text in (("name", value.name), ("filename", value.filename)) if text}
        if parameters:
            self.set_content_disposition("attachment", True, **parameters)

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._value.read_chunk(2**16):
            yield self._value.decode(chunk)


class MultipartResponseWrapper(_Parts[Any]):
    """The parts of a response, which is released after the last one."""

    def __init__(self, resp: Any, stream: MultipartReader) -> None:
        self.resp = resp
        self.stream = stream

    def at_eof(self) -> bool:
        return self.resp.content.at_eof()  # type: ignore[no-any-return]

    async def next(self) -> Any:
        """The next part; None after the last one."""
        item = await self.stream.next()
        if self.stream.at_eof():
            await self.release()
        return item

    async def release(self) -> None:
        self.resp.release()


class MultipartReader(_Parts[Any]):
    """The parts of a body, one after the other: `MultipartReader.from_response(response)`."""

    response_wrapper_cls = MultipartResponseWrapper
    multipart_reader_cls: Any = None
    part_reader_cls = BodyPartReader

    def __init__(self, headers: Mapping[str, str], content: Any) -> None:
        self._kind, self._parameters = parse_type(headers.get("Content-Type"))
        if not self._kind.startswith("multipart/"):
            raise ValueError("multipart/* content type expected")
        if "boundary" not in self._parameters:
            raise ValueError(f"boundary missed for Content-Type: {headers.get('Content-Type')}")
        boundary = self._parameters["boundary"]
        if len(boundary) > 70:
            raise ValueError(f"boundary {boundary!r} is too long (70 chars max)")
        self.headers = headers
        self._mark = b"--" + boundary.encode()
        self._content = content
        self._last: Any = None
        self._at_eof = False
        self._at_bof = True

    @classmethod
    def from_response(cls, response: Any) -> MultipartResponseWrapper:
        """The parts of a response."""
        return cls.response_wrapper_cls(response, cls(response.headers, response.content))

    def at_eof(self) -> bool:
        return self._at_eof

    async def next(self) -> Any:
        """The next part.

        A `BodyPartReader`, a `MultipartReader` for one with parts of its own; None after the last one.
        """
        if self._at_eof:
            return None
        await self._leave_last()
        if self._at_bof:
            await self._read_until_first()
            self._at_bof = False
        else:
            await self._read_boundary()
        if self._at_eof:
            return None
        headers = await self._read_headers()
        kind, _ = parse_type(headers.get("Content-Type"))
        if kind.startswith("multipart/"):
            self._last = (self.multipart_reader_cls or type(self))(headers, self._content)
        else:
            subtype = self._kind.partition("/")[2]
            self._last = self.part_reader_cls(self._mark, headers, self._content, subtype=subtype)
        return self._last

    async def release(self) -> None:
        """Reads what is left and drops it."""
        while not self._at_eof:
            part = await self.next()
            if part is None:
                return
            await part.release()

    async def _leave_last(self) -> None:
        if self._last is not None and not self._last.at_eof():
            await self._last.release()
        if isinstance(self._last, BodyPartReader):
            for line in reversed(self._last._unread):
                self._content.unread_data(line)
        self._last = None

    async def _line(self) -> bytes:
        line: bytes = await self._content.readline()
        return line

    async def _read_until_first(self) -> None:
        while True:
            line = await self._line()
            if not line:
                raise ValueError(f"Could not find starting boundary {self._mark!r}")
            line = line.rstrip()
            if line == self._mark:
                return
            if line == self._mark + b"--":
                self._at_eof = True
                return

    async def _read_boundary(self) -> None:
        line = (await self._line()).rstrip()
        if line == self._mark:
            return
        if line != self._mark + b"--":
            raise ValueError(f"Invalid boundary {line!r}, expected {self._mark!r}")
        self._at_eof = True
        # What follows the end is no part, unless this is a part of another body.
        following = await self._line()
        if following.strip() or not following:
            self._content.unread_data(following)
            return
        second = await self._line()
        self._content.unread_data(second if second[:2] == b"--" else following + second)

    async def _read_headers(self) -> CIMultiDictProxy[str]:
        pairs: list[tuple[str, str]] = []
        while True:
            line = (await self._line()).rstrip(b"\r\n")
            if not line:
                return _headers(pairs)
            if len(line) > LINE or len(pairs) >= HEADERS:
                raise LineTooLong("the headers of a part are too large")
            if line[:1] in b" \t" and pairs:
                name, value = pairs.pop()
                pairs.append((name, value + line.decode("utf-8", "surrogateescape")))
                continue
            key, colon, text = line.partition(b":")
            if not colon:
                raise ValueError(f"invalid header of a part: {line!r}")
            pairs.append(
                (key.strip().decode("utf-8", "surrogateescape"), text.strip().decode("utf-8", "surrogateescape"))
            )
