"""The cookies that a session keeps: RFC 6265, with limits."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import BaseCookie, Morsel, SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from yarl import URL

from .cookie_text import (
    encoded_length,
    has_control,
    kept_morsel,
    log,
    morsel_of,
    parse_cookie_header,
    parse_date,
    parse_set_cookie_headers,
)

__all__ = [
    "AbstractCookieJar",
    "CookieJar",
    "DummyCookieJar",
    "kept_morsel",
    "parse_cookie_header",
    "parse_set_cookie_headers",
]

# As Firefox has them: more than the first number, and the least recently used go until the second is left.
DOMAIN_MOST, DOMAIN_KEPT = 180, 150
TOTAL_MOST, TOTAL_KEPT = 3300, 3000
REQUEST_MOST = 150
HEADER_BYTES = 8190
# 9999-12-31, the last second that a date can have.
MAX_TIME = 253_402_300_798
_Key = tuple[str, str, str]
_SIMPLE: SimpleCookie = SimpleCookie()


class AbstractCookieJar(ABC, Iterable["Morsel[str]"]):
    """The base of a jar of the program's own."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop

    @property
    @abstractmethod
    def quote_cookie(self) -> bool:
        """Whether values are quoted when they are sent."""

    @abstractmethod
    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        """Removes the cookies that `predicate` is true for, or all."""

    @abstractmethod
    def clear_domain(self, domain: str) -> None:
        """Removes the cookies of a domain and of those below it."""

    @abstractmethod
    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008
        """Takes cookies in, as an answer from that URL sets them."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Takes the cookies of `Set-Cookie` headers in."""
        if headers and (found := parse_set_cookie_headers(headers)):
            self.update_cookies(found, response_url)

    @abstractmethod
    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        """The cookies to be sent to a URL."""

    # What a jar that does not know of them is like.
    unsafe: Any = False
    treat_as_secure_origin: Any = frozenset()


@dataclass(slots=True)
class _Facts:
    """What a cookie's own attributes do not tell."""

    host_only: bool
    expires: float | None
    used: int


def is_ip(host: str | None) -> bool:
    if not host or not (host[-1].isdigit() or ":" in host):
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _origins(given: Any) -> frozenset[URL]:
    if given is None:
        return frozenset()
    if isinstance(given, str | URL):
        given = (given,)
    return frozenset(URL(url).origin() for url in given)


