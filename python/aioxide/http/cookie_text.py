"""Cookies as headers have them: `Set-Cookie` and `Cookie` read, tolerant of what servers send, with limits."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from http.cookies import CookieError, Morsel
from logging import getLogger
from typing import Any

log = getLogger("aioxide.http")

# RFC 6265, 6.1: limits of what is taken from one answer.
COOKIES_PER_RESPONSE = 50
PAIR_BYTES = 4096
ATTRIBUTE_BYTES = 1024
ATTRIBUTES = 32

_NAME = re.compile(r"[!#$%&'()*+\-./0-9:<=>?@A-Z\[\]^_`a-z{|}~]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_TAB = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")
_FLAGS = {"secure", "httponly", "partitioned"}
_DATE = (
    r"(?:\w{3,6}day|\w{3}),\s[\w\s-]{9,11}\s[\d:]{8}\s(?:GMT|[+-]\d{4})"
    r"|\w{3}\s+\w{3}\s+[\s\d]\d\s+\d{2}:\d{2}:\d{2}\s+\d{4}"
)
_LETTERS = r"[\w!#%&'~`><@,:/$*+\-.^|)(?}{\[\]{EQ}]"
# A name, and a value that may be quoted (with semicolons inside), a date (with spaces), or a word.
_PAIR = re.compile(
    r"\s*(?P<name>" + _LETTERS.replace("{EQ}", "") + r"+)"
    r'(?:\s*=\s*(?P<value>"(?:[^\\"]|\\.)*"|"[^";]*|' + _DATE + "|" + _LETTERS.replace("{EQ}", "=") + r"*))?"
    r"\s*(?:\s+|;|$)",
    re.ASCII,
)


def has_control(text: str) -> bool:
    return _CONTROL.search(text) is not None


def encoded_length(text: str) -> int | None:
    """The length in UTF-8; None for what has none."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


def unquote(value: str) -> str:
    """The text inside of double quotes, without its escapes; other text as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)) if found[1] else found[2], value[1:-1])


def morsel_of(name: str, value: str, coded_value: str) -> Morsel[str] | None:
    """A cookie with exactly these; Morsel's own checks refuse what servers send."""
    morsel: Morsel[str] = Morsel()
    state: dict[str, Any] = {"key": name, "value": value, "coded_value": coded_value}
    try:
        morsel.__setstate__(state)  # type: ignore[attr-defined]
    except CookieError:
        return None
    return morsel


def kept_morsel(cookie: Morsel[str]) -> Morsel[str]:
    """The cookie without its attributes, in the server's own spelling."""
    return morsel_of(cookie.key, cookie.value, cookie.coded_value) or cookie


def parse_cookie_header(header: str) -> list[tuple[str, Morsel[str]]]:
    """The cookies of a `Cookie` header: there are no attributes in one."""
    found: list[tuple[str, Morsel[str]]] = []
    refused = []
    at = 0
    while at < len(header):
        pair = _PAIR.match(header, at)
        if pair is not None:
            name, coded = pair["name"], pair["value"] or ""
            at = pair.end()
        else:
            # Not as it should be: up to the next semicolon it is taken as it stands.
            end = header.find(";", at)
            end = len(header) if end < 0 else end
            name, equals, coded = (part.strip() for part in header[at:end].partition("="))
            at = end + 1
            if not equals:
                continue
        if not _NAME.fullmatch(name):
            refused.append(name)
        elif (morsel := morsel_of(name, unquote(coded), coded)) is not None:
            found.append((name, morsel))
    if refused:
        log.debug("Cannot load cookie. Illegal cookie names: %r", refused)
    return found


def parse_set_cookie_headers(headers: Sequence[str]) -> list[tuple[str, Morsel[str]]]:
    """The cookies of `Set-Cookie` headers, one of each at most; what breaks the rules or a limit is left out."""
    found: list[tuple[str, Morsel[str]]] = []
    for header in headers:
        if len(found) == COOKIES_PER_RESPONSE:
            break
        if (cookie := _parse_set_cookie(header)) is not None:
            found.append((cookie.key, cookie))
    if left_out := len(headers) - len(found):
        log.debug("Ignored %d of %d Set-Cookie fields", left_out, len(headers))
    return found


def _parse_set_cookie(header: str) -> Morsel[str] | None:
    if not header or _CONTROL_BUT_TAB.search(header):
        return None
    name, coded, rest = _split(header)
    if not name or coded is None:
        return None
    if not _NAME.fullmatch(name):
        log.warning("Can not load cookies: Illegal cookie name %r", name)
        return None
    length = encoded_length(name + coded)
    if length is None or length > PAIR_BYTES:
        return None
    value = unquote(coded)
    if has_control(value):
        return None
    morsel = morsel_of(name, value, coded)
    if morsel is not None:
        _take_attributes(morsel, rest)
    return morsel


def _split(header: str) -> tuple[str, str | None, str]:
    """Name, value as it was sent, and the attributes; a quoted value may hold semicolons."""
    pair, _, rest = header.partition(";")
    match = _PAIR.match(header) if '"' in pair else None
    if match is not None and (value := match["value"]) and value[0] == value[-1] == '"' and ";" in value:
        tail = header[match.end("value") :].lstrip(" \t")
        if not tail or tail[0] == ";":
            return match["name"], value, tail[1:]
    name, equals, coded = pair.partition("=")
    return name.strip(" \t"), coded.strip(" \t") if equals else None, rest


def _take_attributes(morsel: Morsel[str], text: str) -> None:
    at = 0
    for _ in range(ATTRIBUTES):
        if at >= len(text):
            return
        pair = _PAIR.match(text, at)
        if pair is None:
            after = text.find(";", at) + 1
            while after and after < len(text) and text[after] in "; \t":
                after += 1
            if not after:
                return
            at = after
            continue
        at = pair.end()
        name, value = pair["name"].lower(), pair["value"] or ""
        if name not in morsel._reserved:  # type: ignore[attr-defined]
            continue
        if name in _FLAGS:
            dict.__setitem__(morsel, name, True)
            continue
        length = encoded_length(value)
        if length is None or length > ATTRIBUTE_BYTES or has_control(value := unquote(value)):
            continue
        dict.__setitem__(morsel, name, value)


_TOKEN = re.compile(r"[\x00-\x08\x0A-\x1F\d:a-zA-Z\x7F-\xFF]+")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})")
_DAY = re.compile(r"\d{1,2}")
_YEAR = re.compile(r"\d{2,4}")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_date(text: str) -> int | None:
    """Seconds since 1970 of a date as RFC 6265, 5.1.1 reads them; None for what is none."""
    time = day = month = year = None
    for token in _TOKEN.findall(text):
        if time is None and (found := _TIME.match(token)):
            time = tuple(int(part) for part in found.groups())
        elif day is None and (found := _DAY.match(token)):
            day = int(found[0])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[0])
    if time is None or day is None or month is None or year is None:
        return None
    if year <= 99:
        year += 1900 if year >= 70 else 2000
    hour, minute, second = time
    if not 1 <= day <= 31 or year < 1601 or hour > 23 or minute > 59 or second > 59:
        return None
    return calendar.timegm((year, month, day, hour, minute, second, -1, -1, -1))
