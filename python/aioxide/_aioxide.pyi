"""The extension module: what `aioxide.EventLoop` has in Rust."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import Context
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypeVar, final, overload, type_check_only

from typing_extensions import Self, TypeVarTuple, Unpack, disjoint_base

from .http.contexts import _RequestContextManager
from .http.response import ClientResponse
from .timeouts import Timeout

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_F = TypeVar("_F", bound=asyncio.Future[Any])
_Ts = TypeVarTuple("_Ts")
# What an `async def` gives when it is called.
_Awaited: TypeAlias = Coroutine[Any, Any, _T]
_CoroutineLike: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]
_FutureLike: TypeAlias = asyncio.Future[_T] | Awaitable[_T]

@disjoint_base
class Handle(asyncio.Handle):
    """A callback scheduled by `call_soon`, `add_reader` and the like."""

    _source_traceback: Any
    def get_context(self) -> Context: ...

@final
class TimerHandle(Handle, asyncio.TimerHandle):  # type: ignore[misc]  # both have slots: made in Rust
    """A callback scheduled by `call_later` or `call_at`."""

@disjoint_base
class LoopCore:
    """The Rust half of `aioxide.EventLoop`; the Python class derives from it and from asyncio's own loop."""

    # What comes from asyncio's own loop, as the Python class sees it.
    def __getattr__(self, name: str) -> Any: ...

    poll_interval: int
    write_at_once: bool
    _eager_naming: int
    _stopping: bool
    _closed: bool
    _debug: bool
    @property
    def _ready(self) -> list[Any]: ...
    @property
    def _scheduled(self) -> list[Any]: ...
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    def _bind(self) -> None: ...
    def _run(self) -> None: ...
    def _run_once(self) -> None: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def get_debug(self) -> bool: ...
    def time(self) -> float: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    if sys.version_info >= (3, 14):
        def create_task(self, coro: _CoroutineLike[_T], **kwargs: Any) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: Any = None, context: Any = None
        ) -> asyncio.Task[_T]: ...
    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts], context: Context | None = None
    ) -> Handle: ...
    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts], context: Context | None = None
    ) -> Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> TimerHandle: ...
    def add_reader(self, fd: Any, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]) -> None: ...
    def add_writer(self, fd: Any, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]) -> None: ...
    def remove_reader(self, fd: Any) -> bool: ...
    def remove_writer(self, fd: Any) -> bool: ...
    def _add_reader(self, fd: Any, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]) -> Handle: ...
    def _add_writer(self, fd: Any, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]) -> Handle: ...
    def _remove_reader(self, fd: Any) -> bool: ...
    def _remove_writer(self, fd: Any) -> bool: ...
    def _add_callback(self, handle: Any) -> None: ...
    def _write_to_self(self) -> None: ...
    @property
    def _transports(self) -> Transports: ...
    def _ensure_fd_no_transport(self, fd: Any) -> None: ...
    def _make_stream_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: Any = None,
    ) -> Any: ...
    def _serve(self, protocol_factory: Any, sock: Any, server: Any, backlog: int, context: Any = None) -> None: ...
    def _try_recv(self, sock: Any, size: int) -> Any: ...
    def _try_recv_into(self, sock: Any, buffer: Any) -> Any: ...
    def _try_sendall(self, sock: Any, data: Any) -> Any: ...
    def _try_accept(self, sock: Any) -> Any: ...
    def _try_connect(self, sock: Any, address: Any) -> Any: ...
    def _give_up(self, sock: Any, future: Any) -> None: ...
    def _start_connecting(self, host: Any, port: Any) -> tuple[Connecting, Any] | None: ...
    def _make_connected_transport(self, connecting: Connecting, protocol: Any, waiter: Any) -> Any: ...
    def _descriptors(self) -> list[int]: ...
    def _watchers(self, fd: int) -> tuple[Any, Any]: ...

