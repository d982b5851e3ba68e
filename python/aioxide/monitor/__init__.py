"""Seeing inside of a program that runs: what each task waits on, what blocks the loop, who can never go on.

    import aioxide.monitor

    aioxide.monitor.start()     # opens a socket that only this user can ask; `aioxide top` finds it
    aioxide.monitor.watchdog()  # reports what keeps a loop from running
    aioxide.monitor.snapshot()  # the same from inside, as a dictionary
    with aioxide.monitor.trace("trace.json"): ...  # what runs meanwhile, for Perfetto

It works on aioxide's loop and on asyncio's. Nothing of it runs before one of its functions is called. The guide "Seeing
inside" and the schema of the crate `aioxide-monitor` say what a snapshot holds.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from .. import _aioxide
from .telemetry import Telemetry

__all__ = ["Report", "deadlocks", "lag", "snapshot", "start", "stop", "trace", "unwatch", "watchdog"]

Report = dict[str, Any]
"""What the watchdog tells: `kind` is "blocked" or "deadlock".

"blocked" has `loop` (its id in a snapshot), `cause` ("call", "gc" or "held"), `seconds`, `task` (a name, or None),
`stack` (of (file, line, function), the innermost last), `suppressed` (how often the same place was not reported) and
`text`. "deadlock" has `tasks` (how many), `cycle` and `ends` (ids of a snapshot) and `text`.
"""

_logger = logging.getLogger("aioxide.monitor")


class _Native(Protocol):
    """`_aioxide._Monitor`."""

    def serve(self, path: str | None = None) -> Path: ...
    def close(self) -> None: ...
    def descriptors(self) -> list[int]: ...
    def snapshot(self, stacks: bool, limit: int | None) -> str: ...
    def deadlocks(self) -> str: ...
    def lag(self) -> str: ...
    def loops(self) -> str: ...
    def record(self, seconds: float) -> None: ...
    def recorded(self) -> bytes: ...
    def watch(
        self,
        limit: float,
        every: float,
        deadlocks: bool,
        report: Callable[[Report], object],
        collector: Any,
        *,
        beaten: Callable[[int, float, float, bool], object] | None,
        leave: Callable[[], object] | None,
    ) -> None: ...
    def unwatch(self) -> None: ...
    def collector_watch(self) -> Any: ...


class _State:
    """What this process has."""

    def __init__(self) -> None:
        # A signal's handler may ask, too.
        self.lock = threading.RLock()
        self.monitor: _Native | None = None
        self.collector: Any = None


_state = _State()


def start(path: str | os.PathLike[str] | None = None) -> Path:
    """Opens the socket on which the program answers, and returns where it is.

    `path`: in a folder that only this user may enter; by default `$XDG_RUNTIME_DIR/aioxide/PID.sock`, or
    `/tmp/aioxide-UID/PID.sock` where there is no such variable. A thread in Rust answers, also while the loops are
    blocked; as long as nobody asks, it sleeps. The socket is closed by `stop`, and at the end of the program. A child
    made by `os.fork` has none.

    # Errors
    PermissionError for a folder that others may enter; OSError when another program answers at `path`; RuntimeError
    when it is open already.

    # Examples

        import aioxide.monitor

        aioxide.monitor.start()
        aioxide.monitor.stop()
    """
    return _monitor().serve(None if path is None else os.fspath(path))


def stop() -> None:
    """Closes the socket, and ends the watchdog. Without effect when neither is there."""
    unwatch()
    if _state.monitor is not None:
        _state.monitor.close()


def snapshot(*, stacks: bool = False, limit: int | None = None) -> dict[str, Any]:
    """Returns all tasks of all loops and what each waits on, as a dictionary of the documented schema.

    `stacks`: each task's whole stack, not only where it waits. `limit`: at most so many tasks (200 000 by default);
    `left_out` says how many are missing. The loop on whose thread it is called does not run meanwhile.

    # Examples

        async def main():
            asyncio.create_task(asyncio.Event().wait(), name="waiting")
            await asyncio.sleep(0)
            nodes = aioxide.monitor.snapshot()["nodes"]
            print([node["name"] for node in nodes])  # the event, and both tasks
    """
    found: dict[str, Any] = json.loads(_monitor().snapshot(stacks, limit))
    return found


def deadlocks() -> list[dict[str, Any]]:
    """Returns who can never go on: a dictionary for each circle, and one for each loop on which nothing can happen.

    Each has `tasks` (how many cannot go on because of it), `cycle` or `ends` (ids of a snapshot) and `text`, for
    people. The guide tells what cannot be known.
    """
    found: list[dict[str, Any]] = json.loads(_monitor().deadlocks())
    return found


def lag() -> list[dict[str, Any]]:
    """Returns how late each loop answers, by the watchdog's heartbeats: the last, the longest, a histogram."""
    found: list[dict[str, Any]] = json.loads(_monitor().lag())
    return found


