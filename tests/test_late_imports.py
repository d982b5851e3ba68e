"""A loop that was used before can be made where nothing can be imported any more, as on stock asyncio."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAD = """
import asyncio, builtins, sys
if sys.argv[1] == "aioxide":
    import aioxide
    aioxide.install()

async def fails():
    raise ValueError("in a callback")

def callback():
    raise ValueError("in a callback")

async def main():
    reports = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    loop.call_soon(callback)
    lock, queue = asyncio.Lock(), asyncio.Queue()
    async with lock:
        queue.put_nowait(1)
    found = await asyncio.gather(queue.get(), asyncio.wait_for(asyncio.sleep(0, 2), 1))
    return found, len(reports)
"""

BLOCKED = """
first = asyncio.run(main())

def refuse(name, *args, **kwargs):
    raise ImportError("nothing is imported here")

imported, builtins.__import__ = builtins.__import__, refuse
print(asyncio.run(main()) == first, type(asyncio.new_event_loop()).__name__)
builtins.__import__ = imported
"""

TAKEN_OUT = """
first = asyncio.run(main())
for name in [name for name in sys.modules if name.partition(".")[0] == "aioxide"]:
    del sys.modules[name]
print(asyncio.run(main()) == first, type(asyncio.new_event_loop()).__name__)
"""

AT_THE_END = """
class Last:
    def __del__(self):
        loop = asyncio.new_event_loop()
        print(True, type(loop).__name__)
        loop.close()

async def wait(last):
    last.task = asyncio.current_task()
    await asyncio.sleep(100)

last = Last()
last.loop = asyncio.new_event_loop()
waiting = last.loop.create_task(wait(last))
last.loop.run_until_complete(asyncio.sleep(0))
"""


@pytest.mark.parametrize("program", [BLOCKED, TAKEN_OUT, AT_THE_END], ids=["blocked", "taken out", "at the end"])
def test_loop_is_made_where_nothing_is_imported(program: str, loop_name: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", HEAD + program, loop_name]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    name = "EventLoop" if loop_name == "aioxide" else "_UnixSelectorEventLoop"
    assert ended.stdout == f"True {name}\n", ended.stderr
