"""Bodies in parts: written."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from multidict import CIMultiDict

from .multipart_reader import (
    BodyPartReader,
    BodyPartReaderPayload,
    MultipartReader,
    MultipartResponseWrapper,
)
from .payloads import LookupError as NoPayload
from .payloads import Payload, StringPayload, get_payload, pieces_of

__all__ = [
    "BodyPartReader",
    "BodyPartReaderPayload",
    "MultipartReader",
    "MultipartResponseWrapper",
    "MultipartWriter",
]

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_QUOTABLE = frozenset(b"\t " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)))
# Codings of a part that are known.
_ENCODINGS = {"base64", "quoted-printable"}
_COMPRESSIONS = {"deflate", "gzip"}


class MultipartWriter(Payload):
    """The parts of a body: append them, give it to `data=`.

    >>> with MultipartWriter("mixed", boundary="x") as writer:
    ...     part = writer.append("text")
    >>> len(writer), writer.size
    (1, 87)
    """

    def __init__(self, subtype: str = "mixed", boundary: str | None = None) -> None:
        boundary = uuid.uuid4().hex if boundary is None else boundary
        try:
            self._boundary = boundary.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("boundary should contain ASCII only chars") from None
        if len(boundary) > 70:
            raise ValueError(f"boundary {boundary!r} is too long (70 chars max)")
        super().__init__(None, content_type=f"multipart/{subtype}; boundary={self._boundary_value}")
        self._parts: list[tuple[Any, str, str]] = []
        self._is_form_data = subtype == "form-data"

    @property
    def _boundary_value(self) -> str:
        """As the content type has it: quoted when it is no token."""
        if self._boundary and set(self._boundary) <= _TOKEN:
            return self.boundary
        if not set(self._boundary) <= _QUOTABLE:
            raise ValueError("boundary value contains invalid characters")
        escaped = self.boundary.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    @property
    def boundary(self) -> str:
        return self._boundary.decode("ascii")

    def __enter__(self) -> MultipartWriter:
        return self

    def __exit__(self, *_exception: Any) -> None:
        pass

    def __iter__(self) -> Iterator[tuple[Any, str, str]]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __bool__(self) -> bool:
        return True

    def append(self, obj: Any, headers: Mapping[str, str] | None = None) -> Payload:
        """Adds a part: a payload, or what one can be made of."""
        headers = CIMultiDict() if headers is None else headers
        if isinstance(obj, Payload):
            obj.headers.update(headers)
            self.append_payload(obj)
            return obj
        try:
            payload = get_payload(obj, headers=headers)
        except NoPayload:
            raise TypeError(f"Cannot create payload from {obj!r}") from None
        self.append_payload(payload)
        return payload

    def append_payload(self, payload: Any) -> Any:
        """Adds a payload as a part."""
        encoding = coding = ""
        if self._is_form_data:
            # RFC 7578, 4.7 and 4.8: none of these stands in a form.
            for name in ("Content-Encoding", "Content-Length", "Content-Transfer-Encoding"):
                if name in payload.headers:
                    raise ValueError(f"a part of a form cannot have the header {name} (RFC 7578)")
            if "Content-Disposition" not in payload.headers:
                payload.set_content_disposition("form-data", name=f"section-{len(self._parts)}")
        else:
            encoding = payload.headers.get("Content-Encoding", "").lower()
            if encoding and encoding not in _COMPRESSIONS and encoding != "identity":
                raise RuntimeError(f"unknown content encoding: {encoding}")
            encoding = "" if encoding == "identity" else encoding
            coding = payload.headers.get("Content-Transfer-Encoding", "").lower()
            if coding and coding not in _ENCODINGS and coding != "binary":
                raise RuntimeError(f"unknown content transfer encoding: {coding}")
            coding = "" if coding == "binary" else coding
            size = payload.size
            if size is not None and not (encoding or coding):
                payload.headers["Content-Length"] = str(size)
        self._parts.append((payload, encoding, coding))
        return payload

    def append_json(self, obj: Any, headers: Mapping[str, str] | None = None) -> Payload:
        """Adds an object as JSON."""
        payload = StringPayload(json.dumps(obj), headers=headers, content_type="application/json")
        self.append_payload(payload)
        return payload

    def append_form(self, obj: Any, headers: Mapping[str, str] | None = None) -> Payload:
        """Adds pairs as a form."""
        pairs = list(obj.items()) if isinstance(obj, Mapping) else obj
        data = urlencode(pairs, doseq=True)
        payload = StringPayload(data, headers=headers, content_type="application/x-www-form-urlencoded")
        self.append_payload(payload)
        return payload

    @property
    def size(self) -> int | None:
        total = 0
        for part, encoding, coding in self._parts:
            size = part.size
            if encoding or coding or size is None:
                return None
            total += len(self._boundary) + 6 + size + len(part._binary_headers)
        return total + len(self._boundary) + 6

    @property
    def consumed(self) -> bool:
        return any(part.consumed for part, _, _ in self._parts)

    @consumed.setter
    def consumed(self, value: bool) -> None:
        pass

    @property
    def autoclose(self) -> bool:  # type: ignore[override]
        return all(part.autoclose for part, _, _ in self._parts)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        lines = []
        for part, _encoding, _coding in self._parts:
            lines.append(f"--{self.boundary}\r\n{part._binary_headers.decode(encoding, errors)}")
            lines.append(part.decode(encoding, errors))
            lines.append("\r\n")
        return "".join([*lines, f"--{self.boundary}--\r\n"])

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks(close_boundary=True):
            yield chunk

    async def _chunks(self, *, close_boundary: bool) -> AsyncIterator[bytes]:
        for part, encoding, coding in self._parts:
            if self._is_form_data and "name=" not in part.headers["Content-Disposition"]:
                raise ValueError("a part of a form needs a name")
            yield b"--" + self._boundary + b"\r\n" + part._binary_headers
            pieces = pieces_of(part)
            if encoding:
                pieces = _compressed(pieces, encoding)
            if coding:
                pieces = _coded(pieces, coding)
            async for piece in pieces:
                yield piece
            yield b"\r\n"
        if close_boundary:
            yield b"--" + self._boundary + b"--\r\n"

    async def write(self, writer: Any, close_boundary: bool = True) -> None:
        async for chunk in self._chunks(close_boundary=close_boundary):
            await writer.write(chunk)

    async def close(self) -> None:
        for part, _, _ in self._parts:
            if not part.autoclose:
                await part.close()

    def _close(self) -> None:
        for part, _, _ in self._parts:
            part._close()


async def _compressed(pieces: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    compressor = zlib.compressobj(wbits=31 if coding == "gzip" else -zlib.MAX_WBITS)
    async for piece in pieces:
        if coded := compressor.compress(piece):
            yield coded
    yield compressor.flush()


async def _coded(pieces: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    if coding == "quoted-printable":
        async for piece in pieces:
            yield binascii.b2a_qp(piece)
        return
    rest = b""
    async for piece in pieces:
        rest += piece
        whole = len(rest) // 3 * 3
        if whole:
            yield base64.b64encode(rest[:whole])
            rest = rest[whole:]
    if rest:
        yield base64.b64encode(rest)
