"""`EventLoop`: the Rust loop under asyncio's own interface."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
import weakref
from asyncio import coroutines, events, format_helpers
from typing import Any

from . import _aioxide
from . import transports as _transports  # noqa: F401 - the classes get their methods
from .selector_view import SelectorView

__all__ = ["EventLoop"]


class EventLoop(_aioxide.LoopCore, asyncio.SelectorEventLoop):  # type: ignore[misc]
    """An event loop written in Rust, with everything that `asyncio.SelectorEventLoop` has.

    What runs per callback, per packet or per connection is Rust (`LoopCore`); what runs once per program is inherited.
    """

    def __init__(self, selector: Any = None) -> None:
        if selector is not None:
            raise TypeError("aioxide.EventLoop has its own selector: none can be given")
        # The attributes of asyncio's base classes, whose __init__ would open a selector and a self-pipe of their own.
        self._timer_cancelled_count = 0
        self._default_executor = None
        self._internal_fds = 1  # what ends a wait
        self._thread_id: int | None = None
        self._clock_resolution = 1e-9
        self._exception_handler = None
        self.set_debug(coroutines._is_debug_mode())
        self.slow_callback_duration = 0.1
        self._current_handle = None
        self._task_factory = None
        self._coroutine_origin_tracking_enabled = False
        self._coroutine_origin_tracking_saved_depth = None
        self._asyncgens: weakref.WeakSet[Any] = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._executor_shutdown_called = False
        self._signal_handlers: dict[int, Any] = {}
        self._unix_server_sockets: dict[Any, Any] = {}
        self._ssock: socket.socket | None = None
        self._csock: socket.socket | None = None
        self._bind()

    def set_debug(self, enabled: bool) -> None:
        self._debug = enabled
        if self.is_running():
            self.call_soon_threadsafe(self._set_coroutine_origin_tracking, enabled)

    def run_forever(self) -> None:
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            self._run()
        finally:
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    @property
    def _selector(self) -> selectors.BaseSelector | None:
        return None if self.is_closed() else SelectorView(self)

    @_selector.setter
    def _selector(self, value: None) -> None:
        """asyncio's own `close` sets it to None."""

    def _close_self_pipe(self) -> None:
        if self._ssock is None:
            self._internal_fds = 0
        else:
            super()._close_self_pipe()

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        if self._ssock is None and not self.is_closed():
            # asyncio's self-pipe: the interpreter writes the numbers of signals into it.
            self._make_self_pipe()
            self._internal_fds = 1
        super().add_signal_handler(sig, callback, *args)

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
        from asyncio import sslproto

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
