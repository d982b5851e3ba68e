"""Server-sent events: `async for event in session.sse(url)`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ClientConnectionError, ClientPayloadError, ClientResponseError
from .timeouts import ClientTimeout

if TYPE_CHECKING:
    from .response import ClientResponse
    from .session import ClientSession

# An event may be that long: what a server can make grow is bounded.
EVENT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    `event`: its type; `id`: the last one that the server has given; `retry`: in seconds, if it came with this event.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: float | None = None

    def json(self) -> Any:
        """The data as JSON."""
        import json

        return json.loads(self.data)


class EventParser:
    """Lines become events, as the standard of HTML reads them.

    # Examples

        >>> parser = EventParser()
        >>> [event.data for event in parser.feed(b"data: one\\ndata: two\\n\\ndata: cut")]
        ['one\\ntwo']
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: float | None = None
        self._rest = b""
        self._after_return = False
        self._is_first = True
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._event_retry: float | None = None

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """The events that end in this piece. ValueError: one is too long."""
        if self._after_return and piece[:1] == b"\n":
            piece = piece[1:]
        self._after_return = piece[-1:] == b"\r"
        text = self._rest + piece
        if self._is_first and len(text) >= 3:
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._is_first = False
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) + self._size > EVENT_BYTES:
            raise ValueError(f"an event is longer than {EVENT_BYTES} bytes")
        return [event for line in lines if (event := self._line(line.decode("utf-8", "replace"))) is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._end()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value)
            if self._size > EVENT_BYTES:
                raise ValueError(f"an event is longer than {EVENT_BYTES} bytes")
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = self._event_retry = int(value) / 1000
        return None

    def _end(self) -> ServerSentEvent | None:
        event = None
        if self._data:
            event = ServerSentEvent("\n".join(self._data), self._event or "message", self.last_id, self._event_retry)
        self._data = []
        self._size = 0
        self._event = ""
        self._event_retry = None
        return event


async def events(
    session: ClientSession,
    url: Any,
    *,
    method: str = "GET",
    reconnect: bool = True,
    retry: float = 3.0,
    max_retries: int | None = None,
    idle_timeout: float | None = None,
    last_event_id: str = "",
    **options: Any,
) -> AsyncIterator[ServerSentEvent]:
    """The events of a URL.

    When the connection ends, or nothing comes for `idle_timeout` seconds, it is made again after `retry` seconds (or
    what the
    server says), with `Last-Event-ID`; `max_retries` times in a row. An answer with 204 ends the events. A status
    from 400 on, or
    another content type than `text/event-stream`, is a ClientResponseError.
    """
    headers = dict(options.pop("headers", None) or {})
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"} | headers
    options.setdefault("timeout", ClientTimeout(total=None, sock_connect=30, sock_read=idle_timeout))
    parser = EventParser()
    parser.last_id = last_event_id
    failures = 0
    while True:
        if parser.last_id:
            headers["Last-Event-ID"] = parser.last_id
        try:
            async with session.request(method, url, headers=headers, **options) as response:
                if response.status == 204:
                    return
                _check(response)
                while (piece := await response.content.readany()) != b"":
                    for event in parser.feed(piece):
                        failures = 0
                        yield event
        except (ClientConnectionError, ClientPayloadError, asyncio.TimeoutError):
            if not reconnect or (max_retries is not None and failures >= max_retries):
                raise
        else:
            if not reconnect or (max_retries is not None and failures >= max_retries):
                return
        wait = parser.retry if parser.retry is not None else retry
        # Many clients that lost one server do not come back all at once.
        await asyncio.sleep(min(wait * 2 ** min(failures, 6), 60.0) * random.uniform(1.0, 1.25))
        failures += 1
        fresh = EventParser()
        fresh.last_id, fresh.retry = parser.last_id, parser.retry
        parser = fresh


def _check(response: ClientResponse) -> None:
    response.raise_for_status()
    if response.content_type != "text/event-stream":
        raise ClientResponseError(
            response.request_info,
            response.history,
            status=response.status,
            message=f"the answer is no stream of events but {response.content_type}",
            headers=response.headers,
        )
