"""The header `Content-Disposition`: written and read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from urllib.parse import quote, unquote

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 5322: what may stand in quotes, and what of it needs a backslash.
_QUOTABLE = re.compile(r"[\t -~]*")
_ESCAPED = re.compile(r"[^!#-\[\]-~]")
_NAME = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+\*?\d*\*?")


class BadContentDispositionHeader(RuntimeWarning):
    """The header cannot be read."""


class BadContentDispositionParam(RuntimeWarning):
    """A parameter of the header cannot be read."""


def content_disposition_header(
    disptype: str, quote_fields: bool = True, charset: str = "utf-8", params: Mapping[str, str] | None = None
) -> str:
    """The value for a kind (`attachment`, `form-data`) and its parameters."""
    if not disptype or not _TOKEN.fullmatch(disptype):
        raise ValueError(f"bad content disposition type {disptype!r}")
    parts = [disptype]
    for name, value in (params or {}).items():
        if not name or not _TOKEN.fullmatch(name):
            raise ValueError(f"bad content disposition parameter {name!r}={value!r}")
        if quote_fields:
            if name.lower() == "filename":
                parts.append(f'{name}="{_quoted(value, charset)}"')
                continue
            if _QUOTABLE.fullmatch(value):
                escaped = _ESCAPED.sub(r"\\\g<0>", value)
                parts.append(f'{name}="{escaped}"')
            else:
                parts.append(f"{name}*={charset}''{quote(value, '', encoding=charset)}")
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{_clean(escaped)}"')
    return "; ".join(parts)


def _quoted(value: str, charset: str) -> str:
    return quote(value, "", encoding=charset) if value else ""


def _clean(value: str) -> str:
    if any(letter in value for letter in "\r\n\0"):
        raise ValueError("Newline or carriage return detected in headers. Potential header injection attack.")
    return value


def parse_content_disposition(header: str | None) -> tuple[str | None, dict[str, str]]:
    """The kind and the parameters; `(None, {})` with a warning for what cannot be read."""
    if not header:
        return None, {}
    kind, *parts = _split(header)
    if not _TOKEN.fullmatch(kind):
        warnings.warn(BadContentDispositionHeader(header), stacklevel=2)
        return None, {}
    found: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not equals:
            warnings.warn(BadContentDispositionHeader(header), stacklevel=2)
            return None, {}
        if name in found:
            warnings.warn(BadContentDispositionHeader(header), stacklevel=2)
            return None, {}
        if not _NAME.fullmatch(name):
            warnings.warn(BadContentDispositionParam(part), stacklevel=2)
            continue
        text = _value(name, value, header)
        if text is not None:
            found[name] = text
    return kind.lower(), found


def _split(header: str) -> list[str]:
    """The parts between semicolons that stand in no quotes."""
    parts, begin, quoted, escaped = [], 0, False, False
    for index, letter in enumerate(header):
        if escaped:
            escaped = False
        elif letter == "\\" and quoted:
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter == ";" and not quoted:
            parts.append(header[begin:index].strip())
            begin = index + 1
    parts.append(header[begin:].strip())
    return [part for index, part in enumerate(parts) if part or index == 0]


def _value(name: str, value: str, header: str) -> str | None:
    if name.endswith("*"):
        encoding, quote_mark, rest = value.partition("'")
        _language, second, coded = rest.partition("'")
        if not (quote_mark and second):
            warnings.warn(BadContentDispositionParam(value), stacklevel=3)
            return None
        try:
            return unquote(coded, encoding or "utf-8", "strict")
        except (UnicodeDecodeError, LookupError):
            warnings.warn(BadContentDispositionParam(value), stacklevel=3)
            return None
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    if _TOKEN.fullmatch(value):
        return value
    warnings.warn(BadContentDispositionParam(f"{name}={value}"), stacklevel=3)
    return None


def content_disposition_filename(params: Mapping[str, str], name: str = "filename") -> str | None:
    """The name of the file among parameters, in whichever way it is written; a path is cut off by nobody."""
    if not params:
        return None
    if f"{name}*" in params:
        return params[f"{name}*"]
    if name in params:
        return params[name]
    parts = []
    for index in range(len(params)):
        text = params.get(f"{name}*{index}", params.get(f"{name}*{index}*"))
        if text is None:
            break
        parts.append(text)
    if not parts:
        return None
    whole = "".join(parts)
    if "'" in whole:
        encoding, _, rest = whole.partition("'")
        _, _, coded = rest.partition("'")
        return unquote(coded, encoding or "utf-8", "strict")
    return whole
