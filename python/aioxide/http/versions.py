"""Versions of HTTP."""

from typing import NamedTuple


class HttpVersion(NamedTuple):
    """Major and minor number."""

    major: int
    minor: int


HttpVersion10 = HttpVersion(1, 0)
HttpVersion11 = HttpVersion(1, 1)
HttpVersion20 = HttpVersion(2, 0)