@final
@type_check_only
class Transports:
    """The transports by descriptor: `loop._transports`."""

    def __getitem__(self, fd: int, /) -> Any: ...
    def __setitem__(self, fd: int, transport: Any, /) -> None: ...
    def __delitem__(self, fd: int, /) -> None: ...
    def __contains__(self, fd: int, /) -> bool: ...
    def __len__(self) -> int: ...
    def get(self, fd: int, default: Any = None) -> Any: ...
    def values(self) -> list[Any]: ...

@final
@type_check_only
class Connecting:
    """A connection that has no transport yet."""

    def close(self) -> None: ...
    def to_socket(self) -> Any: ...

def _prepare_connecting(event_loop: Any, socket: Any) -> None: ...
def equip_stream_transport(class_: type[Any], /) -> None: ...
def equip_read_pipe_transport(class_: type[Any], /) -> None: ...
def equip_write_pipe_transport(class_: type[Any], /) -> None: ...
def equip_datagram_transport(class_: type[Any], /) -> None: ...
def prepare_datagram_transport(transport: Any, event_loop: Any, family: int) -> None: ...
def equip_tls_transport(class_: type[Any], /) -> None: ...
def _send_held_writes() -> None: ...
def equip_streams(reader: type[Any], protocol: type[Any], writer: type[Any]) -> None: ...

@disjoint_base
class Future(asyncio.Future[_T]):
    """A result that is to come; awaiting it waits for the result.

    # Cancel safety
    Cancelling a task that awaits a future cancels the future, too; see `shield`.

    # Examples

        future = asyncio.get_running_loop().create_future()
        assert type(future) is aioxide.Future
        future.set_result("there")
        assert await future == "there"

    asyncio: `asyncio.Future`; docs/compat.md lists the differences.
    """

@disjoint_base
class Task(asyncio.Task[_T_co], Future[_T_co]):  # type: ignore[misc,type-var]  # both layouts agree; as in typeshed
    """A coroutine that runs on the loop, beside others; awaiting the task waits for what the coroutine returns.

    Made by `create_task`, which also keeps it alive until it is done.

    # Cancel safety
    `cancel` raises CancelledError in the coroutine where it waits; the coroutine may clean up, or go on.

    # Examples

        task = aioxide.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel("no longer wanted")
        try:
            await task
        except asyncio.CancelledError:
            assert task.cancelled()

    asyncio: `asyncio.Task`; docs/compat.md lists the differences.
    """

    def get_context(self) -> Context: ...

class RustPanic(RuntimeError):
    """A Rust future panicked: a bug in the extension that it came from."""

_rust_api: Any

# `aioxide.gather` has the overloads.
def gather(*coros_or_futures: Any, return_exceptions: bool = False) -> asyncio.Future[list[Any]]: ...
@overload
async def sleep(delay: float) -> None: ...
@overload
async def sleep(delay: float, result: _T) -> _T:
    """Waits for `delay` seconds, then returns `result`. A delay of 0 or less lets the others run once.

    # Cancel safety
    A sleep that is cancelled ends at once.

    # Examples

        assert await aioxide.sleep(0.01, "slept") == "slept"

    asyncio: `asyncio.sleep`.
    """

def create_task(
    coro: _CoroutineLike[_T], *, name: str | None = None, context: Context | None = None
) -> asyncio.Task[_T]:
    """Begins to run a coroutine as a task of the running loop, in its next iteration; RuntimeError where no loop runs.

    `name`: what the `repr` and `get_name` show. `context`: where its variables are looked up, from Python 3.11 on.

    # Examples

        task = aioxide.create_task(asyncio.sleep(0, "done"), name="sleeper")
        assert task.get_name() == "sleeper" and await task == "done"

    asyncio: `asyncio.create_task`.
    """

