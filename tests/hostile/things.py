"""Objects whose special methods come back into the loop, its tasks and whatever else the program has."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

# The `World` of the program that is run: the classes below are made once.
world: Any = None


class Imp:
    """Does anything whenever it is looked at, compared, called, awaited or released."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        world.act()
        return world.flip() or self is other

    def __hash__(self) -> int:
        world.act()
        return self.value

    def __bool__(self) -> bool:
        world.act()
        return world.flip()

    def __lt__(self, other: object) -> bool:
        world.act()
        return world.flip()

    def __index__(self) -> int:
        world.act()
        return self.value

    __int__ = __index__

    def __float__(self) -> float:
        world.act()
        return float(self.value)

    def __len__(self) -> int:
        world.act()
        return self.value

    def __repr__(self) -> str:
        world.act()
        return "imp"

    __str__ = __repr__

    def __call__(self, *_: Any, **__: Any) -> Any:
        world.act()
        return world.thing()

    def __iter__(self) -> Iterator[Any]:
        world.act()
        return iter([world.thing() for _ in range(world.random.randrange(4))])

    def __await__(self) -> Generator[Any, Any, Any]:
        world.act()
        for _ in range(world.random.randrange(3)):
            yield world.thing() if world.rarely() else None
            world.act()
        return world.thing()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        world.act()
        if world.flip():
            raise AttributeError(name)
        return world.thing()

    def __enter__(self) -> Any:
        world.act()
        return self

    def __exit__(self, *_: Any) -> bool:
        world.act()
        return world.flip()

    async def __aenter__(self) -> Any:
        world.act()
        return self

    async def __aexit__(self, *_: Any) -> bool:
        world.act()
        return world.flip()

    def __del__(self) -> None:
        world.act()


class Piece(bytes):
    """Bytes that do something when they are released."""

    def __del__(self) -> None:
        world.act()


class Array(bytearray):
    """Bytes that do something when they are measured."""

    def __len__(self) -> int:
        world.act()
        return super().__len__()

    def __bool__(self) -> bool:
        world.act()
        return True


class Text(str):
    """A text that does something when it is compared."""

    def __eq__(self, other: object) -> bool:
        world.act()
        return super().__eq__(other)

    def __hash__(self) -> int:
        world.act()
        return super().__hash__()


class Number(int):
    """A number that does something when it is compared."""

    def __eq__(self, other: object) -> bool:
        world.act()
        return super().__eq__(other)

    __hash__ = int.__hash__

    def __lt__(self, other: Any) -> bool:
        world.act()
        return super().__lt__(other)


class Failure(Exception):
    """An exception that does something while it is made, shown and released."""

    def __init__(self, *arguments: Any) -> None:
        world.act()
        super().__init__(*arguments)

    def __repr__(self) -> str:
        world.act()
        return "Failure()"

    def __del__(self) -> None:
        world.act()


class NoInstance(Exception):
    """An exception whose class makes something else, or nothing."""

    def __new__(cls, *arguments: Any) -> Any:
        world.act()
        return world.thing() if world.flip() else super().__new__(cls, *arguments)


class Cancellation(asyncio.CancelledError):
    """A cancellation that does something while it is made."""

    def __init__(self, *arguments: Any) -> None:
        world.act()
        super().__init__(*arguments)


class Protocol(asyncio.Protocol):
    """A protocol that does something in every method."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        world.keep(transport)
        world.act()

    def data_received(self, data: bytes) -> None:
        if world.flip():
            world.keep(data)
        world.act()

    def eof_received(self) -> bool | None:
        world.act()
        return world.flip()

    def connection_lost(self, exc: Exception | None) -> None:
        world.act()

    def pause_writing(self) -> None:
        world.act()

    def resume_writing(self) -> None:
        world.act()

    def __del__(self) -> None:
        world.act()


class Buffered(asyncio.BufferedProtocol):
    """A protocol with a buffer that may be anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        world.keep(transport)
        world.act()

    def get_buffer(self, sizehint: int) -> Any:
        world.act()
        return Array(100) if world.flip() else world.thing() if world.rarely() else bytearray(100)

    def buffer_updated(self, nbytes: int) -> None:
        world.act()

    def eof_received(self) -> bool | None:
        world.act()
        return world.flip()

    def connection_lost(self, exc: Exception | None) -> None:
        world.act()


class Datagrams(asyncio.DatagramProtocol):
    """A protocol of datagrams that does something in every method."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        world.keep(transport)
        world.act()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        world.keep(data, addr)
        world.act()

    def error_received(self, exc: Exception) -> None:
        world.act()

    def connection_lost(self, exc: Exception | None) -> None:
        world.act()


def derive(base: Any) -> Any:
    """Makes a class derived from `base` each method of which does something before it goes on."""

    def wrap(name: str) -> Any:
        def method(self: Any, *arguments: Any, **named: Any) -> Any:
            world.act()
            return getattr(super(derived, self), name)(*arguments, **named)

        return method

    names = [name for name in dir(base) if not name.startswith("__") and callable(getattr(base, name, None))]
    members = {name: wrap(name) for name in names if world.random.randrange(4) == 0}
    if world.flip():
        members["__del__"] = lambda self: world.act()
    if world.rarely():
        members["__repr__"] = lambda self: world.act() or "derived"
        members["__eq__"] = lambda self, other: world.act() or self is other
        members["__hash__"] = lambda self: world.act() or 1
    try:
        derived = type("Derived", (base,), members)
    except TypeError:
        return base
    return derived
