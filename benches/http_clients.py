#!/usr/bin/env python3
"""What a request costs in Python: aioxide.http beside aiohttp (on asyncio, uvloop, aioxide), httpx and others, one
nginx.

    benches/http_clients.py                       every client that is installed, 10 KiB, 1, 10 and 100 at a time
    benches/http_clients.py --sizes 100 10240 1048576 --clients aiohttp aioxide.http --rounds 7
    benches/http_clients.py --imports             CPU of the import and the first request

Each client runs in a process of its own, in turn, several rounds; the table has medians of CPU time (user and
system, of all
threads) for one request, requests per second, and the ratio to aiohttp on asyncio. One client is one process; nginx
has one
worker. `make bench-http` builds the extension first.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NGINX = """
worker_processes 1; daemon off; master_process off; pid {root}/pid; error_log {root}/error;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
sendfile on; tcp_nopush on; open_file_cache max=100;
server {{ listen 127.0.0.1:{port}; root {root}/www; default_type text/plain; }} }}
"""
# name -> (module that must be there, loop)
CLIENTS = {
    "aiohttp": ("aiohttp", "asyncio"),
    "aiohttp-uvloop": ("aiohttp", "uvloop"),
    "aiohttp-aioxide": ("aiohttp", "aioxide"),
    "aioxide.http": ("aioxide.http", "aioxide"),
    "httpx": ("httpx", "asyncio"),
    "httpx-Transport": ("httpx", "aioxide"),
    "httpx2": ("httpx2", "asyncio"),
    "httpx2-Transport": ("httpx2", "aioxide"),
    "niquests": ("niquests", "asyncio"),
    "wreq": ("wreq", "asyncio"),
    "pyreqwest": ("pyreqwest", "asyncio"),
}
Fetch = Callable[[], Awaitable[int]]


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def work(fetch: Fetch, requests: int, workers: int, size: int) -> dict[str, float]:
    """Fetches so often, by so many at a time; the cost of one."""
    left = requests

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            got = await fetch()
            if got != size:
                raise SystemExit(f"{got} bytes came, not {size}")

    await asyncio.gather(*(worker() for _ in range(workers)))
    left = requests
    begin, begin_cpu = time.perf_counter(), cpu()
    await asyncio.gather(*(worker() for _ in range(workers)))
    taken = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": (cpu() - begin_cpu) / requests * 1e6, "rate": requests / taken, "memory": memory / 1024}


async def with_aiohttp(module: Any, url: str, *arguments: int) -> dict[str, float]:
    connector = module.TCPConnector(limit=100)
    async with module.ClientSession(connector=connector) as session:

        async def fetch() -> int:
            async with session.get(url) as response:
                return len(await response.read())

        return await work(fetch, *arguments)


async def with_httpx(module: Any, url: str, *arguments: int, transport: Any = None) -> dict[str, float]:
    limits = module.Limits(max_connections=100, max_keepalive_connections=100)
    async with module.AsyncClient(limits=limits, transport=transport) as client:

        async def fetch() -> int:
            return len((await client.get(url)).content)

        return await work(fetch, *arguments)


async def with_niquests(module: Any, url: str, *arguments: int) -> dict[str, float]:
    async with module.AsyncSession(pool_maxsize=100) as session:

        async def fetch() -> int:
            return len((await session.get(url)).content)

        return await work(fetch, *arguments)


async def with_wreq(module: Any, url: str, *arguments: int) -> dict[str, float]:
    client = module.Client()

    async def fetch() -> int:
        async with await client.get(url) as response:
            return len(await response.bytes())

    return await work(fetch, *arguments)


async def with_pyreqwest(_module: Any, url: str, *arguments: int) -> dict[str, float]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def fetch() -> int:
            response = await client.get(url).build().send()
            return len(await response.bytes())

        return await work(fetch, *arguments)


def child(name: str, url: str, requests: int, workers: int, size: int) -> None:
    """Measures one client; prints the figures."""
    module_name, loop = CLIENTS[name]
    module = importlib.import_module(module_name)
    arguments = (requests, workers, size)
    if name.startswith("aiohttp") or name == "aioxide.http":
        main = with_aiohttp(module, url, *arguments)
    elif name.startswith("httpx"):
        transport = None
        if name.endswith("Transport"):
            from aioxide import http

            transport = http.Transport()
        main = with_httpx(module, url, *arguments, transport=transport)
    else:
        main = globals()[f"with_{name}"](module, url, *arguments)
    if loop == "aioxide":
        import aioxide

        figures = aioxide.run(main)
    elif loop == "uvloop":
        import uvloop

        figures = uvloop.run(main)
    else:
        figures = asyncio.run(main)
    print(json.dumps(figures))


def first_request(name: str, url: str) -> None:
    """The import and one request; prints its CPU time in milliseconds."""
    begin = cpu()
    module = importlib.import_module(name)

    async def main() -> None:
        async with module.ClientSession() as session, session.get(url) as response:
            await response.read()

    if name == "aioxide.http":
        import aioxide

        aioxide.run(main())
    else:
        asyncio.run(main())
    print(json.dumps((cpu() - begin) * 1000))


@contextmanager
def nginx(sizes: list[int]) -> Iterator[str]:
    """A server with a file of each size."""
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "www").mkdir()
        for size in sizes:
            (root / "www" / str(size)).write_bytes(b"x" * size)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (root / "conf").write_text(NGINX.format(root=root, port=port))
        with subprocess.Popen([binary, "-c", str(root / "conf")], stderr=subprocess.DEVNULL) as process:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def run_child(*arguments: object) -> Any:
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = os.environ | {"AIOXIDE": "0"}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def installed(names: list[str]) -> list[str]:
    found = []
    for name in names:
        module, loop = CLIENTS[name]
        try:
            if all(importlib.util.find_spec(needed) for needed in (module, loop)):
                found.append(name)
        except ModuleNotFoundError:
            pass
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=5)
    parser.add_argument("--first", nargs=2)
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=list(CLIENTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[10240])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 10, 100])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--imports", action="store_true")
    options = parser.parse_args()
    if options.child:
        name, url, *numbers = options.child
        child(name, url, *(int(number) for number in numbers))
        return
    if options.first:
        first_request(*options.first)
        return
    with nginx(options.sizes) as url:
        if options.imports:
            for name in ("aiohttp", "aioxide.http"):
                times = [run_child("--first", name, f"{url}/{options.sizes[0]}") for _ in range(options.rounds)]
                print(f"{name:18} import and first request: {statistics.median(times):6.1f} ms of CPU")
            return
        names = installed(options.clients)
        print("   size  at a time  client              us of CPU  (min..max)         requests/s  MiB  ratio")
        for size in options.sizes:
            count = max(20, options.requests * 10240 // max(size, 10240))
            for workers in options.workers:
                figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
                for _ in range(options.rounds):
                    for name in names:
                        result = run_child("--child", name, f"{url}/{size}", count, workers, size)
                        figures[name].append(result)
                base = statistics.median(run["cpu"] for run in figures[names[0]])
                for name in names:
                    costs = [run["cpu"] for run in figures[name]]
                    cost = statistics.median(costs)
                    rate = statistics.median(run["rate"] for run in figures[name])
                    memory = statistics.median(run["memory"] for run in figures[name])
                    print(
                        f"{size:7}  {workers:9}  {name:18}  {cost:9.1f}  ({min(costs):8.1f}..{max(costs):8.1f})  "
                        f"{rate:10.0f}  {memory:4.0f}  {cost / base:5.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