@overload
def ensure_future(coro_or_future: _F, *, loop: asyncio.AbstractEventLoop | None = None) -> _F: ...  # type: ignore[overload-overlap]
@overload
def ensure_future(coro_or_future: Awaitable[_T], *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Task[_T]:
    """Returns a future as it is, and a task for what else can be awaited; TypeError for what cannot.

    # Examples

        task = aioxide.ensure_future(asyncio.sleep(0))
        assert aioxide.ensure_future(task) is task
        await task

    asyncio: `asyncio.ensure_future`.
    """

def shield(arg: _FutureLike[_T]) -> asyncio.Future[_T]:
    """Waits for what is given, and does not pass a cancellation on to it: who waits is cancelled, and it goes on.

    # Examples

        task = aioxide.create_task(asyncio.sleep(0.01, "saved"))
        try:
            await aioxide.wait_for(aioxide.shield(task), timeout=0)
        except asyncio.TimeoutError:
            assert await task == "saved"

    asyncio: `asyncio.shield`.
    """

async def wait(
    fs: Iterable[_F], *, timeout: float | None = None, return_when: str = "ALL_COMPLETED"
) -> tuple[set[_F], set[_F]]:
    """Waits for tasks and futures; returns those that are done and those that are not, as two sets.

    `timeout`: seconds; when they are over it returns, and raises nothing. `return_when`: `asyncio.FIRST_COMPLETED`,
    `asyncio.FIRST_EXCEPTION` or `asyncio.ALL_COMPLETED`. ValueError for no futures, TypeError for coroutines.

    # Cancel safety
    Cancelling it cancels none of what it waits for.

    # Examples

        fast, slow = (aioxide.create_task(asyncio.sleep(delay)) for delay in (0, 60))
        done, pending = await aioxide.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED)
        assert done == {fast} and pending == {slow}
        slow.cancel()

    asyncio: `asyncio.wait`.
    """

async def wait_for(fut: _FutureLike[_T], timeout: float | None) -> _T:
    """Waits for one awaitable; after `timeout` seconds it is cancelled, and TimeoutError raised. None: without a limit.

    # Cancel safety
    Cancelling it cancels what it waits for; see `shield`.

    # Examples

        try:
            await aioxide.wait_for(asyncio.sleep(60), timeout=0.01)
        except asyncio.TimeoutError:
            pass

    asyncio: `asyncio.wait_for`.
    """

def as_completed(fs: Iterable[_FutureLike[_T]], *, timeout: float | None = None) -> Completions[_T]:
    """Iterates over awaitables in the order in which they end.

    `for` yields awaitables, each of which waits for the next result; `async for` yields the tasks as they are done.
    `timeout`: seconds for all; then TimeoutError is raised where the next one is waited for.

    # Examples

        async def after(delay):
            return await asyncio.sleep(delay, delay)

        assert [await next_one for next_one in aioxide.as_completed([after(0.02), after(0)])] == [0, 0.02]

    asyncio: `asyncio.as_completed`.
    """

def timeout(delay: float | None) -> Timeout:
    """Makes a block (`async with`) that is cancelled after `delay` seconds, which raises TimeoutError out of it.

    `delay`: None for no limit.

    # Examples

        async with aioxide.timeout(10) as limit:
            limit.reschedule(asyncio.get_running_loop().time() + 20)
            await asyncio.sleep(0)
        assert not limit.expired()

    asyncio: `asyncio.timeout`.
    """

def timeout_at(when: float | None) -> Timeout:
    """As `timeout`, for a time of the loop's clock (`loop.time()`).

    # Examples

        async with aioxide.timeout_at(asyncio.get_running_loop().time() + 10):
            await asyncio.sleep(0)

    asyncio: `asyncio.timeout_at`.
    """

def _track_origins() -> None: ...
def _dress(class_: type[Any], stock: type[Any], /) -> None: ...
def _equip_timeouts(class_: type[Any], stock: type[Any], states: list[Any], /) -> None: ...
def _equip_groups(class_: type[Any], stock: type[Any], /) -> None: ...

@type_check_only
class Completions(Iterator[_Awaited[_T]], AsyncIterator[asyncio.Future[_T]]):
    """What `as_completed` gives, for `for` and for `async for`."""

    def __next__(self) -> _Awaited[_T]: ...
    def __anext__(self) -> _Awaited[asyncio.Future[_T]]: ...

@disjoint_base
class _TimeoutCore:
    _state: Any
    _when: Any
    _task: Any
    _cancelling: int
    _timeout_handler: Any
    def __init__(self, when: float | None) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None: ...
    def when(self) -> float | None: ...
    def reschedule(self, when: float | None) -> None: ...
    def expired(self) -> bool: ...

@disjoint_base
class _TaskGroupCore:
    _loop: Any
    _parent_task: Any
    _tasks: Any
    _errors: Any
    _base_error: Any
    _on_completed_fut: Any
    _entered: bool
    _exiting: bool
    _aborting: bool
    _parent_cancel_requested: bool
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    if sys.version_info >= (3, 14):
        def create_task(self, coro: _CoroutineLike[_T], **kwargs: Any) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: str | None = None, context: Context | None = None
        ) -> asyncio.Task[_T]: ...

