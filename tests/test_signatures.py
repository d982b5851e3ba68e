"""The signatures that `inspect` shows of loop and transports, and what refused arguments are told: as in asyncio."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from typing import Any

import aioxide
import aioxide.streams
import pytest
from conftest import factory


def signatures(thing: Any) -> dict[str, list[tuple[str, Any]]]:
    """Returns the names and the kinds of all parameters of the public methods."""
    methods = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {
        name: [(parameter.name, parameter.kind) for parameter in inspect.signature(method).parameters.values()]
        for name, method in methods.items()
        if callable(method)
    }


async def of_transports(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Returns the signatures of one transport of each kind."""
    ours, theirs = socket.socketpair()
    stream, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    datagram, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    reader, writer = (os.fdopen(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    read_pipe, _ = await loop.connect_read_pipe(asyncio.Protocol, reader)
    write_pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writer)
    transports = {"stream": stream, "datagram": datagram, "read pipe": read_pipe, "write pipe": write_pipe}
    found = {name: signatures(transport) for name, transport in transports.items()}
    for transport in transports.values():
        transport.close()
    theirs.close()
    for _ in range(3):
        await asyncio.sleep(0)
    return found


@pytest.fixture
def both() -> Any:
    """Two loops: asyncio's and ours."""
    loops = [factory(name)() for name in ("asyncio", "aioxide")]
    yield loops
    for loop in loops:
        loop.close()


def test_loops(both: Any) -> None:
    theirs, ours = map(signatures, both)
    # What create_task takes beside a coroutine changes from release to release.
    assert theirs.pop("create_task")[0] == ours.pop("create_task")[0]
    assert {name: ours[name] for name in theirs} == theirs


def test_transports(both: Any) -> None:
    theirs, ours = (loop.run_until_complete(of_transports(loop)) for loop in both)
    assert ours == theirs


def parameters(function: Any) -> list[tuple[str, Any]] | None:
    """Returns names and kinds, but for the kind of `self`; None for what `inspect` knows nothing of."""
    try:
        first, *others = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    return [(first.name, None), *((parameter.name, parameter.kind) for parameter in others)]


CLASSES = (
    *("Future", "Task", "Handle", "TimerHandle", "StreamReader", "StreamWriter"),
    *("Queue", "LifoQueue", "PriorityQueue", "Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore"),
    *("Barrier", "TaskGroup", "Timeout"),
)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_of_classes(name: str) -> None:
    homes = (aioxide, aioxide.streams, aioxide._aioxide)
    ours = next(getattr(home, name) for home in homes if hasattr(home, name))
    methods = {name for name in dir(ours) if not name.startswith("_") and callable(getattr(ours, name))}
    assert methods
    for method in methods:
        shown = parameters(getattr(ours, method))
        assert shown is not None, method
        theirs = getattr(getattr(asyncio, name, None), method, None)
        if theirs is not None and (expected := parameters(theirs)) is not None:
            assert shown == expected, method


def test_errors_name_asyncios_method(both: Any) -> None:
    def texts(loop: Any) -> list[str]:
        calls = [
            loop.create_connection,
            lambda: loop.sock_recv(1),
            lambda: loop.getaddrinfo("127.0.0.1"),
            lambda: loop.add_signal_handler(1),
            loop.set_debug,
        ]
        found = []
        for call in calls:
            with pytest.raises(TypeError) as caught:
                call()
            found.append(str(caught.value))
        return found

    theirs, ours = map(texts, both)
    assert ours == theirs


def test_data_of_a_wrong_type_is_refused_in_asyncios_words(both: Any) -> None:
    async def texts(loop: asyncio.AbstractEventLoop) -> list[str]:
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        found = []
        for data in ("text", None, 5, [b"x"]):
            with pytest.raises(TypeError) as caught:
                transport.write(data)  # type: ignore[arg-type]
            found.append(str(caught.value))
        transport.close()
        theirs.close()
        await asyncio.sleep(0)
        return found

    of_asyncio, of_aioxide = (loop.run_until_complete(texts(loop)) for loop in both)
    assert of_aioxide == of_asyncio
