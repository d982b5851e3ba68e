"""A service with everything wrong with it, to look into with `aioxide top`: what is stuck, and why?

    pip install "aioxide[http]"
    AIOXIDE_MONITOR=1 python examples/stuck_service.py &
    aioxide top

50 000 tasks of a dozen kinds wait for each other, for a pool of ten database connections and for timers. Among them

* two transfers hold a lock each and wait for the other's: a deadlock;
* every five seconds one request calls a function that blocks the loop for most of a second;
* every seven seconds the garbage collector takes its time;
* some requests wait for another server, which does not answer: they await futures of Rust.

`--tasks N` makes it smaller, `--seconds N` ends it.
"""

import argparse
import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioxide
from aioxide import http, monitor


class Service:
    """What its tasks share."""

    def __init__(self) -> None:
        self.database = aioxide.Semaphore(10)
        self.orders: asyncio.Queue[int] = aioxide.Queue()
        self.events: asyncio.Queue[int] = aioxide.Queue(100)
        self.ready = aioxide.Event()
        self.refill = aioxide.Condition()
        self.accounts = [aioxide.Lock() for _ in range(2)]
        self.settings = aioxide.Lock()


async def handle_request(service: Service) -> None:
    async with service.database:
        await asyncio.sleep(60)


async def check_out(service: Service) -> None:
    await handle_request(service)


async def take_orders(service: Service) -> None:
    while True:
        await service.orders.get()


async def publish_events(service: Service) -> None:
    while True:
        await service.events.put(1)


async def wait_until_ready(service: Service) -> None:
    await service.ready.wait()


async def keep_stock(service: Service) -> None:
    async with service.refill:
        await service.refill.wait()


async def read_settings(service: Service) -> None:
    async with service.settings:
        await asyncio.sleep(3600)


async def expire_session(service: Service) -> None:
    await asyncio.sleep(600)


async def send_mail(service: Service) -> None:
    async with asyncio.timeout(900):
        await service.ready.wait()


async def render_page(service: Service) -> None:
    await asyncio.gather(*(asyncio.sleep(300) for _ in range(2)))


async def keep_alive(service: Service) -> None:
    while True:
        await asyncio.sleep(1)


KINDS = [
    (handle_request, 12),
    (check_out, 6),
    (take_orders, 6),
    (publish_events, 4),
    (wait_until_ready, 6),
    (keep_stock, 3),
    (read_settings, 3),
    (expire_session, 5),
    (send_mail, 3),
    (render_page, 1),
    (keep_alive, 1),
]
"""What runs, and how many fiftieths of the tasks."""


async def transfer(service: Service, source: int, target: int) -> None:
    async with service.accounts[source]:
        await asyncio.sleep(0.1)
        async with service.accounts[target]:
            print("a transfer was made")


def build_report() -> None:
    """Blocks: it is a call that waits, in a coroutine that should have used `asyncio.to_thread`."""
    time.sleep(0.8)


async def handle_report() -> None:
    build_report()


class Entry:
    """In a circle of its own, which only the collector finds; its end is code of the program."""

    __slots__ = ("itself",)

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        self.itself = self


def fill_cache() -> None:
    for _ in range(1_200_000):
        Entry()


async def collect() -> None:
    gc.disable()
    await asyncio.to_thread(fill_cache)
    gc.enable()
    gc.collect()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/price"


async def fetch_price(session: http.ClientSession, url: str) -> None:
    async with session.get(url) as response:
        await response.read()


async def troubles() -> None:
    """Makes the loop block now and then."""
    for second in range(3600):
        await asyncio.sleep(1)
        if second % 5 == 2:
            asyncio.create_task(handle_report(), name=f"report {second // 5 + 1}")
        if second % 7 == 5:
            asyncio.create_task(collect(), name=f"collect {second // 7 + 1}")


async def main(tasks: int, seconds: float) -> None:
    monitor.watchdog(limit=0.1)
    service = Service()
    async with silent_server() as url, http.ClientSession() as session:
        running = [
            asyncio.create_task(kind(service), name=f"{kind.__name__} {number}")
            for kind, share in KINDS
            for number in range(1, tasks * share // 50 + 1)
        ]
        running += [asyncio.create_task(fetch_price(session, url), name=f"price {number}") for number in range(1, 21)]
        running.append(asyncio.create_task(transfer(service, 0, 1), name="transfer there"))
        running.append(asyncio.create_task(transfer(service, 1, 0), name="transfer back"))
        running.append(asyncio.create_task(troubles(), name="troubles"))
        print(f"{len(running)} tasks are running; look into them with: aioxide top", flush=True)
        await asyncio.wait(running, timeout=seconds)
        for task in running:
            task.cancel()
        await asyncio.wait(running)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    aioxide.run(main(options.tasks, options.seconds))