def _learn_layout(first: Any, second: Any, coro: Any, name: str, awaiter: Any, event_loop: Any) -> bool: ...
def _learned() -> list[tuple[str, bool]]: ...
def _pending_tasks(event_loop: asyncio.AbstractEventLoop | None = None) -> list[asyncio.Task[Any]]: ...

class QueueShutDown(Exception):
    """Raised by a queue that was shut down; asyncio's from Python 3.13 on."""

@disjoint_base
class _QueueCore:
    def __init__(self, maxsize: int = 0) -> None: ...
    maxsize: Any
    _maxsize: Any
    _queue: Any
    _getters: Any
    _putters: Any
    _unfinished_tasks: int
    _finished: Any
    _is_shutdown: bool
    _loop: Any
    def shutdown(self, immediate: bool = False) -> None: ...
    def _format(self) -> str: ...

def equip_queues(fifo: type[Any], lifo: type[Any], sorted: type[Any], /) -> None: ...

@disjoint_base
class _LockCore:
    _locked: bool
    _waiters: Any
    _loop: Any
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    async def acquire(self) -> Literal[True]: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def _wake_up_first(self) -> None: ...
    def _get_loop(self) -> Any: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

@disjoint_base
class _EventCore:
    _value: bool
    _waiters: Any
    _loop: Any
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    async def wait(self) -> Literal[True]: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def _get_loop(self) -> Any: ...

@disjoint_base
class _ConditionCore:
    _lock: Any
    _waiters: Any
    _loop: Any
    acquire: Callable[[], _Awaited[Literal[True]]]
    release: Callable[[], None]
    locked: Callable[[], bool]
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    def __init__(self, lock: Any = None) -> None: ...
    async def wait(self) -> Literal[True]: ...
    async def wait_for(self, predicate: Callable[[], _T]) -> _T: ...
    def notify(self, n: int = 1) -> None: ...
    def notify_all(self) -> None: ...
    def _notify(self, n: int, /) -> Any: ...
    def _get_loop(self) -> Any: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

@disjoint_base
class _BarrierCore:
    @property
    def parties(self) -> int: ...
    @property
    def n_waiting(self) -> int: ...
    @property
    def broken(self) -> bool: ...
    _parties: int
    _count: int
    _state: Any
    _cond: Any
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    def __init__(self, parties: int) -> None: ...
    async def wait(self) -> int: ...
    async def reset(self) -> None: ...
    async def abort(self) -> None: ...
    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *args: object) -> None: ...

@disjoint_base
class _SemaphoreCore:
    _value: int
    _waiters: Any
    _loop: Any
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    def __init__(self, value: int = 1) -> None: ...
    async def acquire(self) -> Literal[True]: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def _wake_up_next(self) -> Any: ...
    def _get_loop(self) -> Any: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

