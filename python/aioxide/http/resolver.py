"""Resolvers of names, for `TCPConnector(resolver=…)`."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import Any, TypedDict


class ResolveResult(TypedDict):
    """One address of a name."""

    hostname: str
    host: str
    port: int
    family: int
    proto: int
    flags: int


class AbstractResolver(ABC):
    """The base of a resolver of the program's own."""

    @abstractmethod
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`. OSError: there is none."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the resolver."""


class ThreadedResolver(AbstractResolver):
    """The system's resolver, in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = self._loop or asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
        results: list[ResolveResult] = []
        for kind, _type, protocol, _name, address in found:
            result = ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            results.append(result)
        return results

    async def close(self) -> None:
        pass


class AsyncResolver(AbstractResolver):
    """The resolver of the package `aiodns`, which must be installed."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, *arguments: Any, **options: Any) -> None:
        try:
            import aiodns  # type: ignore[import-not-found]
        except ImportError:
            raise RuntimeError("Resolver requires aiodns library") from None
        self._resolver = aiodns.DNSResolver(*arguments, **options)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.getaddrinfo(host, port=port, type=socket.SOCK_STREAM, family=family)
        return [
            ResolveResult(
                hostname=host,
                host=node.addr[0].decode("ascii") if isinstance(node.addr[0], bytes) else node.addr[0],
                port=node.addr[1],
                family=node.family,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for node in found.nodes
        ]

    async def close(self) -> None:
        self._resolver.cancel()


class CachingResolver:
    """Another resolver's answers, kept for so many seconds.

    Who asks for the same meanwhile waits for the same answer.
    """

    def __init__(self, resolver: Any, seconds: float) -> None:
        self._resolver = resolver
        self._seconds = seconds
        self._known: dict[tuple[str, int], tuple[float, list[ResolveResult]]] = {}
        self._asked: dict[tuple[str, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(self, host: str, port: int, family: int = 0) -> list[ResolveResult]:
        key = (host, port)
        loop = asyncio.get_running_loop()
        if key in self._known:
            until, known = self._known[key]
            if loop.time() < until:
                return known
            del self._known[key]
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.ensure_future(
                self._resolver.resolve(host, port, family=socket.AddressFamily(family))
            )
            asked.add_done_callback(lambda _done: self._asked.pop(key, None))
        # Who gives up does not take the answer from the others.
        found: list[ResolveResult] = await asyncio.shield(asked)
        if self._seconds > 0:
            if len(self._known) >= 1000:
                self._known.clear()
            self._known[key] = (loop.time() + self._seconds, found)
        return found

    def forget(self, host: str | None, port: int | None) -> None:
        """Forgets one answer, or all."""
        if host is None or port is None:
            self._known.clear()
        else:
            self._known.pop((host, port), None)


DefaultResolver = ThreadedResolver
