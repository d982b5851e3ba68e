"""A program that is stuck: `python stuck.py LOOP SOCKET` answers on the socket and reports to standard error."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aioxide
from aioxide import monitor


async def one(mine: asyncio.Event, other: asyncio.Event) -> None:
    await other.wait()
    mine.set()


async def main() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks: list[Any] = [
        loop.create_task(one(first, second), name="a"),
        loop.create_task(one(second, first), name="b"),
    ]
    monitor.start(sys.argv[2])
    monitor.watchdog(limit=0.05)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    loop = aioxide.new_event_loop() if sys.argv[1] == "aioxide" else asyncio.SelectorEventLoop()
    loop.run_until_complete(main())