class _BoundedSemaphoreCore(_SemaphoreCore):
    _bound_value: int
    def release(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

def _before_collection(phase: str, info: dict[str, Any]) -> None: ...

# The part of `aioxide.http` that runs per request.

_http_version: str
_ready: _Ready
_Seconds: TypeAlias = tuple[float | None, ...]

@final
class _Ready:
    """What needs not be waited for."""

    def __await__(self) -> Generator[Any]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> None: ...

@final
class _WebSocket:
    """A connected websocket."""

    @property
    def protocol(self) -> str | None: ...
    @property
    def is_compressed(self) -> bool: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    def send(self, kind: int, data: Any) -> _Awaited[None]: ...
    def receive(self) -> _Awaited[tuple[int, Any, str | None] | None]: ...
    def close(self, code: int, reason: str) -> _Awaited[None]: ...

@final
class _Tls:
    """Settings of TLS."""

    def __new__(cls, settings: dict[str, Any]) -> Self: ...

@disjoint_base
class _Response:
    """The base of `ClientResponse`."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def headers(self) -> Any: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def _version(self) -> tuple[int, int]: ...
    @property
    def _url_text(self) -> str: ...
    @property
    def _plain_session(self) -> Any: ...
    @property
    def _is_started(self) -> bool: ...
    @property
    def _is_streamed(self) -> bool: ...
    @property
    def _is_over(self) -> bool: ...
    @property
    def _is_closed(self) -> bool: ...
    _body: bytes | None
    def _header(self, name: str) -> str | None: ...
    def _header_values(self, name: str) -> list[str]: ...
    def _set_head_limits(self, line: int, field: int, count: int) -> None: ...
    def _answer(
        self,
        status: int,
        reason: bytes,
        headers: list[tuple[str, str | bytes]],
        url: str,
        body: AsyncIterator[bytes] | None,
    ) -> None: ...
    def _stream(self) -> None: ...
    @property
    def timings(self) -> dict[str, float | None]: ...
    def _chunk(self) -> _Awaited[bytes | None]: ...
    def _chunk_now(self) -> bytes | None: ...
    def _release(self) -> None: ...
    def read(self) -> _Awaited[bytes]: ...
    def __aenter__(self) -> _Awaited[Self]: ...
    def __aexit__(self, *_exception: Any) -> Any: ...

@disjoint_base
class _Connector:
    """The base of the connectors."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    def _open(self, settings: dict[str, Any]) -> None: ...
    def _observe(self) -> None: ...
    def _websocket(
        self,
        response: _Response,
        url: str,
        settings: dict[str, Any],
        timeouts: _Seconds,
        tls: _Tls | None,
        proxy: Any,
    ) -> _Awaited[_WebSocket]: ...
    def _shut(self) -> None: ...
    def _counts(self) -> tuple[int, int]: ...
    def _exchange(
        self,
        response: _Response,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: Any,
        length: int | None,
        timeouts: _Seconds,
        decompress: bool,
        tls: _Tls | None = None,
        proxy: Any = None,
        happened: list[Any] | None = None,
        http10: bool = False,
    ) -> _Awaited[_Response]: ...

@disjoint_base
class _Session:
    """The base of `ClientSession`."""

    @staticmethod
    def _replace_connections(yes: bool) -> None: ...
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self: ...
    def _set_plain(
        self,
        connector: _Connector,
        response_class: type[_Response],
        headers: list[tuple[str, str]],
        timeouts: _Seconds,
        decompress: bool,
    ) -> None: ...
    def _set_special(self) -> None: ...
    def get(self, url: Any, **kwargs: Any) -> _RequestContextManager[ClientResponse]: ...
    def post(self, url: Any, **kwargs: Any) -> _RequestContextManager[ClientResponse]: ...
    def put(self, url: Any, **kwargs: Any) -> _RequestContextManager[ClientResponse]: ...
    def patch(self, url: Any, **kwargs: Any) -> _RequestContextManager[ClientResponse]: ...

@final
class _FastRequest:
    """What `get` returns for a plain request."""

    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Generator[Any, None, Any]: ...
    def __aenter__(self) -> _Awaited[Any]: ...
    def __aexit__(self, *exception: Any) -> _Awaited[None]: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, *exception: Any) -> Any: ...
    def close(self) -> Any: ...