@contextmanager
def trace(path: str | os.PathLike[str], *, seconds: float = 60.0) -> Iterator[None]:
    """Records what the running loops run meanwhile, and writes it to `path` for Perfetto (ui.perfetto.dev).

    A track for each task and one for callbacks, events and so on; an arrow from what woke a task to its step. Loops of
    aioxide only, of all threads, those that run when it begins. It ends with the block, or after `seconds` (60 at
    most), or 200 000 runs; the file is written at the end of the block, also when that raises. Meanwhile the loops are
    slower, and ask the kernel in each iteration. `aioxide top PID --trace FILE` does the same from outside.

    # Errors
    RuntimeError when no loop of aioxide is running, or one is being recorded already; OSError when the file cannot be
    opened, before the block runs; ValueError for a time that is none.

    # Examples

        async def main():
            with aioxide.monitor.trace("trace.json"):
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
    """
    monitor = _monitor()
    # First: a file that is there already is left alone when nothing can be recorded.
    monitor.record(min(seconds, 60.0))
    pid = os.getpid()
    recorded = b""
    try:
        with open(path, "wb") as file:
            try:
                yield
            finally:
                # The file of a child that was forked in the block is its parent's, and so is the recording.
                if os.getpid() == pid:
                    recorded = monitor.recorded()
                    file.write(recorded)
    finally:
        if not recorded and os.getpid() == pid:
            monitor.recorded()


def watchdog(
    limit: float = 0.5,
    *,
    callback: Callable[[Report], object] | None = None,
    deadlocks: bool | Literal["exit"] = True,
    every: float = 10.0,
    telemetry: bool = True,
) -> None:
    """Reports what keeps a running loop from its work for longer than `limit` seconds, while it does so.

    `callback`: called with each report, on the watchdog's own thread; by default reports are warnings of the logger
    `aioxide.monitor`, which go to standard error where logging is not set up. `deadlocks`: also say, once, when nothing
    can happen on any loop any more and tasks are waiting; with "exit" the loop then ends by SystemExit, with the status
    70, so that whoever started the program sees it. `every`: the same place is reported no more often than that, in
    seconds. `telemetry`: where the program has set a provider of OpenTelemetry's metrics or traces, also give it the
    loops' numbers and a span for each step that blocked; nothing otherwise.

    # Errors
    RuntimeError when the watchdog runs already; ValueError for a limit below a millisecond.

    # Examples

        aioxide.monitor.watchdog(limit=0.2)
        aioxide.monitor.unwatch()
    """

    tells = _telemetry if telemetry else None

    def report(found: Report) -> None:
        if found["kind"] == "blocked":
            found["text"] = _text(found)
            if tells is not None:
                tells.blocked(found)
        try:
            if callback is not None:
                callback(found)
            else:
                _logger.warning("%s", found["text"])
        finally:
            _forget_thread()

    monitor = _monitor()
    with _state.lock:
        collector = monitor.collector_watch()
        beaten = None if tells is None else tells.beaten
        leave = _leave if deadlocks == "exit" else None
        monitor.watch(limit, every, bool(deadlocks), report, collector, beaten=beaten, leave=leave)
        _state.collector = collector
        gc.callbacks.append(collector)


def unwatch() -> None:
    """Ends the watchdog. Without effect when there is none."""
    with _state.lock:
        _let_collector_go()
    if _state.monitor is not None:
        _state.monitor.unwatch()


DEADLOCK_STATUS = 70
"""What a program ends with after a deadlock, if it asked for that: an error inside of it, as sysexits.h has it."""


def _leave() -> None:
    """Called by the loop that has nothing left to do."""
    raise SystemExit(DEADLOCK_STATUS)


def _loops() -> list[dict[str, Any]]:
    """The running loops and their numbers; empty when no watchdog runs."""
    with _state.lock:
        monitor = _state.monitor if _state.collector is not None else None
    found: list[dict[str, Any]] = [] if monitor is None else json.loads(monitor.loops())
    return found


_telemetry = Telemetry(_loops)


def _let_collector_go() -> None:
    collector, _state.collector = _state.collector, None
    _telemetry.forget()
    if collector in gc.callbacks:
        gc.callbacks.remove(collector)


def _forget_thread() -> None:
    """Who logs on a thread that is not Python's has an entry made for it, which would stay."""
    active = vars(threading)["_active"]
    if type(active.get(threading.get_ident())).__name__ == "_DummyThread":
        del active[threading.get_ident()]


_CAUSES = {
    "call": "by a call that does not return",
    "gc": "by the garbage collector",
    "held": "while nobody was let into the interpreter (C code that keeps its lock); the stack is that afterwards",
}


def _text(found: Report) -> str:
    """A report for people, as a traceback looks."""
    who = f"task {found['task']!r}" if found["task"] else "a callback"
    lines = [f"loop blocked for {found['seconds']:.2f} s in {who} {_CAUSES[found['cause']]}:"]
    lines += [f'  File "{file}", line {line}, in {function}' for file, line, function in found["stack"]]
    if found["suppressed"]:
        lines.append(f"  (the same place {found['suppressed']} times since the last report)")
    return "\n".join(lines)


def _monitor() -> _Native:
    with _state.lock:
        if _state.monitor is None:
            from importlib.metadata import PackageNotFoundError, version

            try:
                ours = version("aioxide")
            except PackageNotFoundError:
                ours = ""
            name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
            runtime = f"{platform.python_implementation()} {platform.python_version()}"
            # It is no part of the stub: this module alone calls it.
            make = cast("Callable[[str, str, str], _Native]", vars(_aioxide)["_Monitor"])
            _state.monitor = make(name, runtime, ours)
            atexit.register(stop)
        return _state.monitor


def _forget() -> None:
    """In the child of a fork: the threads are the parent's, and so is the socket."""
    _state.lock = threading.RLock()
    _let_collector_go()
    monitor, _state.monitor = _state.monitor, None
    if monitor is not None:
        # Whoever connects must not wait for this process. The numbers stay taken: no thread is here to close them.
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor in monitor.descriptors():
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        monitor.close()
        monitor.unwatch()


os.register_at_fork(after_in_child=_forget)
