"""`Connections`: what the loop does to make transports and servers, beside what it inherits from asyncio."""

from __future__ import annotations

import functools
import socket
import sys
from asyncio import base_events, events, exceptions, format_helpers, futures, selector_events, sslproto
from asyncio.log import logger
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from . import _aioxide, transports

__all__ = ["Connections", "Socket"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


# A class derived from it, or one that a program has put in its place, may have methods of its own: asyncio's code calls
# them, so it gets such sockets.
Socket = socket.socket
# From Python 3.15 on, asyncio gives a connection that it makes a context of its own: there its own code makes it.
_STARTS_CONNECTING = sys.version_info < (3, 15)
# What `create_connection` is asked for by host and port alone.
_NO_OPTIONS = dict(base_events.BaseEventLoop.create_connection.__kwdefaults__ or {})
# Those whose addresses Rust knows how to show.
DATAGRAM_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
# The sockets that the race of a `create_connection` has connected, and whether it is over.
_race: ContextVar[Race | None] = ContextVar("race", default=None)


class Race:
    """What the tasks of one race for the first connection share."""

    def __init__(self) -> None:
        self.connected: list[socket.socket] = []
        self.is_over = False

    async def run(self, connecting: Coroutine[Any, Any, socket.socket]) -> socket.socket:
        """Notes the socket of one of them."""
        sock = await connecting
        if self.is_over:
            sock.close()
            raise exceptions.CancelledError
        self.connected.append(sock)
        return sock


def as_in(base: type) -> Callable[[_Method], _Method]:
    """Gives a method the signature, the annotations, the documentation and the full name of that which it overrides."""

    def decorate(method: _Method) -> _Method:
        original = getattr(base, method.__name__)
        functools.update_wrapper(method, original, ("__qualname__", "__doc__"), ())
        method.__annotations__ = getattr(original, "__annotations__", {})
        return method

    return decorate


class Connections(selector_events.BaseSelectorEventLoop):
    """The part of `EventLoop` that puts Rust transports where asyncio makes its own."""

    if TYPE_CHECKING:
        # What asyncio's own loop and `LoopCore` have in private: no stub knows it.
        def __getattr__(self, name: str) -> Any: ...

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if sslcontext is None and not self._debug and type(sock) is Socket:
            # Python 3.15 gives the server's context: each connection runs in a copy of it.
            self._serve(protocol_factory, sock, server, backlog, kwargs.get("context"))
        else:
            # asyncio's own code: with TLS the handshake is waited for, and debug mode logs each connection.
            arguments = (protocol_factory, sock, sslcontext, server, backlog, *args)
            super()._start_serving(*arguments, **kwargs)  # type: ignore[misc]

    @as_in(base_events.BaseEventLoop)
    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        started = None
        if _STARTS_CONNECTING and options.items() <= _NO_OPTIONS.items():
            started = self._start_connecting(host, port)
        if started is not None:
            finishing = self._finish_connecting(protocol_factory, host, port, *started)
            # It has the future, and an exception will have this frame.
            started = None
            return await finishing
        if options.get("happy_eyeballs_delay") is None:
            return await super().create_connection(protocol_factory, host, port, **options)
        # asyncio forgets the winner's socket when it is cancelled between the end of the race and the next iteration,
        # and before 3.12 a racer whose wait is just over does not hear of the cancellation.
        race = Race()
        token = _race.set(race)
        try:
            return await super().create_connection(protocol_factory, host, port, **options)
        except BaseException:
            for sock in race.connected:
                if sock.fileno() not in self._transports:
                    sock.close()
            raise
        finally:
            race.is_over = True
            race.connected.clear()
            _race.reset(token)

    async def _finish_connecting(
        self, protocol_factory: Any, host: str, port: int, connecting: _aioxide.Connecting, connected: Any
    ) -> tuple[Any, Any]:
        if connected is not None:
            try:
                await connected
            except BaseException:
                connecting.close()
                raise
            finally:
                # An exception has this frame, and the future the exception.
                connected = None
        try:
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._make_connected_transport(connecting, protocol, waiter)
        except BaseException:
            if sys.version_info >= (3, 14):
                connecting.close()
            else:
                # Nobody closes the socket, as in asyncio: a ResourceWarning tells of it when the traceback is gone.
                sock = connecting.to_socket()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        if self._debug:
            sock = transport.get_extra_info("socket")
            logger.debug("%r connected to %s:%r: (%r, %r)", sock, host, port, transport, protocol)
        return transport, protocol

    def _connect_sock(self, *arguments: Any) -> Any:
        # No coroutine of ours: its frame, which an error's traceback keeps, would hold the list of all errors.
        connecting = super()._connect_sock(*arguments)  # type: ignore[misc]
        race = _race.get()
        return connecting if race is None else race.run(connecting)

    @as_in(selector_events.BaseSelectorEventLoop)
    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        if type(sock) is not Socket:
            return await super().sock_recv(sock, n)
        data = self._try_recv(sock, n)
        if type(data) is bytes:
            return data
        try:
            return await data
        except BaseException:
            self._give_up(sock, data)
            raise

    @as_in(selector_events.BaseSelectorEventLoop)
    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        if type(sock) is not Socket:
            return await super().sock_recv_into(sock, buf)
        size = self._try_recv_into(sock, buf)
        if type(size) is int:
            return size
        try:
            return await size
        except BaseException:
            self._give_up(sock, size)
            raise

    @as_in(selector_events.BaseSelectorEventLoop)
    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        if type(sock) is not Socket:
            return await super().sock_sendall(sock, data)
        rest = self._try_sendall(sock, data)
        if rest is None:
            return None
        try:
            return await rest
        except BaseException:
            self._give_up(sock, rest)
            raise

    @as_in(selector_events.BaseSelectorEventLoop)
    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        if type(sock) is not Socket:
            return await super().sock_accept(sock)
        accepted = self._try_accept(sock)
        if type(accepted) is tuple:
            return accepted
        try:
            return await accepted
        except BaseException:
            self._give_up(sock, accepted)
            raise

    @as_in(selector_events.BaseSelectorEventLoop)
    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        if type(sock) is not Socket:
            return await super().sock_connect(sock, address)
        connected = self._try_connect(sock, address)
        if connected is None:
            return None
        if connected is NotImplemented:
            return await super().sock_connect(sock, address)
        try:
            return await connected
        except BaseException:
            self._give_up(sock, connected)
            raise
        finally:
            # An exception has this frame, and the future the exception.
            connected = None

    if sys.version_info < (3, 11):

        async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
            return await self._sock_datagram(sock, self._add_reader, self._remove_reader, sock.recvfrom, bufsize)

        async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
            size = nbytes or len(buf)
            return await self._sock_datagram(sock, self._add_reader, self._remove_reader, sock.recvfrom_into, buf, size)

        async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
            return await self._sock_datagram(sock, self._add_writer, self._remove_writer, sock.sendto, data, address)

        async def _sock_datagram(self, sock: socket.socket, add: Any, remove: Any, call: Any, *args: Any) -> Any:
            """Calls `call(*args)` as soon as it does not block; as asyncio does since 3.11."""
            base_events._check_ssl_socket(sock)
            if self._debug and sock.gettimeout() != 0:
                raise ValueError("the socket must be non-blocking")
            while True:
                try:
                    return call(*args)
                except (BlockingIOError, InterruptedError):
                    pass
                future = self.create_future()
                fd = sock.fileno()
                self._ensure_fd_no_transport(fd)
                handle = add(fd, futures._set_result_unless_cancelled, future, None)
                try:
                    await future
                finally:
                    if not handle.cancelled():
                        remove(fd)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None, **context: Any
    ) -> Any:
        # Python 3.15 gives a context for all calls of the protocol.
        if type(sock) is Socket:
            return self._make_stream_transport(sock, protocol, waiter, extra=extra, server=server, **context)
        context |= {"extra": extra, "server": server}
        return super()._make_socket_transport(sock, protocol, waiter, **context)  # type: ignore[misc]

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        if type(sock) is Socket and sock.family in DATAGRAM_FAMILIES:
            return transports.DatagramTransport(self, sock, protocol, address, waiter, extra)
        return super()._make_datagram_transport(sock, protocol, address, waiter, extra)  # type: ignore[misc]

    def _make_read_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None) -> Any:
        return transports.ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None) -> Any:
        return transports.WritePipeTransport(self, pipe, protocol, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        context: Any = None,
        **timeouts: Any,
    ) -> Any:
        ssl_protocol = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        context_ = {} if context is None else {"context": context}
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, **context_)
        return transports.equipped_tls(ssl_protocol._app_transport)

    @as_in(base_events.BaseEventLoop)
    async def start_tls(self, *args: Any, **kwargs: Any) -> Any:
        return transports.equipped_tls(await super().start_tls(*args, **kwargs))

    def _report_callback(self, callback: Any, argument: Any, exception: BaseException) -> None:
        """Reports what a callback raised for which Rust made no `Handle`, as `Handle` would have done."""
        handle: Any = events.Handle(callback, (argument,), self, None)
        options = {"debug": self._debug} if sys.version_info >= (3, 13) else {}
        source = format_helpers._format_callback_source(callback, (argument,), **options)
        context = {"message": f"Exception in callback {source}", "exception": exception, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)
