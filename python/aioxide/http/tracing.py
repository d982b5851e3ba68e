"""Hooks that are told what a session does."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidict import CIMultiDict
    from yarl import URL

    from .response import ClientResponse
    from .session import ClientSession


class Signal(list[Any]):
    """The coroutine functions of one hook."""

    def __init__(self, owner: object = None) -> None:
        super().__init__()
        self._owner = owner
        self.frozen = False

    def freeze(self) -> None:
        """No function can be added any more."""
        self.frozen = True

    def _check(self) -> None:
        if self.frozen:
            raise RuntimeError("Cannot modify frozen list.")

    def append(self, function: Any) -> None:
        self._check()
        super().append(function)

    def insert(self, index: Any, function: Any) -> None:
        self._check()
        super().insert(index, function)

    def remove(self, function: Any) -> None:
        self._check()
        super().remove(function)

    def __call__(self, function: Any) -> Any:
        """As a decorator."""
        self.append(function)
        return function

    async def send(self, *arguments: Any, **keywords: Any) -> None:
        """Calls them, one after the other."""
        if not self.frozen:
            raise RuntimeError("Cannot send non-frozen signal.")
        for function in self:
            await function(*arguments, **keywords)


@dataclass(frozen=True, slots=True)
class TraceRequestStartParams:
    """A request begins."""

    method: str
    url: URL
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class TraceRequestChunkSentParams:
    """A piece of the body was sent."""

    method: str
    url: URL
    chunk: bytes


@dataclass(frozen=True, slots=True)
class TraceResponseChunkReceivedParams:
    """The body of the answer was received."""

    method: str
    url: URL
    chunk: bytes


@dataclass(frozen=True, slots=True)
class TraceRequestEndParams:
    """The head of the answer is there."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    response: ClientResponse


@dataclass(frozen=True, slots=True)
class TraceRequestExceptionParams:
    """The request failed."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    exception: BaseException


@dataclass(frozen=True, slots=True)
class TraceRequestRedirectParams:
    """The answer is a redirect."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    response: ClientResponse


@dataclass(frozen=True, slots=True)
class TraceConnectionQueuedStartParams:
    """There is no free connection: the request waits."""


@dataclass(frozen=True, slots=True)
class TraceConnectionQueuedEndParams:
    """The wait for a connection is over."""


@dataclass(frozen=True, slots=True)
class TraceConnectionCreateStartParams:
    """A connection is being made."""


@dataclass(frozen=True, slots=True)
class TraceConnectionCreateEndParams:
    """The connection was made."""


@dataclass(frozen=True, slots=True)
class TraceConnectionReuseconnParams:
    """A connection that was there is used."""


@dataclass(frozen=True, slots=True)
class TraceDnsResolveHostStartParams:
    """A name is looked up."""

    host: str


@dataclass(frozen=True, slots=True)
class TraceDnsResolveHostEndParams:
    """The name was looked up."""

    host: str


@dataclass(frozen=True, slots=True)
class TraceDnsCacheHitParams:
    """The name was looked up before."""

    host: str


@dataclass(frozen=True, slots=True)
class TraceDnsCacheMissParams:
    """The name was not looked up before."""

    host: str


@dataclass(frozen=True, slots=True)
class TraceRequestHeadersSentParams:
    """The head of the request was sent."""

    method: str
    url: URL
    headers: CIMultiDict[str]


HOOKS = (
    "request_start",
    "request_chunk_sent",
    "response_chunk_received",
    "request_end",
    "request_exception",
    "request_redirect",
    "connection_queued_start",
    "connection_queued_end",
    "connection_create_start",
    "connection_create_end",
    "connection_reuseconn",
    "dns_resolvehost_start",
    "dns_resolvehost_end",
    "dns_cache_hit",
    "dns_cache_miss",
    "request_headers_sent",
)


