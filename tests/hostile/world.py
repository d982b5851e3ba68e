"""One random program: what it has, and everything that it may do with it at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import gc
import os
import random
import socket
import sys
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import aioxide

from . import things

# How many things a program does in all, and how deep inside of each other.
ACTS = 250
DEEPEST = 4
# Whether to tell on standard error what is done: to find out what a seed does.
TRACE = bool(os.environ.get("HOSTILE_TRACE"))
# What would block, start processes or threads, or end what the program runs in.
NEVER = {
    "run_forever", "run_until_complete", "run_in_executor", "set_default_executor", "shutdown_default_executor",
    "subprocess_exec", "subprocess_shell", "add_signal_handler", "remove_signal_handler", "getaddrinfo",
    "getnameinfo", "print_stack", "connect_read_pipe", "connect_write_pipe", "start_tls", "serve_forever",
    "create_server", "create_unix_server", "create_unix_connection", "create_datagram_endpoint",
    "connect_accepted_socket", "_run_once", "_run", "sendfile", "sock_sendfile", "sock_connect", "start_serving",
    "_make_subprocess_transport", "_start_serving", "breakpointhook", "_read_from_self", "_write_to_self",
    "_close_self_pipe", "_make_self_pipe", "_run_forever_setup", "_run_forever_cleanup", "_getaddrinfo_debug",
}  # fmt: skip
FACTORIES = [
    "Queue", "LifoQueue", "PriorityQueue", "Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier",
    "TaskGroup", "Timeout", "Future", "Task",
]  # fmt: skip
AWAITING = ["sleep", "gather", "wait", "wait_for", "shield", "as_completed", "create_task", "ensure_future", "timeout"]
SPECIAL = ["__init__", "__repr__", "__aenter__", "__aexit__", "__await__", "__iter__", "__anext__", "__next__",
           "__del__", "__enter__", "__exit__", "__eq__", "__hash__", "__class_getitem__", "__reduce_ex__"]  # fmt: skip
VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")


class World:
    """The state of a program."""

    def __init__(self, seed: int, report: Callable[[str], None]) -> None:
        self.random = random.Random(seed)
        self.report = report
        self.left = ACTS
        self.depth = 0
        self.pool: list[Any] = []
        self.sockets: list[socket.socket] = []
        self.loop: Any = None
        self.ways = [
            self.call_method, self.call_method, self.call_method, self.call_method, self.make, self.make,
            self.make_awaitable, self.make_awaitable, self.drive, self.drive, self.start_task, self.set_attribute,
            self.get_attribute, self.forget, self.collect, self.row, self.watch_weakly, self.connect, self.call_soon,
            self.derived, self.copy, self.in_context, self.settle, self.settle, self.feed,
        ]  # fmt: skip

    # Chance.

    def flip(self) -> bool:
        return self.random.random() < 0.5

    def rarely(self) -> bool:
        return self.random.random() < 0.1

    def thing(self) -> Any:
        """Something that the program has, or something new and simple."""
        if self.pool and self.random.random() < 0.6:
            return self.random.choice(self.pool)
        kind = self.random.randrange(16)
        match kind:
            case 0 | 1 | 2:
                return things.Imp(self.random.randrange(-1, 5))
            case 3:
                return things.Piece(b"piece" * self.random.choice([1, 100_000]))
            case 4:
                return things.Array(b"array")
            case 5:
                return things.Text(self.random.choice(["name", "_loop", "ALL_COMPLETED", "socket", "acquire"]))
            case 6:
                return things.Number(self.random.randrange(-2, 10))
            case 7:
                return self.exception()
            case 8:
                return lambda *_, **__: self.act()
            case 9:
                return contextvars.copy_context()
            case 10:
                return [self.thing() for _ in range(self.random.randrange(3))] if self.depth < DEEPEST else []
            case 11:
                return self.random.choice(
                    [0, 1, -1, 0.0, 0.001, 1e9, float("nan"), 2**70, True, b"", b"bytes\n", "text"]
                )
            case _:
                return None

    def exception(self) -> Any:
        return self.random.choice([
            things.Failure, things.NoInstance, things.Cancellation, StopIteration, StopAsyncIteration, GeneratorExit,
            KeyboardInterrupt, SystemExit, ValueError(1), asyncio.CancelledError, asyncio.CancelledError("message"),
            asyncio.TimeoutError(), asyncio.InvalidStateError, OSError(1, "x"), Exception, StopIteration(3),
        ])  # fmt: skip

    def keep(self, *made: Any) -> Any:
        for each in made:
            if len(self.pool) < 60:
                self.pool.append(each)
            else:
                self.pool[self.random.randrange(60)] = each
        return made[-1] if made else None

    def arguments(self) -> list[Any]:
        return [self.thing() for _ in range(self.random.choice([0, 1, 1, 1, 2, 3]))]

    # The act.

    def act(self) -> None:
        """Does something, unless enough has been done; what goes wrong in Python is as good as anything."""
        if self.left <= 0 or self.depth >= DEEPEST or self.loop is None:
            return
        self.left -= 1
        self.depth += 1
        way = self.random.choice(self.ways)
        if TRACE:
            print("  " * self.depth, self.left, way.__name__, file=sys.stderr, flush=True)
        try:
            way()
        except BaseException as error:
            self.examine(error)
            if self.random.random() < 0.08:
                raise
        finally:
            self.depth -= 1

    def examine(self, error: BaseException) -> None:
        """Reports what no program may ever see."""
        if (
            isinstance(error, SystemError)
            or type(error).__name__ in ("PanicException", "RustPanic")
            or (isinstance(error, RuntimeError) and error.args and "internal error" in str(error.args[0]))
        ):
            self.report(f"{type(error).__name__}: {error}")

    # Ways.

    def call_method(self) -> None:
        target = self.random.choice([*self.pool, self.loop])
        if isinstance(target, (socket.socket, types.FunctionType, types.ModuleType, list)):
            return
        names = [name for name in dir(type(target)) if not name.startswith("__") and name not in NEVER]
        name = self.random.choice([*names, *names, *SPECIAL])
        if target is self.loop and name in ("close", "stop", "__init__", "__del__") and not self.rarely():
            return
        if name.startswith(("add_", "remove_", "_add_", "_remove_")) and name.endswith(("reader", "writer")):
            arguments: list[Any] = [self.descriptor(), things.Imp()]
        elif name.startswith("sock_"):
            arguments = [self.descriptor(), self.random.choice([1, 10, things.Piece(b"x"), things.Array(10)])]
        else:
            arguments = self.arguments()
        named = {}
        if self.rarely():
            named[self.random.choice(["context", "msg", "loop", "name", "timeout", "limit"])] = self.thing()
        if TRACE:
            print(
                "  " * self.depth, type(target), name, [type(a) for a in arguments], named, file=sys.stderr, flush=True
            )
        self.keep(getattr(target, name)(*arguments, **named))

    def descriptor(self) -> Any:
        if not self.sockets or self.rarely():
            pair = socket.socketpair()
            for end in pair:
                end.setblocking(False)
            self.sockets += pair
        return self.random.choice(self.sockets)

    def make(self) -> None:
        name = self.random.choice(FACTORIES)
        factory = getattr(aioxide, name, None) or getattr(asyncio, name, None)
        if factory is None:
            return
        if self.rarely():
            factory = things.derive(factory)
        if name == "Future":
            self.keep(factory(loop=self.loop) if self.flip() else self.loop.create_future())
        elif name == "Task":
            self.keep(factory(self.coroutine(), loop=self.loop))
        else:
            self.keep(factory(*self.arguments()) if self.flip() else factory())

    def make_awaitable(self) -> None:
        function = getattr(aioxide, self.random.choice(AWAITING), None)
        if function is None:
            return
        if self.flip():
            self.keep(function(*self.arguments()))
        elif function is aioxide.wait:
            futures = [each for each in self.pool if asyncio.isfuture(each)]
            ends = ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED", things.Text("FIRST_COMPLETED")]
            timeout = self.random.choice([None, 0, 0.001])
            self.keep(function(futures[:3], timeout=timeout, return_when=self.random.choice(ends)))
        elif function is aioxide.wait_for:
            self.keep(function(self.awaitable(), self.random.choice([None, 0, 0.001, things.Imp()])))
        elif function in (aioxide.gather, aioxide.shield):
            self.keep(function(*[self.awaitable() for _ in range(1 if function is aioxide.shield else 3)]))
        elif function is aioxide.as_completed:
            self.keep(function([self.awaitable() for _ in range(3)]))
        else:
            self.keep(function(self.awaitable() if "task" in function.__name__ else 0))

    def awaitable(self) -> Any:
        candidates = [each for each in self.pool if hasattr(type(each), "__await__")]
        return self.random.choice(candidates) if candidates and self.flip() else self.coroutine()

    async def coroutine(self) -> Any:
        for _ in range(self.random.randrange(4)):
            try:
                self.act()
                if self.flip():
                    await self.awaitable()
                elif self.flip():
                    candidates = [each for each in self.pool if hasattr(type(each), "__aenter__")]
                    if candidates:
                        async with self.random.choice(candidates):
                            self.act()
                            await asyncio.sleep(0)
                else:
                    await asyncio.sleep(0)
            except BaseException as error:
                self.examine(error)
                if self.flip():
                    raise
        return self.thing()

    def drive(self) -> None:
        """Resumes something by hand that is to be awaited, or ends it."""
        candidates = [each for each in self.pool if hasattr(each, "send") and hasattr(each, "throw")]
        if not candidates:
            return
        target = self.random.choice(candidates)
        match self.random.randrange(5):
            case 0:
                self.keep(target.throw(self.exception()))
            case 1:
                target.close()
            case 2:
                self.keep(target.__await__())
            case _:
                self.keep(target.send(self.thing() if self.rarely() else None))

    def start_task(self) -> None:
        self.keep(self.loop.create_task(self.coroutine() if self.flip() else self.awaitable()))

    def set_attribute(self) -> None:
        target = self.random.choice([*self.pool, self.loop])
        if isinstance(target, (types.FunctionType, types.ModuleType, type)):
            return
        names = [name for name in dir(type(target)) if not name.startswith("__") and name not in NEVER]
        if not names:
            return
        name = self.random.choice(names)
        if target is self.loop and not self.rarely():
            return
        if self.rarely():
            delattr(target, name)
        else:
            setattr(target, name, self.thing())

    def get_attribute(self) -> None:
        target = self.random.choice([*self.pool, self.loop])
        name = self.random.choice(dir(type(target)))
        if not isinstance(target, (types.FunctionType, types.ModuleType, type)) and name not in NEVER:
            self.keep(getattr(target, name))

    def forget(self) -> None:
        for _ in range(min(len(self.pool), self.random.randrange(4))):
            taken = self.pool.pop(self.random.randrange(len(self.pool)))
            del taken

    def collect(self) -> None:
        gc.collect(self.random.randrange(3))

    def row(self) -> None:
        """Things that hold each other in a row."""
        last = self.thing()
        for _ in range(self.random.choice([3, 200])):
            future = self.loop.create_future()
            match self.random.randrange(3):
                case 0:
                    future.set_result(last)
                case 1:
                    future.add_done_callback(partial(things.Imp(1), last))
                case 2:
                    future.cancel(last)
            last = self.loop.call_soon(things.Imp(1), last) if self.rarely() else future
        self.keep(last)

    def watch_weakly(self) -> None:
        if self.pool:
            self.keep(weakref.ref(self.random.choice(self.pool), lambda _: self.act()))

    def connect(self) -> None:
        if len(self.sockets) > 30:
            return
        kind = self.random.randrange(4)
        ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM if kind == 3 else socket.SOCK_STREAM)
        for end in (ours, theirs):
            end.setblocking(False)
        self.sockets.append(theirs)
        if kind == 3:
            self.start(self.loop.create_datagram_endpoint(things.Datagrams, sock=ours))
        elif kind == 2:
            self.start(asyncio.open_connection(sock=ours))
        else:
            self.start(self.loop.create_connection([things.Protocol, things.Buffered][kind], sock=ours))

    def start(self, coroutine: Any) -> None:
        async def keep() -> None:
            made = await coroutine
            self.keep(*made)

        self.keep(self.loop.create_task(keep()))

    def feed(self) -> None:
        """The other ends of the connections read and write."""
        for each in self.random.sample(self.sockets, min(3, len(self.sockets))):
            if each.fileno() < 0:
                continue
            match self.random.randrange(4):
                case 0:
                    each.send(self.random.choice([b"line\n", b"x" * 3000, b"0"]))
                case 1:
                    each.recv(1 << 18)
                case 2 if self.rarely():
                    each.close()
        writers = [each for each in self.pool if hasattr(each, "write") and hasattr(each, "is_closing")]
        if writers:
            writer = self.random.choice(writers)
            data = self.random.choice([things.Piece(b"y" * 300_000), things.Array(b"z"), b"bytes", self.thing()])
            if self.flip():
                writer.write(data)
            else:
                writer.writelines([data, things.Piece(b"last")])

    def call_soon(self) -> None:
        way = self.random.randrange(4)
        context = contextvars.copy_context() if self.rarely() else None
        callback = self.random.choice([things.Imp(1), lambda *_: self.act(), self.thing()])
        if way == 0:
            self.keep(self.loop.call_later(self.random.choice([0, 0.001, things.Imp(0)]), callback, context=context))
        elif way == 1:
            self.keep(self.loop.call_soon_threadsafe(callback, self.thing(), context=context))
        else:
            self.keep(self.loop.call_soon(callback, *self.arguments(), context=context))

    def derived(self) -> None:
        if self.pool:
            base = type(self.random.choice(self.pool))
            if base.__module__.startswith("aioxide"):
                self.keep(things.derive(base)(*self.arguments()))

    def copy(self) -> None:
        if self.pool:
            target = self.random.choice(self.pool)
            self.keep((copy.copy if self.flip() else copy.deepcopy)(target))

    def in_context(self) -> None:
        context = contextvars.copy_context()
        context.run(VARIABLE.set, self.thing())
        context.run(self.act)
        self.keep(context)

    def settle(self) -> None:
        futures = [each for each in self.pool if isinstance(each, asyncio.Future)]
        if not futures:
            return
        future = self.random.choice(futures)
        match self.random.randrange(4):
            case 0:
                future.set_result(self.thing())
            case 1:
                future.set_exception(self.exception())
            case 2:
                future.cancel(self.thing())
            case 3:
                future.add_done_callback(self.random.choice([things.Imp(1), lambda _: self.act()]))

    # The program.

    async def main(self) -> None:
        while self.left > 0:
            self.act()
            await asyncio.sleep(0)

    def run(self) -> None:
        """Runs the program to its end, and takes it apart."""
        things.world = self
        gc.set_threshold(self.random.choice([1, 7, 50, 700]))
        make_loop: Any = aioxide.new_event_loop
        if self.rarely():
            make_loop = things.derive(aioxide.EventLoop)
        self.loop = loop = make_loop()
        aioxide.EventLoop.set_exception_handler(loop, self.handle)
        # What a derived loop overrides may raise.
        with contextlib.suppress(BaseException):
            if self.rarely():
                aioxide.EventLoop.set_debug(loop, True)
            if self.rarely():
                aioxide.EventLoop.set_task_factory(loop, things.Imp(1))
        for _ in range(20):
            if self.left <= 0 or aioxide.EventLoop.is_closed(loop):
                break
            try:
                # A program may well lose its own main task.
                aioxide.EventLoop.call_later(loop, 0.2, partial(aioxide.EventLoop.stop, loop))
                loop.run_until_complete(self.main())
            except BaseException as error:
                self.examine(error)
        self.finish(loop)

    def finish(self, loop: Any) -> None:
        self.left = 40
        for step in (self.pool.clear, gc.collect, partial(aioxide.EventLoop.close, loop), gc.collect):
            try:
                step()
            except BaseException as error:
                self.examine(error)
        self.left = 0
        self.pool.clear()
        self.loop = None
        for each in self.sockets:
            each.close()
        gc.collect()

    def handle(self, loop: Any, details: dict[str, Any]) -> None:
        error = details.get("exception")
        if error is not None:
            self.examine(error)
        self.act()


def unraisable(world: World, info: Any) -> None:
    """What a destructor raises is looked at too."""
    if info.exc_value is not None:
        world.examine(info.exc_value)


def run(seed: int, report: Callable[[str], None]) -> None:
    """Runs the program of the seed."""
    world = World(seed, report)
    sys.unraisablehook = partial(unraisable, world)
    world.run()
