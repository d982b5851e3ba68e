#!/usr/bin/env python3
"""What a request costs in Python: aioxide.http beside aiohttp (on asyncio, uvloop, aioxide), httpx and others, one
nginx.

    benches/http_clients.py                       every client that is installed, 10 KiB, 1, 10 and 100 at a time
    benches/http_clients.py --sizes 100 10240 1048576 --clients aiohttp aioxide.http --rounds 7
    benches/http_clients.py --kinds stream post https http2 ws
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
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import http_clients_each
from http_clients_each import Job, cpu

NGINX = """
worker_processes 1; daemon off; master_process off; pid {root}/pid; error_log {root}/error;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
sendfile on; tcp_nopush on; open_file_cache max=100; client_max_body_size 0; client_body_buffer_size 1m;
root {root}/www; default_type text/plain; ssl_certificate {root}/pem; ssl_certificate_key {root}/key;
server {{ listen 127.0.0.1:{http}; location /post {{ return 200 "ok"; }} }}
server {{ listen 127.0.0.1:{https} ssl; }}
server {{ listen 127.0.0.1:{http2} ssl http2; keepalive_requests 100000000; }} }}
"""
# The echo of websockets, in a process of its own.
ECHO = """
import asyncio, sys
from aiohttp import web

async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket

app = web.Application()
app.router.add_get("/", echo)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
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
    "pycurl": ("pycurl", "asyncio"),
}
# What can be measured: the scheme, and the clients that can do it.
ALL = tuple(CLIENTS)
OF_AIOHTTP = ("aiohttp", "aiohttp-uvloop", "aiohttp-aioxide", "aioxide.http")
KINDS = {
    "get": ("http", ALL),
    "stream": ("http", (*OF_AIOHTTP, "httpx", "httpx-Transport", "httpx2", "httpx2-Transport", "wreq", "pycurl")),
    "post": ("http", ALL),
    "https": ("https", ALL),
    "http2": ("http2", tuple(name for name in ALL if not name.startswith("aiohttp"))),
    "ws": ("ws", (*OF_AIOHTTP, "wreq")),
}


def child(name: str, job: Job) -> None:
    """Measures one client; prints the figures."""
    module_name, loop = CLIENTS[name]
    module = importlib.import_module(module_name)
    if name.startswith("aiohttp") or name == "aioxide.http":
        main = http_clients_each.with_aiohttp(module, job)
    elif name.startswith("httpx"):
        transport = None
        if name.endswith("Transport"):
            from aioxide import http

            transport = http.Transport()
        main = http_clients_each.with_httpx(module, job, transport)
    else:
        main = getattr(http_clients_each, f"with_{name}")(module, job)
    if loop == "aioxide":
        import aioxide

        found = aioxide.run(main)
    elif loop == "uvloop":
        import uvloop

        found = uvloop.run(main)
    else:
        found = asyncio.run(main)
    print(json.dumps(found))


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


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def servers(sizes: list[int]) -> Iterator[dict[str, str]]:
    """nginx with a file of each size, and an echo of websockets; the URL for each scheme."""
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "www").mkdir()
        for size in sizes:
            (root / "www" / str(size)).write_bytes(b"x" * size)
        new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 3"
        names = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE"
        made = [*new.split(), *names.split(), "-keyout", str(root / "key"), "-out", str(root / "pem")]
        subprocess.run(made, check=True, capture_output=True)
        ports = dict(zip(("http", "https", "http2", "ws"), free_ports(4), strict=True))
        (root / "conf").write_text(NGINX.format(root=root, **ports))
        environment = os.environ | {"AIOXIDE": "0"}
        commands = ([binary, "-c", str(root / "conf")], [sys.executable, "-c", ECHO, str(ports["ws"])])
        running = [subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) for command in commands]
        try:
            for port in ports.values():
                for _ in range(500):
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    time.sleep(0.02)
            schemes = {"http": "http", "https": "https", "http2": "https", "ws": "ws"}
            os.environ["SSL_CERT_FILE"] = str(root / "pem")
            yield {name: f"{scheme}://127.0.0.1:{ports[name]}" for name, scheme in schemes.items()}
        finally:
            for process in running:
                process.terminate()
                process.wait()


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
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--first", nargs=2)
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=list(CLIENTS))
    parser.add_argument("--kinds", nargs="+", default=["get"], choices=list(KINDS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[10240])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 10, 100])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--imports", action="store_true")
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Job(**json.loads(options.child[1])))
        return
    if options.first:
        first_request(*options.first)
        return
    with servers(options.sizes) as urls:
        if options.imports:
            for name in ("aiohttp", "aioxide.http"):
                url = f"{urls['http']}/{options.sizes[0]}"
                times = [run_child("--first", name, url) for _ in range(options.rounds)]
                print(f"{name:18} import and first request: {statistics.median(times):6.1f} ms of CPU")
            return
        names = installed(options.clients)
        print("kind         size  at a time  client              us of CPU  (min..max)         requests/s  MiB  ratio")
        for kind in options.kinds:
            for size in options.sizes:
                for workers in options.workers:
                    measure(kind, size, workers, names, urls, options)


def measure(  # noqa: PLR0917
    kind: str, size: int, workers: int, names: list[str], urls: dict[str, str], options: argparse.Namespace
) -> None:
    """One block of rows: each client in turn, several rounds."""
    scheme, able = KINDS[kind]
    names = [name for name in names if name in able and (name != "pycurl" or workers == 1)]
    path = {"post": "post", "ws": ""}.get(kind, str(size))
    count = max(min(20, workers * 4), options.requests * 10240 // max(size, 10240))
    job = Job(kind, f"{urls[scheme]}/{path}", size, count, workers)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in list(names):
            try:
                results[name].append(run_child("--child", name, json.dumps(asdict(job))))
            except subprocess.CalledProcessError as error:
                names.remove(name)
                why = (error.stderr.strip() or str(error)).splitlines()[-1]
                print(f"{kind:6} {size:10}  {workers:9}  {name:18}  fails: {why}", flush=True)
    base = statistics.median(run["cpu"] for run in results[names[0]])
    for name in names:
        costs = [run["cpu"] for run in results[name]]
        cost = statistics.median(costs)
        rate = statistics.median(run["rate"] for run in results[name])
        memory = statistics.median(run["memory"] for run in results[name])
        print(
            f"{kind:6} {size:10}  {workers:9}  {name:18}  {cost:9.1f}  ({min(costs):8.1f}..{max(costs):8.1f})  "
            f"{rate:10.0f}  {memory:4.0f}  {cost / base:5.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
