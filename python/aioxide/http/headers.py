"""Headers as multidicts, and the names and values that a client sends by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from .._aioxide import _http_version as _version

AGENT = f"Python/{sys.version_info.major}.{sys.version_info.minor} aioxide/{_version}"
# As aiohttp with brotli and zstd installed; both are built in here.
ENCODINGS = "gzip, deflate, br, zstd"
DEFAULTS = {"Accept": "*/*", "Accept-Encoding": ENCODINGS}

LooseHeaders = Mapping[str, str] | Iterable[tuple[str, str]]


def proxy(pairs: list[tuple[str, str]]) -> CIMultiDictProxy[str]:
    """What `response.headers` is."""
    return CIMultiDictProxy(CIMultiDict(pairs))


def prepared(defaults: CIMultiDict[str], headers: Any) -> CIMultiDict[str]:
    """A request's headers over its session's: those of the session with the same name are left out."""
    result = CIMultiDict(defaults)
    if not headers:
        return result
    if not isinstance(headers, CIMultiDict | CIMultiDictProxy):
        headers = CIMultiDict(headers)
    seen: set[str] = set()
    for name, value in headers.items():
        folded = name.lower()
        if folded in seen:
            result.add(name, value)
        else:
            result[name] = value
            seen.add(folded)
    return result


def parse_type(value: str | None) -> tuple[str, dict[str, str]]:
    """A content type and its parameters, both in lower case but for the values."""
    if not value:
        return "", {}
    from email.message import EmailMessage
    from email.parser import HeaderParser
    from email.policy import HTTP

    line = value.replace("\r", " ").replace("\n", " ")
    message = HeaderParser(EmailMessage, policy=HTTP).parsestr(f"Content-Type: {line}")
    if message.get_content_type() == "text/plain" and not line.lstrip().lower().startswith("text/plain"):
        # What cannot be read is taken for bytes, not for text.
        kind = "application/octet-stream"
    else:
        kind = message.get_content_type()
    return kind, dict(message.get_params(failobj=[])[1:])
