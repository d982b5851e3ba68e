"""Websockets: `session.ws_connect`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import (
    ClientConnectionResetError,
    ClientError,
    ClientPayloadError,
    ServerTimeoutError,
    WSMessageTypeError,
)
from .timeouts import ClientWSTimeout
from .websocket_ahead import ReadAhead

if TYPE_CHECKING:
    from .._aioxide import _WebSocket
    from .response import ClientResponse

DEFAULT_WS_TIMEOUT = ClientWSTimeout(ws_receive=None, ws_close=10.0)


class WSCloseCode(IntEnum):
    """Why a websocket is closed."""

    OK = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL_CLOSURE = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


class WSMsgType(IntEnum):
    """What a message is; the last three are made here."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    PING = 0x9
    PONG = 0xA
    CLOSE = 0x8
    CLOSING = 0x100
    CLOSED = 0x101
    ERROR = 0x102

    text = TEXT
    binary = BINARY
    ping = PING
    pong = PONG
    close = CLOSE
    closing = CLOSING
    closed = CLOSED
    error = ERROR


class WSMessage(NamedTuple):
    """A message; `extra` is the reason of a goodbye."""

    type: WSMsgType
    data: Any
    extra: str | None

    def json(self, *, loads: Callable[[Any], Any] = json.loads) -> Any:
        """The data as JSON."""
        return loads(self.data)


