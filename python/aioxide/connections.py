"""`Connections`: what the loop does to make transports and servers, beside what it inherits from asyncio."""

from __future__ import annotations

import socket
from asyncio import events, format_helpers, selector_events, sslproto
from typing import Any

from . import transports  # noqa: F401 - its classes get their methods, which the loop needs

__all__ = ["Connections"]


class Connections(selector_events.BaseSelectorEventLoop):
    """The part of `EventLoop` that puts Rust transports where asyncio makes its own."""

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
        if sslcontext is None and not self._debug and isinstance(sock, socket.socket):
            self._serve(protocol_factory, sock, server, backlog)
        else:
            # asyncio's own code: with TLS the handshake is waited for, and debug mode logs each connection.
            super()._start_serving(protocol_factory, sock, sslcontext, server, backlog, *args, **kwargs)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        if isinstance(sock, socket.socket):
            return self._make_stream_transport(sock, protocol, waiter, extra=extra, server=server)
        return super()._make_socket_transport(sock, protocol, waiter, extra=extra, server=server)

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
        **timeouts: Any,
    ) -> Any:
        ssl_protocol = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server)
        return ssl_protocol._app_transport

    def _report_callback(self, callback: Any, argument: Any, exception: BaseException) -> None:
        """Reports what a callback raised for which Rust made no `Handle`, as `Handle` would have done."""
        handle = events.Handle(callback, (argument,), self, None)
        source = format_helpers._format_callback_source(callback, (argument,))
        context = {"message": f"Exception in callback {source}", "exception": exception, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)
