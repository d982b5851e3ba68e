"""Runs one client on one loop against a server. Prints JSON: that it is ready, and, once told to go, what it did."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker import factory

# One operation.
Operation = Callable[[], Awaitable[object]]
AT_ONCE = 10
WARM_UP_SECONDS = 0.5


@asynccontextmanager
async def aiohttp_client(where: dict[str, Any]) -> AsyncIterator[Operation]:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def get() -> None:
            async with session.get(where["url"]) as response:
                await response.read()

        yield get


@asynccontextmanager
async def httpx_client(where: dict[str, Any]) -> AsyncIterator[Operation]:
    import httpx

    async with httpx.AsyncClient() as client:
        yield lambda: client.get(where["url"])


@asynccontextmanager
async def redis_client(where: dict[str, Any]) -> AsyncIterator[Operation]:
    import redis.asyncio

    async with redis.asyncio.Redis(port=where["redis"]) as client:
        await client.set("key", b"x" * 100)
        yield lambda: client.get("key")


@asynccontextmanager
async def asyncpg_client(where: dict[str, Any]) -> AsyncIterator[Operation]:
    import asyncpg

    async with asyncpg.create_pool(
        host="127.0.0.1", port=where["postgres"], user="test", database="postgres", min_size=AT_ONCE, max_size=AT_ONCE
    ) as pool:
        yield lambda: pool.fetchval("select 1")


CLIENTS: dict[str, Any] = {
    "aiohttp client, 10 KiB": aiohttp_client,
    "httpx, 10 KiB": httpx_client,
    "redis-py GET": redis_client,
    "asyncpg select 1": asyncpg_client,
}


async def repeat(operation: Operation, seconds: float) -> int:
    """Does the operation again and again in several tasks; returns how often."""
    end, count = time.perf_counter() + seconds, 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await operation()
            count += 1

    await asyncio.gather(*[work() for _ in range(AT_ONCE)])
    return count


async def measure(app: str, where: dict[str, Any], seconds: float) -> dict[str, float]:
    async with CLIENTS[app](where) as operation:
        await repeat(operation, WARM_UP_SECONDS)
        print(json.dumps({"pid": os.getpid()}), flush=True)
        sys.stdin.readline()
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        count = await repeat(operation, seconds)
        after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - start
    return {
        "count": count,
        "wall": wall,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--where", type=json.loads, required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    new_loop = factory(options.loop)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    print(json.dumps(loop.run_until_complete(measure(options.app, options.where, options.seconds))), flush=True)


if __name__ == "__main__":
    main()