class TraceConfig:
    """The hooks of a session: `trace_configs=[config]`.

    Each `on_…` is a list of coroutine functions with three arguments: the session, a context that is made anew for each
    request by `trace_config_ctx_factory(trace_request_ctx=…)`, and the hook's own data.
    """

    def __init__(self, trace_config_ctx_factory: Any = SimpleNamespace) -> None:
        for name in HOOKS:
            setattr(self, f"on_{name}", Signal(self))
        self._factory = trace_config_ctx_factory

    def __getattr__(self, name: str) -> Signal:
        # For type checkers: the signals are set above.
        raise AttributeError(name)

    def trace_config_ctx(self, trace_request_ctx: Any = None) -> Any:
        """The context of one request."""
        return self._factory(trace_request_ctx=trace_request_ctx)

    def freeze(self) -> None:
        """No hook can be added any more: the session calls it."""
        for name in HOOKS:
            getattr(self, f"on_{name}").freeze()


class Trace:
    """The hooks of one request."""

    def __init__(self, session: ClientSession, trace_config: TraceConfig, trace_config_ctx: Any) -> None:
        self._session = session
        self._config = trace_config
        self._context = trace_config_ctx

    @property
    def wants_chunks(self) -> bool:
        return bool(self._config.on_request_chunk_sent)

    async def send_happened(self, name: str, host: str | None) -> None:
        """One of the hooks of connections and names."""
        send = getattr(self, f"send_{name}")
        await (send() if host is None else send(host))

    async def _send(self, name: str, parameters: Any) -> None:
        await getattr(self._config, f"on_{name}").send(self._session, self._context, parameters)

    async def send_request_start(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        await self._send("request_start", TraceRequestStartParams(method, url, headers))

    async def send_request_chunk_sent(self, method: str, url: URL, chunk: bytes) -> None:
        await self._send("request_chunk_sent", TraceRequestChunkSentParams(method, url, chunk))

    async def send_response_chunk_received(self, method: str, url: URL, chunk: bytes) -> None:
        await self._send("response_chunk_received", TraceResponseChunkReceivedParams(method, url, chunk))

    async def send_request_end(
        self, method: str, url: URL, headers: CIMultiDict[str], response: ClientResponse
    ) -> None:
        await self._send("request_end", TraceRequestEndParams(method, url, headers, response))

    async def send_request_exception(
        self, method: str, url: URL, headers: CIMultiDict[str], exception: BaseException
    ) -> None:
        await self._send("request_exception", TraceRequestExceptionParams(method, url, headers, exception))

    async def send_request_redirect(
        self, method: str, url: URL, headers: CIMultiDict[str], response: ClientResponse
    ) -> None:
        await self._send("request_redirect", TraceRequestRedirectParams(method, url, headers, response))

    async def send_connection_queued_start(self) -> None:
        await self._send("connection_queued_start", TraceConnectionQueuedStartParams())

    async def send_connection_queued_end(self) -> None:
        await self._send("connection_queued_end", TraceConnectionQueuedEndParams())

    async def send_connection_create_start(self) -> None:
        await self._send("connection_create_start", TraceConnectionCreateStartParams())

    async def send_connection_create_end(self) -> None:
        await self._send("connection_create_end", TraceConnectionCreateEndParams())

    async def send_connection_reuseconn(self) -> None:
        await self._send("connection_reuseconn", TraceConnectionReuseconnParams())

    async def send_dns_resolvehost_start(self, host: str) -> None:
        await self._send("dns_resolvehost_start", TraceDnsResolveHostStartParams(host))

    async def send_dns_resolvehost_end(self, host: str) -> None:
        await self._send("dns_resolvehost_end", TraceDnsResolveHostEndParams(host))

    async def send_dns_cache_hit(self, host: str) -> None:
        await self._send("dns_cache_hit", TraceDnsCacheHitParams(host))

    async def send_dns_cache_miss(self, host: str) -> None:
        await self._send("dns_cache_miss", TraceDnsCacheMissParams(host))

    async def send_request_headers(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        await self._send("request_headers_sent", TraceRequestHeadersSentParams(method, url, headers))