class CookieJar(AbstractCookieJar):
    """Keeps cookies in memory.

    `unsafe`: cookies of hosts that are IP addresses, too. `quote_cookie=False`: values are sent without quotes.
    `treat_as_secure_origin`:
    origins without TLS that get secure cookies.

    >>> jar = CookieJar()
    >>> jar.update_cookies({"name": "value"}, URL("http://example.com/"))
    >>> jar.filter_cookies(URL("http://example.com/page"))["name"].value
    'value'
    """

    _is_limited = True

    def __init__(
        self,
        *,
        unsafe: bool = False,
        quote_cookie: bool = True,
        treat_as_secure_origin: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self._cookies: dict[tuple[str, str], SimpleCookie] = {}
        self._facts: dict[_Key, _Facts] = {}
        self._domains: dict[str, int] = {}
        # No cookie expires before.
        self._next_expiry = math.inf
        self._clock = 0
        self._unsafe = unsafe
        self._quote_cookie = quote_cookie
        self._secure_origins = _origins(treat_as_secure_origin)
        # Who wants to know that the jar is not empty any more.
        self._watchers: list[Callable[[], None]] = []

    @property
    def unsafe(self) -> bool:
        return self._unsafe

    @property
    def quote_cookie(self) -> bool:
        return self._quote_cookie

    @property
    def treat_as_secure_origin(self) -> frozenset[URL]:
        return self._secure_origins

    @property
    def cookies(self) -> MappingProxyType[tuple[str, str], SimpleCookie]:
        """The cookies by domain and path; a view."""
        return MappingProxyType(self._cookies)

    @property
    def host_only_cookies(self) -> frozenset[_Key]:
        """Domain, path and name of those that are for one host alone."""
        return frozenset(key for key, facts in self._facts.items() if facts.host_only)

    def __len__(self) -> int:
        return len(self._facts)

    def __iter__(self) -> Iterator[Morsel[str]]:
        self._expire()
        for cookies in list(self._cookies.values()):
            yield from list(cookies.values())

    # Files.

    def save(self, file_path: str | os.PathLike[str]) -> None:
        """Writes the cookies to a file (JSON) that only its owner may read."""
        data: dict[str, dict[str, dict[str, Any]]] = {}
        for (domain, path), cookies in self._cookies.items():
            entries = data[f"{domain}|{path}"] = {}
            for name, morsel in cookies.items():
                facts = self._facts[domain, path, name]
                entry: dict[str, Any] = {
                    "key": morsel.key,
                    "value": morsel.value,
                    "coded_value": morsel.coded_value,
                }
                entry |= {
                    attribute: value
                    for attribute, value in morsel.items()
                    if value and attribute not in {"max-age", "expires"}
                }
                if facts.host_only:
                    entry["host_only"] = True
                if facts.expires is not None:
                    entry["expires_timestamp"] = facts.expires
                entries[name] = entry
        with open(file_path, "w", encoding="utf-8", opener=_open_private) as file:
            json.dump(data, file, indent=2)

    def load(self, file_path: str | os.PathLike[str]) -> None:
        """Reads cookies that `save` has written, in place of those there are.

        ValueError: the file is damaged; nothing changes.
        """
        content = Path(file_path).read_bytes()
        loaded = self._like()
        try:
            data = json.loads(content)
        except (ValueError, UnicodeDecodeError):
            from .cookie_pickles import load

            for (domain, _path), cookies in load(content).items():
                for name, morsel in cookies.items():
                    loaded._update([(name, morsel)], _url_of(domain), copies=False)
        else:
            for place, cookies in data.items():
                domain = place.split("|", 1)[0]
                for name, entry in cookies.items():
                    self._load_one(loaded, place, domain, name, entry)
        cookies_view = self._cookies
        cookies_view.clear()
        cookies_view.update(loaded._cookies)
        self.__dict__.update(loaded.__dict__ | {"_watchers": self._watchers})
        self._cookies = cookies_view
        self._tell()

    def _like(self) -> CookieJar:
        return CookieJar(
            unsafe=self._unsafe,
            quote_cookie=self._quote_cookie,
            treat_as_secure_origin=self._secure_origins,
            loop=self._loop,
        )

    @staticmethod
    def _load_one(loaded: CookieJar, place: str, domain: str, name: str, entry: dict[str, Any]) -> None:
        expires: float | None = None
        if (given := entry.get("expires_timestamp")) is not None:
            try:
                expires = float(given)
                if not math.isfinite(expires):
                    raise ValueError(expires)
            except (OverflowError, TypeError, ValueError) as error:
                message = f"Cookie {name!r} in {place!r}: expiration timestamp must be a finite number"
                raise ValueError(message) from error
        morsel: Morsel[str] = Morsel()
        morsel.__setstate__(  # type: ignore[attr-defined]
            {"key": entry["key"], "value": entry["value"], "coded_value": entry["coded_value"]}
        )
        for attribute in morsel:
            if attribute in entry:
                morsel[attribute] = entry[attribute]
        if entry.get("host_only"):
            morsel["domain"] = ""
        loaded._update([(name, morsel)], _url_of(domain), copies=False, expires=expires)

    # What goes out.

    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        if predicate is None:
            self._cookies.clear()
            self._facts.clear()
            self._domains.clear()
            self._next_expiry = math.inf
            return
        now = time.time()
        self._delete(
            [
                key
                for key, facts in self._facts.items()
                if (facts.expires is not None and facts.expires <= now) or predicate(self._cookies[key[:2]][key[2]])
            ]
        )

    def clear_domain(self, domain: str) -> None:
        self.clear(lambda cookie: self._is_domain_match(domain, cookie["domain"]))

    def _expire(self) -> None:
        now = time.time()
        if now < self._next_expiry:
            return
        self._delete([key for key, facts in self._facts.items() if facts.expires is not None and facts.expires <= now])
        deadlines = (facts.expires for facts in self._facts.values() if facts.expires is not None)
        self._next_expiry = min(deadlines, default=math.inf)

    def _delete(self, keys: Iterable[_Key]) -> None:
        for key in keys:
            domain, path, name = key
            if self._facts.pop(key, None) is None:
                continue
            cookies = self._cookies[domain, path]
            del cookies[name]
            if not cookies:
                del self._cookies[domain, path]
            self._domains[domain] -= 1
            if not self._domains[domain]:
                del self._domains[domain]

    def _make_room(self, domain: str, is_secure: bool) -> bool:
        """Room for one more; False when only another secure cookie might have it."""
        if self._domains.get(domain, 0) < DOMAIN_MOST:
            if len(self._facts) >= TOTAL_MOST:
                self._expire()
                self._delete_oldest(list(self._facts), len(self._facts) - TOTAL_KEPT)
            return True
        self._expire()
        excess = self._domains.get(domain, 0) - DOMAIN_KEPT + 1
        if excess <= 0:
            return True
        keys = [key for key in self._facts if key[0] == domain]
        open_ones = [key for key in keys if not self._cookies[key[:2]][key[2]]["secure"]]
        if not open_ones:
            if len(keys) < DOMAIN_MOST:
                return True
            if not is_secure:
                return False
        self._delete_oldest(open_ones or keys, excess)
        return True

    def _delete_oldest(self, keys: list[_Key], count: int) -> None:
        if count > 0:
            keys.sort(key=lambda key: self._facts[key].used)
            self._delete(keys[:count])
            log.debug("Evicted %d cookies over the limit of a domain or of the jar", min(count, len(keys)))

    # What comes in.

    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008
        self._update(cookies.items() if isinstance(cookies, Mapping) else cookies, response_url, copies=True)

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        if not self._unsafe and is_ip(response_url.raw_host):
            return
        if headers and (found := parse_set_cookie_headers(headers)):
            self._update(found, response_url, copies=False)

    def _update(
        self, cookies: Iterable[tuple[str, Any]], url: URL, *, copies: bool, expires: float | None = None
    ) -> None:
        host = url.raw_host
        if not self._unsafe and is_ip(host):
            return
        for name, given in cookies:
            if isinstance(given, Morsel):
                cookie = given.copy() if copies else given
            else:
                made: SimpleCookie = SimpleCookie()
                made[name] = given
                cookie = made[name]
            self._take(name, cookie, host, url, expires)
        self._expire()
        self._tell()

    def _tell(self) -> None:
        if self._facts and self._watchers:
            watchers, self._watchers = self._watchers, []
            for watcher in watchers:
                watcher()

    def _take(self, name: str, cookie: Morsel[str], host: str | None, url: URL, expires: float | None) -> None:
        domain = cookie["domain"]
        if domain.endswith("."):
            domain = ""
            del cookie["domain"]
        if domain.startswith("."):
            domain = domain[1:]
            cookie["domain"] = domain
        if domain and host and not self._is_domain_match(domain, host):
            return
        path = cookie["path"]
        if not isinstance(path, str) or not isinstance(cookie["max-age"], str | int):
            raise TypeError(f"the cookie {name!r} has an attribute that is no text")
        if not path.startswith("/"):
            path = url.path
            path = "/" + path[1 : path.rfind("/")] if path.startswith("/") else "/"
            cookie["path"] = path
        path = path.rstrip("/")
        host_only = not domain and host is not None
        domain = domain or host or ""
        if expires is None:
            expires = self._deadline(cookie)
        if self._is_limited and not _can_be_sent(cookie):
            log.debug("Dropped cookie %r for %s: it can't be sent in a Cookie header", name, domain)
            return
        key = (domain, path, name)
        if key not in self._facts:
            is_full = self._domains.get(domain, 0) >= DOMAIN_MOST or len(self._facts) >= TOTAL_MOST
            comes_to_stay = expires is None or expires > time.time()
            if self._is_limited and is_full and comes_to_stay and not self._make_room(domain, bool(cookie["secure"])):
                log.debug("Dropped cookie %r for %s: its domain is full of Secure cookies", name, domain)
                return
            self._domains[domain] = self._domains.get(domain, 0) + 1
        if host_only:
            cookie["domain"] = domain
        self._clock += 1
        self._facts[key] = _Facts(host_only, expires, self._clock)
        if (domain, path) not in self._cookies:
            self._cookies[domain, path] = SimpleCookie()
        dict.__setitem__(self._cookies[domain, path], name, cookie)
        if expires is not None:
            self._next_expiry = min(self._next_expiry, expires)

    @staticmethod
    def _deadline(cookie: Morsel[str]) -> float | None:
        if max_age := cookie["max-age"]:
            try:
                seconds = int(max_age)
            except ValueError:
                cookie["max-age"] = ""
                return None
            return 0.0 if seconds <= 0 else float(min(time.time() + min(seconds, MAX_TIME), MAX_TIME))
        if text := cookie["expires"]:
            if moment := parse_date(text):
                return moment
            cookie["expires"] = ""
        return None

    # What is sent.

    def filter_cookies(self, request_url: URL = URL()) -> BaseCookie[str]:  # noqa: B008
        filtered: BaseCookie[str] = BaseCookie()
        if not self._cookies:
            return filtered
        self._expire()
        if type(request_url) is not URL:
            warnings.warn(
                f"filter_cookies expects yarl.URL instances only,and will stop working in 4.x, got {type(request_url)}",
                DeprecationWarning,
                stacklevel=2,
            )
            request_url = URL(request_url)
        chosen: dict[str, tuple[_Key, Morsel[str]]] = {}
        for key, cookie in self._matching(request_url):
            chosen.pop(key[2], None)
            chosen[key[2]] = (key, cookie)
        sent: list[tuple[str, Morsel[str]]] = []
        length = len("Cookie: ") - 2
        self._clock += 1
        for name, (key, cookie) in reversed(chosen.items()):
            morsel = self._for_sending(cookie)
            if self._is_limited:
                here = encoded_length(f"{morsel.key}={morsel.coded_value}") or 0
                if len(sent) >= REQUEST_MOST or length + 2 + here > HEADER_BYTES:
                    continue
                length += 2 + here
                self._facts[key].used = self._clock
            sent.append((name, morsel))
        if len(sent) < len(chosen):
            log.debug("Omitted %d cookies for %s over the limits", len(chosen) - len(sent), request_url.raw_host)
        dict.update(filtered, reversed(sent))
        return filtered

    def _matching(self, url: URL) -> Iterator[tuple[_Key, Morsel[str]]]:
        """Those for a URL, the least specific first."""
        host, path = url.raw_host or "", url.path
        is_secure = url.scheme in {"https", "wss"}
        if not is_secure and self._secure_origins:
            try:
                is_secure = url.origin() in self._secure_origins
            except ValueError:
                is_secure = False
        places: list[tuple[str, str]] = [("", "")]
        if is_ip(host):
            domains = [host] if self._unsafe else []
        else:
            labels = host.split(".")
            domains = [".".join(labels[at:]) for at in reversed(range(len(labels)))]
        parts = path.split("/")
        for domain in domains:
            places.extend((domain, "/".join(parts[: count + 1])) for count in range(len(parts)))
        for place in dict.fromkeys(places):
            for name, cookie in self._cookies.get(place, {}).items():
                key = (*place, name)
                if place != ("", ""):
                    if cookie["domain"] != host and self._facts[key].host_only:
                        continue
                    # `Path=/a/` is not for `/a`.
                    if len(cookie["path"]) > len(path):
                        continue
                if is_secure or not cookie["secure"]:
                    yield key, cookie

    def _for_sending(self, cookie: Morsel[str]) -> Morsel[str]:
        if self._quote_cookie and cookie.coded_value[:1] == '"':
            return kept_morsel(cookie)
        value = coded = cookie.value
        if self._quote_cookie:
            value, coded = _SIMPLE.value_encode(value)
        return morsel_of(cookie.key, value, coded) or cookie

    @staticmethod
    def _is_domain_match(domain: str, host: str) -> bool:
        return host == domain or (host.endswith(f".{domain}") and not is_ip(host))

    _parse_date = staticmethod(parse_date)


class RequestCookies(CookieJar):
    """The cookies of one request, as the program gave them: no limits."""

    _is_limited = False


def _can_be_sent(cookie: Morsel[str]) -> bool:
    text = f"{cookie.key}={cookie.value}{cookie.coded_value}"
    return not has_control(text) and encoded_length(text) is not None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _url_of(domain: str) -> URL:
    return URL.build(scheme="https", host=domain) if domain else URL()


class DummyCookieJar(AbstractCookieJar):
    """Keeps nothing."""

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter(())

    def __len__(self) -> int:
        return 0

    @property
    def quote_cookie(self) -> bool:
        return True

    @property
    def cookies(self) -> MappingProxyType[tuple[str, str], SimpleCookie]:
        return MappingProxyType({})

    @property
    def host_only_cookies(self) -> frozenset[_Key]:
        return frozenset()

    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        pass

    def clear_domain(self, domain: str) -> None:
        pass

    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008
        pass

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        pass

    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        return SimpleCookie()
