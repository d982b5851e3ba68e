"""Daemon threads without a loop that use objects of a loop at the end of the interpreter: it ends in order.

What such a thread releases, compares, shows or makes runs the program's code below the library's own functions.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROLOGUE = """
import asyncio, copy, gc, sys, threading, time, warnings
import aioxide
if LOOP == "aioxide":
    aioxide.install()

started = threading.Event()

def work(*_):
    started.set()
    {work}

class Thing:
    def __call__(self, *_):
        work()
    def __del__(self):
        work()
    def __eq__(self, other):
        work()
        return False
    def __hash__(self):
        work()
        return 1
    def __lt__(self, other):
        work()
        return False
    def __bool__(self):
        work()
        return True
    def __repr__(self):
        work()
        return "thing"

class Failure(Exception):
    def __init__(self, *_):
        work()

loop = asyncio.new_event_loop()

def use():
"""

EPILOGUE = """
def use_for_ever():
    while True:
        use()

threading.Thread(target=use_for_ever, daemon=True).start()
started.wait()
time.sleep(0.02)
"""

USES = {
    "releases a result": "loop.create_future().set_result(Thing())",
    "releases a chain": """
        outer = loop.create_future()
        outer.set_result(loop.create_future())
        outer.result().set_result(Thing())
    """,
    "releases a callback": "loop.create_future().add_done_callback(Thing())",
    "compares callbacks": """
        future = loop.create_future()
        future.add_done_callback(Thing())
        future.remove_done_callback(work)
    """,
    "makes an exception": "future = loop.create_future(); future.set_exception(Failure); future.exception()",
    "is told of a lost exception": "loop.set_exception_handler(work); loop.create_future().set_exception(Failure())",
    "cancels with a message": "loop.create_future().cancel(Thing())",
    "collects a cycle": """
        future = loop.create_future()
        future.set_result([future, Thing()])
        del future
        gc.collect()
    """,
    "shows a future": "future = loop.create_future(); future.set_result(Thing()); repr(future)",
    "releases handles": "asyncio.Handle(Thing(), (Thing(),), loop)",
    "cancels timers": "loop.call_later(100, Thing()).cancel()",
    "compares timers": "asyncio.TimerHandle(Thing(), id, (), loop) < asyncio.TimerHandle(Thing(), id, (), loop)",
    "moves items": "queue = asyncio.Queue(); queue.put_nowait(Thing()); queue.get_nowait()",
    "releases a queue": "queue = asyncio.LifoQueue(); queue.put_nowait(Thing()); repr(queue)",
    "copies a queue": """
        queue = asyncio.Queue()
        queue.put_nowait(Thing())
        copy.copy(queue)
        copy.deepcopy(asyncio.Event())
    """,
    "closes a coroutine": "asyncio.sleep(1, Thing()).close()",
    "forgets a coroutine": "warnings.showwarning = work; warnings.simplefilter('always'); asyncio.sleep(1, Thing())",
    "throws into a coroutine": """
        waiting = asyncio.Lock().acquire()
        try:
            waiting.throw(Failure)
        except Failure:
            pass
    """,
    "feeds a reader": """
        class Transport:
            def pause_reading(self):
                work()
        reader = asyncio.StreamReader(1, loop)
        reader.set_transport(Transport())
        reader.feed_data(b"abcd")
        repr(reader)
    """,
    "replaces a factory": "loop.set_task_factory(Thing()); loop.set_task_factory(None)",
    "closes a loop": "other = asyncio.new_event_loop(); other.call_soon(Thing()); other.close()",
}

WORK = {"computes": "sum(range(1000))", "lets others run": "time.sleep(0.001)"}


def end_of(source: str) -> tuple[int, str]:
    command = [sys.executable, "-Wignore", "-c", source]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("use", USES)
def test_interpreter_ends_beside_a_thread_without_a_loop(loop_name: str, use: str, work: str) -> None:
    source = PROLOGUE.replace("{work}", WORK[work]) + textwrap.indent(textwrap.dedent(USES[use]).strip(), "    ")
    assert end_of(f"LOOP = {loop_name!r}\n{source}{EPILOGUE}") == (0, "")
