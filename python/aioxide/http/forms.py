"""Forms: `application/x-www-form-urlencoded`, and multipart when there is a file among the fields."""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from multidict import MultiDict, MultiDictProxy

from .payloads import BytesPayload, Payload, get_payload


class FormData:
    """The fields of a form, for `data=`.

    >>> form = FormData({"name": "value"})
    >>> form.add_field("file", b"bytes", filename="a.txt", content_type="text/plain")
    >>> form.is_multipart
    True
    """

    def __init__(
        self,
        fields: Any = (),
        quote_fields: bool = True,
        charset: str | None = None,
        *,
        default_to_multipart: bool = False,
        boundary: str | None = None,
    ) -> None:
        # The same each time that the form is sent.
        self._boundary = boundary or uuid.uuid4().hex
        self._fields: list[tuple[MultiDict[str], dict[str, str], Any]] = []
        self._is_multipart = default_to_multipart
        self._quote_fields = quote_fields
        self._charset = charset
        if isinstance(fields, Mapping):
            fields = list(fields.items())
        elif not isinstance(fields, list | tuple):
            fields = (fields,)
        self.add_fields(*fields)

    @property
    def is_multipart(self) -> bool:
        return self._is_multipart

    def add_field(
        self,
        name: str,
        value: Any,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        content_transfer_encoding: str | None = None,
    ) -> None:
        """Adds a field: text, bytes or a file. With a file name, a content type or a file, the form becomes multipart.

        TypeError: a name, type or encoding that is not text. ValueError: one with a line break.
        """
        if isinstance(value, io.IOBase):
            self._is_multipart = True
        elif (
            isinstance(value, bytes | bytearray | memoryview) and filename is None and content_transfer_encoding is None
        ):
            warnings.warn(
                "bytes in a form become a file, which they will not in aiohttp 4: decode them, or name the file",
                DeprecationWarning,
                stacklevel=2,
            )
            filename = name
        for what, text in (("name", name), ("filename", filename), ("content type", content_type)):
            if isinstance(text, str) and any(letter in text for letter in "\r\n\0"):
                raise ValueError(
                    f"Newline or carriage return detected in the {what} of a field. Potential header injection attack."
                )
        options: dict[str, str] = {"name": name}
        for what, text in (("filename", filename), ("content_type", content_type)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{what} must be an instance of str. Got: {text}")
        if filename is None and isinstance(value, io.IOBase):
            guessed = getattr(value, "name", None)
            filename = guessed.rpartition("/")[2] if isinstance(guessed, str) else name
        if filename is not None:
            options["filename"] = filename
            self._is_multipart = True
        headers: dict[str, str] = {}
        if content_type is not None:
            if "\r" in content_type or "\n" in content_type:
                raise ValueError("Newline or carriage return detected in headers. Potential header injection attack.")
            headers["Content-Type"] = content_type
            self._is_multipart = True
        if content_transfer_encoding is not None:
            if not isinstance(content_transfer_encoding, str):
                raise TypeError(
                    f"content_transfer_encoding must be an instance of str. Got: {content_transfer_encoding}"
                )
            headers["Content-Transfer-Encoding"] = content_transfer_encoding
            self._is_multipart = True
        self._fields.append((MultiDict(options), headers, value))

    def add_fields(self, *fields: Any) -> None:
        """Adds fields: files, pairs of name and value, or multidicts of them."""
        waiting = list(fields)
        while waiting:
            field = waiting.pop(0)
            if isinstance(field, io.IOBase):
                self.add_field(getattr(field, "name", "unknown").rpartition("/")[2], field)
            elif isinstance(field, MultiDict | MultiDictProxy):
                waiting.extend(field.items())
            elif isinstance(field, list | tuple) and len(field) == 2:
                self.add_field(*field)
            else:
                raise TypeError(
                    "Only io.IOBase, multidict and (name, file) pairs allowed, use .add_field() for passing more "
                    f"complex parameters, got {field!r}"
                )

    def __call__(self) -> Payload:
        """The form's body."""
        return self._multipart() if self._is_multipart else self._urlencoded()

    def _urlencoded(self) -> Payload:
        charset = self._charset or "utf-8"
        pairs = [(options["name"], value) for options, _headers, value in self._fields]
        kind = "application/x-www-form-urlencoded"
        if charset != "utf-8":
            kind = f"{kind}; charset={charset}"
        return BytesPayload(urlencode(pairs, doseq=True, encoding=charset).encode(), content_type=kind)

    def _multipart(self) -> Payload:
        from .multipart import MultipartWriter

        writer = MultipartWriter("form-data", boundary=self._boundary)
        for options, headers, value in self._fields:
            try:
                if "Content-Type" in headers:
                    part = get_payload(
                        value, content_type=headers["Content-Type"], headers=headers, encoding=self._charset
                    )
                else:
                    part = get_payload(value, headers=headers, encoding=self._charset)
            except Exception as error:
                raise TypeError(
                    f"Can not serialize value type: {type(value)!r}\n headers: {headers!r}\n value: {value!r}"
                ) from error
            part.set_content_disposition("form-data", quote_fields=self._quote_fields, **dict(options))
            # The parts of a form have no length of their own.
            part.headers.popall("Content-Length", None)
            writer.append_payload(part)
        return writer
