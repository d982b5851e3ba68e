"""`EventLoop`: the Rust loop under asyncio's own interface."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
import threading
import warnings
import weakref
from asyncio import coroutines, events, unix_events
from asyncio.log import logger
from typing import Any

from . import (
    _aioxide,
    eager,
    nesting,
    streams,  # noqa: F401 - makes our streams known to asyncio
    tasks,  # noqa: F401 - makes our tasks known to asyncio
)
from .connections import Connections, Socket, as_in
from .selector_view import SelectorView
from .subprocesses import Subprocesses

__all__ = ["EventLoop"]

# A child process must not send again what its parent's transports are about to send.
os.register_at_fork(before=_aioxide._send_held_writes)
nesting.watch()

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class EventLoop(_aioxide.LoopCore, Connections, Subprocesses, asyncio.SelectorEventLoop):
    """An event loop written in Rust, with everything that `asyncio.SelectorEventLoop` has.

    What runs per callback, per packet or per connection is Rust (`LoopCore`); what runs once per program is inherited.

    `tasks`: whether `create_task` and `create_future` make `aioxide.Task` and `aioxide.Future`, or asyncio's own.

    # Examples

        loop = aioxide.EventLoop(tasks=False)
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        loop.close()

    asyncio: `asyncio.SelectorEventLoop`, without its argument `selector`; docs/compat.md lists the differences.
    """

    # Kept out of the instance's dictionary: while that is empty, the interpreter finds methods without looking into it,
    # which is an eighth of `loop.call_soon(...)`.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_child_watcher",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_internal_fds",
        "_signal_handlers",
        "_ssock",
        "_thread_id",
        "_timer_cancelled_count",
        "_unix_server_sockets",
        "slow_callback_duration",
    )

    def __init__(self, selector: None = None, *, tasks: bool = True) -> None:  # noqa: F811 - the option's name
        if selector is not None:
            if not hasattr(self, "_ssock"):
                # It was never a loop: `__del__` has nothing to close.
                self._closed = True
            raise TypeError("aioxide.EventLoop has its own selector: none can be given")
        # The attributes of asyncio's base classes, whose __init__ would open a selector and a self-pipe of their own.
        self._timer_cancelled_count = 0
        self._default_executor = None
        self._internal_fds = 1  # what ends a wait
        self._thread_id: int | None = None
        self._clock_resolution = 1e-9
        self._exception_handler = None
        self.set_debug(coroutines._is_debug_mode())  # type: ignore[attr-defined]
        self.slow_callback_duration = 0.1
        self._current_handle = None
        self._task_factory = None
        self._coroutine_origin_tracking_enabled = False
        self._coroutine_origin_tracking_saved_depth = None
        self._asyncgens: weakref.WeakSet[Any] = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._executor_shutdown_called = False
        self._child_watcher: Any = None
        self._signal_handlers: dict[int, Any] = {}
        self._unix_server_sockets: dict[Any, Any] = {}
        self._ssock: socket.socket | None = None
        self._csock: socket.socket | None = None
        self._bind()
        self._own_classes = tasks
        logger.debug("Using aioxide's event loop in place of a selector")

    def __repr__(self) -> str:
        kind = type(self)
        name = "aioxide.EventLoop" if kind is EventLoop else kind.__name__
        return f"<{name} running={self.is_running()} closed={self.is_closed()} debug={self.get_debug()}>"

    _nest_patched = property(nesting.patched)

    def __del__(self, _warn: Any = warnings.warn, _asyncio: Any = unix_events) -> None:
        if _asyncio.sys is not None:
            super().__del__(_warn)  # type: ignore[call-arg]
        elif not self.is_closed():
            # The interpreter has taken apart the modules of asyncio that `close` is made of: what is queued is dropped.
            self._closed = True

    @as_in(asyncio.BaseEventLoop)
    def set_debug(self, enabled: bool) -> None:
        self._debug = enabled
        if self.is_running():
            self.call_soon_threadsafe(self._set_coroutine_origin_tracking, enabled)

    @as_in(asyncio.BaseEventLoop)
    def set_task_factory(self, factory: Any) -> None:
        super().set_task_factory(factory)
        self._eager_naming = eager.naming_of(factory)

    def _set_coroutine_origin_tracking(self, enabled: bool) -> None:
        super()._set_coroutine_origin_tracking(enabled)  # type: ignore[misc]
        if enabled:
            _aioxide._track_origins()

    @as_in(asyncio.BaseEventLoop)
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

    @as_in(asyncio.BaseEventLoop)
    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if isinstance(host, str) and (host[-1:].isdigit() or ":" in host) and not self._debug:
            # A numeric address asks nobody: no thread is needed.
            try:
                return socket.getaddrinfo(host, port, family, type, proto, flags | _NUMERIC)
            except OSError:
                pass  # a name after all, such as "host1", or an error that is better found in one place
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

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
            super()._close_self_pipe()  # type: ignore[misc]

    @as_in(asyncio.SelectorEventLoop)
    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        if self._ssock is None and not self.is_closed():
            # asyncio's self-pipe: the interpreter writes the numbers of signals into it.
            self._make_self_pipe()
            self._internal_fds = 1
        super().add_signal_handler(sig, callback, *args)


_aioxide._prepare_connecting(EventLoop, Socket)
