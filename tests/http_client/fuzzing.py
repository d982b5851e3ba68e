"""Answers of every kind, good and broken, read in every way: what is good comes whole, what is broken is an exception.

    python -m http_client.fuzzing --minutes 10          (in tests/)
    python -m http_client.fuzzing --case 1:4711         one case alone

A case is a seed and a number: the server makes the answer of it, the client chooses how to read it. What is not
documented, a wrong body, another exception or a case that does not end, ends the run with the case's name.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import hashlib
import random
import sys
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aioxide import http
from aioxide.http.streams import LineTooLong

# Seconds a case may take; each request has a limit below it. The machine may be busy, and no case has to wait for time.
PATIENCE, LIMIT = 60.0, 30.0
DOCUMENTED = (http.ClientError, asyncio.TimeoutError)
CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}


@dataclass
class Case:
    """An answer, and the truth about it."""

    name: str
    is_socket: bool = False
    wire: bytes = b""
    body: bytes = b""
    is_good: bool = True
    closes: bool = False
    pauses: list[int] = field(default_factory=list)


def make(seed: int, number: int) -> Case:
    """The case of that name."""
    draw = random.Random(f"{seed}:{number}")
    case = Case(f"{seed}:{number}", is_socket=draw.random() < 0.15)
    if case.is_socket:
        case.wire = b"".join(frame(draw) for _ in range(draw.randrange(1, 6))) + close_frame(draw)
    else:
        case.body = text_or_bytes(draw)
        case.wire = answer(draw, case)
    if draw.random() < 0.5:
        case.is_good = False
        case.closes = True
        case.wire = mutated(draw, case.wire)
    case.pauses = sorted(draw.randrange(len(case.wire) + 1) for _ in range(draw.choice((0, 0, 1, 4))))
    return case


def text_or_bytes(draw: random.Random) -> bytes:
    size = draw.choice((0, 1, 10, 500, 5000, 70_000, 300_000))
    if draw.random() < 0.5:
        return draw.randbytes(size)
    return b"\n".join(b"a line of %d" % draw.randrange(1000) for _ in range(size // 12))


def answer(draw: random.Random, case: Case) -> bytes:
    coding = draw.choice(list(CODINGS))
    coded = CODINGS[coding](case.body)  # type: ignore[operator]
    status = draw.choice(("200 OK", "200 ", "404 Not Found", "599 Odd \xe9", "206 Partial"))
    lines = [
        f"HTTP/1.1 {status}",
        *(f"X-{draw.randrange(99)}: {'v' * draw.randrange(50)}" for _ in range(draw.randrange(9))),
    ]
    if coding != "identity":
        lines.append(f"Content-Encoding: {coding}")
    kind = draw.choice(("text/plain; charset=utf-8", "application/json", "text/html; charset=nonsense", ""))
    if kind:
        lines.append(f"Content-Type: {kind}")
    framing = draw.choice(("length", "chunks", "close"))
    if framing == "length":
        lines.append(f"Content-Length: {len(coded)}")
    elif framing == "chunks":
        lines.append("Transfer-Encoding: chunked")
        coded = chunks(draw, coded)
    else:
        lines.append("Connection: close")
        case.closes = True
    before = "".join("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" for _ in range(draw.choice((0, 0, 0, 2))))
    head = "\r\n".join(lines) + "\r\n\r\n"
    return (before + head).encode("latin-1") + coded


def chunks(draw: random.Random, body: bytes) -> bytes:
    made = []
    while body:
        size = draw.randrange(1, max(2, min(len(body), 20_000) + 1))
        extension = draw.choice((b"", b"", b";a=b", b' ;a="b;c"'))
        made.append(b"%x%s\r\n%s\r\n" % (min(size, len(body)), extension, body[:size]))
        body = body[size:]
    trailers = draw.choice((b"", b"", b"X-Sum: 1\r\n"))
    return b"".join(made) + b"0\r\n" + trailers + b"\r\n"


def frame(draw: random.Random) -> bytes:
    kind = draw.choice((0x81, 0x82, 0x89, 0x8A, 0x01))
    data = draw.choice((b"", b"text", "é".encode() * 60, b"x" * 70_000 if kind < 0x88 else b"x" * 125))
    made = _frame(kind, data)
    # A first part has a second.
    return made + (_frame(0x80, b"end") if kind == 0x01 else b"")


def _frame(kind: int, data: bytes) -> bytes:
    if len(data) < 126:
        return bytes((kind, len(data))) + data
    if len(data) < 1 << 16:
        return bytes((kind, 126)) + len(data).to_bytes(2, "big") + data
    return bytes((kind, 127)) + len(data).to_bytes(8, "big") + data


def close_frame(draw: random.Random) -> bytes:
    return _frame(0x88, draw.choice((b"", b"\x03\xe8", b"\x03\xe9bye")))


def mutated(draw: random.Random, wire: bytes) -> bytes:
    data = bytearray(wire)
    for _ in range(draw.randrange(1, 6)):
        # Heads are small beside bodies, and more depends on them.
        place = draw.randrange(min(len(data), 400 if draw.random() < 0.7 else len(data)) + 1)
        way = draw.randrange(6)
        if way == 0:
            del data[place:]
        elif way == 1:
            del data[place : place + draw.randrange(1, 20)]
        elif way == 2:
            data[place:place] = draw.choice(
                (b"\r\n", b"\n", b"\0", b": ", b"Content-Length: 5\r\n", b"ffffffffffffffff")
            )
        elif way == 3:
            data[place : place + 1] = bytes((draw.randrange(256),))
        elif way == 4:
            data[place:place] = data[place : place + draw.randrange(200)]
        else:
            data[place:place] = draw.randbytes(draw.randrange(30))
    return bytes(data)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            seed, number = lines[b"x-case"].split(b":")
            case = make(int(seed), int(number))
            wire = case.wire
            if case.is_socket:
                key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
                digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
                accept = base64.b64encode(digest)
                writer.write(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n")
                writer.write(b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept)
            begin = 0
            for end in (*case.pauses, len(wire)):
                writer.write(wire[begin:end])
                await writer.drain()
                await asyncio.sleep(0)
                begin = end
            if case.closes or case.is_socket:
                return
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        pass
    finally:
        writer.close()


async def consume(draw: random.Random, response: Any) -> bytes | None:
    """Reads in some way; the whole body, if that is what it has read."""
    content = response.content
    way = draw.randrange(9)
    if way < 3:
        return await response.read()  # type: ignore[no-any-return]
    if way == 3:
        return b"".join([piece async for piece in content.iter_chunked(draw.choice((1000, 7777, 65536)))])
    if way == 4:
        return b"".join([piece async for piece in content.iter_any()])
    if way == 5:
        return b"".join([piece async for piece, _is_end in content.iter_chunks()])
    if way == 6:
        try:
            return b"".join([line async for line in content])
        except LineTooLong:
            return None
    if way == 7:
        await content.read(draw.randrange(1, 100))
        return None
    with suppress(UnicodeDecodeError):
        await response.text()
    return None


async def check(session: Any, url: str, case: Case) -> str:
    """Runs one case; says how it ended."""
    draw = random.Random(f"client {case.name}")
    headers = {"X-Case": case.name}
    try:
        if case.is_socket:
            async with session.ws_connect(url, headers=headers, max_msg_size=1 << 20) as socket:
                while True:
                    message = await socket.receive()
                    if message.type in {http.WSMsgType.CLOSE, http.WSMsgType.CLOSED, http.WSMsgType.ERROR}:
                        return message.type.name
        async with session.get(url, headers=headers) as response:
            assert response.headers is not None
            assert isinstance(response.reason, str)
            body = await consume(draw, response)
            if case.is_good and body is not None:
                assert body == case.body, f"{len(body)} bytes in place of {len(case.body)}"
            return "whole" if body is not None else "part"
    except DOCUMENTED as error:
        if case.is_good:
            raise AssertionError(f"good, and still: {error!r}") from error
        return type(error).__name__


async def fuzz(seed: int, until: float, most: int, first: int = 0) -> dict[str, int]:
    """Runs cases until that time, so many at most; how they ended."""
    outcomes: dict[str, int] = {}
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    timeout = http.ClientTimeout(total=LIMIT)
    numbers = iter(range(first, first + most))
    async with http.ClientSession(timeout=timeout, connector=http.TCPConnector(limit=20)) as session:

        async def worker() -> None:
            for number in numbers:
                if time.monotonic() > until:
                    return
                case = make(seed, number)
                try:
                    how = await asyncio.wait_for(check(session, url, case), PATIENCE)
                except BaseException:
                    print(f"case {case.name}: {case.wire[:300]!r}", file=sys.stderr)
                    raise
                outcomes[how] = outcomes.get(how, 0) + 1

        await asyncio.gather(*(worker() for _ in range(8)))
        assert session.stats()["open"] <= 20
    server.close()
    return dict(sorted(outcomes.items()))


def main() -> None:
    import aioxide

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case")
    options = parser.parse_args()
    if options.case:
        seed, number = map(int, options.case.split(":"))
        print(aioxide.run(fuzz(seed, time.monotonic() + 60, 1, number)))
        return
    found = aioxide.run(fuzz(options.seed, time.monotonic() + options.minutes * 60, sys.maxsize))
    print(sum(found.values()), "cases:", found)


if __name__ == "__main__":
    main()
