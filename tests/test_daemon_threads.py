"""Daemon threads that are at work when the interpreter ends: the process ends as if they were not there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROLOGUE = """
import asyncio, os, socket, threading, time
import aioxide

def in_thread(call):
    threading.Thread(target=call, daemon=True).start()

def run(start, loop):
    in_thread(lambda: (start(), loop.run_forever()))

started = threading.Event()

def work():
    started.set()
    {work}

class Source:
    # A descriptor that is always readable.
    def __init__(self, type=socket.SOCK_STREAM):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, type)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
    def feed(self):
        try:
            self.theirs.send(b"x")
        except BlockingIOError:
            pass

def ask(method):
    # What asks the loop to make a transport of a source, fed by the protocol.
    async def connect():
        source = Source(socket.SOCK_DGRAM if method == "create_datagram_endpoint" else socket.SOCK_STREAM)
        Base = asyncio.BufferedProtocol if method == "buffered" else asyncio.Protocol
        class Protocol(Base, asyncio.DatagramProtocol):
            def received(self, *_):
                work()
                source.feed()
            data_received = datagram_received = buffer_updated = received
            def get_buffer(self, size_hint):
                return bytearray(100)
        source.feed()
        if method == "connect_read_pipe":
            await loop.connect_read_pipe(Protocol, source.ours)
        else:
            name = "create_connection" if method == "buffered" else method
            await getattr(loop, name)(Protocol, sock=source.ours)
        await loop.create_future()
    return lambda: loop.create_task(connect())

loop = {loop}
"""

EPILOGUE = """
started.wait()
time.sleep(0.01)
"""

PROGRAMS = {
    "callbacks": """
        def callback():
            work()
            loop.call_soon(callback)
        run(lambda: loop.call_soon(callback), loop)
    """,
    "timers": """
        def callback():
            work()
            loop.call_later(0, callback)
        run(lambda: loop.call_later(0, callback), loop)
    """,
    "steps": """
        async def task():
            while True:
                work()
                await asyncio.sleep(0)
        run(lambda: loop.create_task(task()), loop)
    """,
    "gathered": """
        async def child():
            work()
        async def task():
            while True:
                await aioxide.gather(child(), child())
        run(lambda: loop.create_task(task()), loop)
    """,
    "readers": """
        source = Source()
        source.feed()
        run(lambda: loop.add_reader(source.ours, work), loop)
    """,
    "connections": "run(ask('create_connection'), loop)",
    "buffered": "run(ask('buffered'), loop)",
    "datagrams": "run(ask('create_datagram_endpoint'), loop)",
    "pipes": "run(ask('connect_read_pipe'), loop)",
    "idle": "run(lambda: loop.call_soon(started.set), loop)",
    "executor": """
        async def task():
            while True:
                await loop.run_in_executor(None, work)
        run(lambda: loop.create_task(task()), loop)
    """,
    "failing callbacks": """
        loop.set_exception_handler(lambda loop, context: work())
        def callback():
            loop.call_soon(callback)
            1 / 0
        run(lambda: loop.call_soon(callback), loop)
    """,
    "destructors": """
        class Argument:
            def __del__(self):
                work()
                post()
        def post():
            loop.call_soon(id, Argument())
        run(post, loop)
    """,
    "posts": """
        def post():
            while True:
                started.set()
                loop.call_soon_threadsafe(int)
        in_thread(post)
        in_thread(post)
    """,
    "posts in debug mode": """
        loop.set_debug(True)
        def post():
            while True:
                started.set()
                loop.call_soon_threadsafe(int)
        in_thread(post)
        in_thread(post)
    """,
    "sorted queues": """
        class Item:
            def __lt__(self, other):
                work()
                return id(self) < id(other)
        def sort():
            queue = aioxide.PriorityQueue()
            while True:
                queue.put_nowait(Item())
                queue.put_nowait(Item())
                queue.get_nowait()
        in_thread(sort)
    """,
    "derived queues": """
        class Derived(aioxide.Queue):
            def _put(self, item):
                work()
                super()._put(item)
            def _get(self):
                work()
                return super()._get()
        def move():
            queue = Derived()
            while True:
                queue.put_nowait(1)
                queue.get_nowait()
        in_thread(move)
    """,
    "shown results": """
        class Result:
            def __repr__(self):
                work()
                return "result"
        def show():
            future = aioxide.Future(loop=loop) if LOOP == "aioxide" else loop.create_future()
            future.set_result(Result())
            while True:
                repr(future)
        in_thread(show)
    """,
    "another loop": """
        other = asyncio.SelectorEventLoop()
        async def main():
            while True:
                work()
                await asyncio.sleep(0)
        def start():
            aioxide.Task(main(), loop=other) if LOOP == "aioxide" else other.create_task(main())
        run(start, other)
    """,
}

WORK = {"computes": "sum(range(1000))", "lets others run": "time.sleep(0.001)"}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("program", PROGRAMS)
def test_interpreter_ends_beside_a_daemon_thread(loop_name: str, program: str, work: str) -> None:
    makers = {"asyncio": "asyncio.SelectorEventLoop()", "aioxide": "aioxide.new_event_loop()"}
    text = PROLOGUE.replace("{work}", WORK[work]).replace("{loop}", makers[loop_name])
    source = f"LOOP = {loop_name!r}\n" + text + textwrap.dedent(PROGRAMS[program]) + EPILOGUE
    command = [sys.executable, "-Wignore", "-c", source]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


JUMPS = """
#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>
void jump(void) { jmp_buf here; if (!setjmp(here)) longjmp(here, 1); }
static void wait_a_while(void) { sleep(1); }
void wait_at_exit(void) { atexit(wait_a_while); }
"""

JUMPING = """
import asyncio, ctypes, sys, threading, time
import aioxide
library = ctypes.PyDLL(sys.argv[1])
started = threading.Event()

def run():
    async def main():
        library.jump()
        await asyncio.sleep(0.01)
        started.set()
        # It wants the interpreter's lock back while that ends.
        asyncio.get_running_loop().call_soon(time.sleep, 0.5)
        await asyncio.sleep(30)
    (aioxide.EventLoop if sys.argv[2] == "aioxide" else asyncio.SelectorEventLoop)().run_until_complete(main())

threading.Thread(target=run, daemon=True).start()
started.wait()
time.sleep(0.1)
library.wait_at_exit()
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler of C")
def test_jump_of_c_code_in_a_daemon_thread_changes_nothing(loop_name: str, tmp_path: Path) -> None:
    """`longjmp` empties the list by which glibc tells a thread of its end; some libraries report errors by it."""
    (tmp_path / "jumps.c").write_text(JUMPS)
    library = tmp_path / "jumps.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "jumps.c"], check=True)
    command = [sys.executable, "-Wignore", "-c", JUMPING, str(library), loop_name]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