class WebSocketError(Exception):
    """The other side broke the rules."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(code, message)

    def __str__(self) -> str:
        return str(self.args[1])


_CLOSED = WSMessage(WSMsgType.CLOSED, None, None)
_CLOSING = WSMessage(WSMsgType.CLOSING, None, None)


class ClientWebSocketResponse:
    """A websocket: one task may receive while others send.

    Messages end with CLOSE, CLOSING, CLOSED or ERROR; `async for` ends there.
    """

    def __init__(
        self,
        socket: _WebSocket,
        response: ClientResponse,
        timeout: ClientWSTimeout,
        *,
        autoclose: bool = True,
        autoping: bool = True,
        heartbeat: float | None = None,
        decode_text: bool = True,
    ) -> None:
        self._socket = socket
        self._response = response
        self._timeout = timeout
        self._autoclose = autoclose
        self._autoping = autoping
        self._heartbeat = heartbeat
        self._decode_text = decode_text
        self._closed = False
        self._closing = False
        self._close_code: int | None = None
        self._exception: BaseException | None = None
        self._receiving = False
        self._received: asyncio.Future[None] | None = None
        self._ahead = None if not heartbeat else ReadAhead(self, heartbeat)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def close_code(self) -> int | None:
        """Why it was closed; None while it is open."""
        return self._close_code

    @property
    def protocol(self) -> str | None:
        """The protocol that the server has chosen."""
        return self._socket.protocol

    @property
    def compress(self) -> int:
        """15 where messages are compressed, else 0."""
        return 15 if self._socket.is_compressed else 0

    @property
    def client_notakeover(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the connection's transport would tell: there is none."""
        return default

    def exception(self) -> BaseException | None:
        """The exception that ended it."""
        return self._exception

    async def ping(self, message: bytes | str = b"") -> None:
        await self._send(WSMsgType.PING, _bytes(message))

    async def pong(self, message: bytes | str = b"") -> None:
        await self._send(WSMsgType.PONG, _bytes(message))

    async def send_frame(self, message: bytes, opcode: WSMsgType, compress: int | None = None) -> None:
        """Sends a message of that type."""
        await self._send(opcode, message.decode() if opcode is WSMsgType.TEXT else message)

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Sends text."""
        if not isinstance(data, str):
            raise TypeError(f"data argument must be str ({type(data)!r})")
        await self._send(WSMsgType.TEXT, data)

    async def send_bytes(self, data: bytes | bytearray | memoryview, compress: int | None = None) -> None:
        """Sends bytes."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be byte-ish ({type(data)!r})")
        await self._send(WSMsgType.BINARY, bytes(data))

    async def send_json(
        self, data: Any, compress: int | None = None, *, dumps: Callable[[Any], str] = json.dumps
    ) -> None:
        """Sends an object as JSON."""
        await self.send_str(dumps(data), compress)

    async def send_json_bytes(self, data: Any, compress: int | None = None, *, dumps: Callable[[Any], bytes]) -> None:
        """Sends an object as JSON, by a function that makes bytes."""
        await self.send_bytes(dumps(data), compress)

    async def _send(self, kind: WSMsgType, data: Any) -> None:
        if self._closed or self._closing:
            raise ClientConnectionResetError("Cannot write to closing transport")
        try:
            await self._socket.send(int(kind), data)
        except ClientError as error:
            raise ClientConnectionResetError("Cannot write to closing transport") from error

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"") -> bool:
        """Says goodbye; False when that was done before. Another task that receives gets CLOSING."""
        if self._ahead is not None:
            self._ahead.stop()
        if self._closed:
            return False
        if self._receiving and not self._closing:
            self._closing = True
            self._received = asyncio.get_running_loop().create_future()
            await self._say_goodbye(code, message)
            try:
                async with _limit(self._timeout.ws_close):
                    await asyncio.shield(self._received)
            except asyncio.TimeoutError:
                self._close_code = WSCloseCode.ABNORMAL_CLOSURE
        self._closed = True
        try:
            async with _limit(self._timeout.ws_close):
                await self._socket.close(int(code), _bytes(message).decode("utf-8", "replace"))
        except asyncio.CancelledError:
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            raise
        except Exception as error:
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            self._exception = error
            return True
        if self._close_code is None:
            self._close_code = int(code)
        return True

    async def _say_goodbye(self, code: int, message: bytes) -> None:
        try:
            await self._socket.send(int(WSMsgType.CLOSE), (int(code), _bytes(message).decode("utf-8", "replace")))
        except ClientError as error:
            self._exception = error

    async def receive(self, timeout: float | None = None) -> WSMessage:
        """The next message. TimeoutError: none came in time."""
        if self._receiving:
            raise RuntimeError("Concurrent call to receive() is not allowed")
        if self._closed:
            return _CLOSED
        if self._closing:
            await self.close()
            return _CLOSED
        limit = timeout or self._timeout.ws_receive
        self._receiving = True
        try:
            if limit:
                async with _limit(limit):
                    parts = await self._next()
            else:
                parts = await self._next()
        except (asyncio.CancelledError, TimeoutError, asyncio.TimeoutError) as error:
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            if isinstance(error, ServerTimeoutError):
                return await self._failed(error)
            raise
        except ClientPayloadError as error:
            return await self._broken(error)
        except ClientError as error:
            self._exception = error
            self._closed = True
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            return _CLOSED
        finally:
            self._receiving = False
            if self._received is not None and not self._received.done():
                self._received.set_result(None)
        if parts is None:
            self._close_code = self._close_code or WSCloseCode.OK
            self._closed = True
            return _CLOSED
        kind, data, extra = parts
        if self._closing and kind != WSMsgType.CLOSE:
            # Another task is closing: nobody waits for messages any more.
            return _CLOSING
        if kind == WSMsgType.TEXT and not self._decode_text:
            data = data.encode()
        if kind != WSMsgType.CLOSE:
            return WSMessage(WSMsgType(kind), data, extra)
        was_closing = self._closing
        self._closing = True
        self._close_code = data
        if was_closing:
            return _CLOSING
        if self._autoclose:
            await self.close()
        return WSMessage(WSMsgType.CLOSE, data, extra)

    def _next(self) -> Awaitable[Any]:
        ahead = self._ahead
        return ahead.take() if ahead is not None and ahead.is_reading else self._socket.receive()

    async def _failed(self, error: BaseException) -> WSMessage:
        self._exception = error
        self._closing = True
        await self.close()
        self._close_code = WSCloseCode.ABNORMAL_CLOSURE
        return WSMessage(WSMsgType.ERROR, error, None)

    async def _broken(self, error: BaseException) -> WSMessage:
        """The other side broke the rules, or sent too much; or it has gone without a goodbye."""
        text = str(error)
        if "ended before" in text:
            self._exception = error
            self._closed = True
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            return _CLOSED
        too_large = "larger than allowed" in text
        code = WSCloseCode.MESSAGE_TOO_BIG if too_large else WSCloseCode.PROTOCOL_ERROR
        self._closed = True
        self._close_code = code
        return WSMessage(WSMsgType.ERROR, WebSocketError(code, text), None)

    async def receive_str(self, *, timeout: float | None = None) -> str:
        """The next message, which must be text. WSMessageTypeError: it is not."""
        message = await self.receive(timeout)
        if message.type is not WSMsgType.TEXT:
            raise WSMessageTypeError(f"Received message {message.type}:{message.data!r} is not WSMsgType.TEXT")
        return message.data  # type: ignore[no-any-return]

    async def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The next message, which must be bytes. WSMessageTypeError: it is not."""
        message = await self.receive(timeout)
        if message.type is not WSMsgType.BINARY:
            raise WSMessageTypeError(f"Received message {message.type}:{message.data!r} is not WSMsgType.BINARY")
        return message.data  # type: ignore[no-any-return]

    async def receive_json(self, *, loads: Callable[[Any], Any] = json.loads, timeout: float | None = None) -> Any:
        """The next message, which must be text, as JSON."""
        return loads(await self.receive_str(timeout=timeout))

    def __aiter__(self) -> ClientWebSocketResponse:
        return self

    async def __anext__(self) -> WSMessage:
        message = await self.receive()
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED}:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> ClientWebSocketResponse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _bytes(message: bytes | str) -> bytes:
    return message.encode() if isinstance(message, str) else bytes(message)


@asynccontextmanager
async def _limit(seconds: float | None) -> AsyncIterator[None]:
    """A block with a time limit; raises asyncio's TimeoutError as aiohttp does, on Python 3.10 a class of its own."""
    from ..timeouts import timeout

    block = timeout(seconds)
    try:
        async with block:
            yield
    except TimeoutError as error:
        if block.expired() and not isinstance(error, asyncio.TimeoutError):
            raise asyncio.TimeoutError from error
        raise
