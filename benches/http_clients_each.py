"""How each client of `http_clients.py` does each kind of work: one function a client, which measures by `work`."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[], Awaitable[int]]


@dataclass
class Job:
    """What is measured: a kind of work, how often, by how many at a time, and how many bytes are to come of it."""

    kind: str
    url: str
    size: int
    count: int
    workers: int

    @property
    def body(self) -> bytes | None:
        return b"x" * self.size if self.kind == "post" else None

    @property
    def wanted(self) -> int:
        return 2 if self.kind == "post" else self.size


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def work(fetch: Fetch, job: Job) -> dict[str, float]:
    """Fetches so often, by so many at a time; the cost of one."""
    left = job.count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            got = await fetch()
            if got != job.wanted:
                raise SystemExit(f"{got} bytes came, not {job.wanted}")

    await asyncio.gather(*(worker() for _ in range(job.workers)))
    left = job.count
    begin, begin_cpu = time.perf_counter(), cpu()
    await asyncio.gather(*(worker() for _ in range(job.workers)))
    return figures(job, begin, begin_cpu)


def figures(job: Job, begin: float, begin_cpu: float) -> dict[str, float]:
    taken = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": (cpu() - begin_cpu) / job.count * 1e6, "rate": job.count / taken, "memory": memory / 1024}


async def with_aiohttp(module: Any, job: Job) -> dict[str, float]:
    # The certificate is trusted by SSL_CERT_FILE: with settings of its own a request takes a longer way.
    connector = module.TCPConnector(limit=100)
    async with module.ClientSession(connector=connector) as session:
        if job.kind == "ws":
            sockets = [await session.ws_connect(job.url) for _ in range(job.workers)]
            message = b"x" * job.size

            async def fetch() -> int:
                socket = sockets.pop()
                await socket.send_bytes(message)
                got = await socket.receive_bytes()
                sockets.append(socket)
                return len(got)

        elif job.kind == "stream":

            async def fetch() -> int:
                async with session.get(job.url) as response:
                    return sum([len(piece) async for piece in response.content.iter_any()])

        elif job.body is not None:

            async def fetch() -> int:
                async with session.post(job.url, data=job.body) as response:
                    return len(await response.read())

        else:

            async def fetch() -> int:
                async with session.get(job.url) as response:
                    return len(await response.read())

        return await work(fetch, job)


async def with_httpx(module: Any, job: Job, transport: Any = None) -> dict[str, float]:
    limits = module.Limits(max_connections=100, max_keepalive_connections=100)
    async with module.AsyncClient(
        limits=limits, verify=False, http2=job.kind == "http2", transport=transport, timeout=60
    ) as client:
        if job.kind == "stream":

            async def fetch() -> int:
                async with client.stream("GET", job.url) as response:
                    return sum([len(piece) async for piece in response.aiter_raw()])

        elif job.body is not None:

            async def fetch() -> int:
                return len((await client.post(job.url, content=job.body)).content)

        else:

            async def fetch() -> int:
                return len((await client.get(job.url)).content)

        return await work(fetch, job)


async def with_niquests(module: Any, job: Job) -> dict[str, float]:
    async with module.AsyncSession(pool_maxsize=100, disable_http2=job.kind != "http2", disable_http3=True) as session:

        async def fetch() -> int:
            if job.body is not None:
                return len((await session.post(job.url, data=job.body, verify=False)).content)
            return len((await session.get(job.url, verify=False)).content)

        return await work(fetch, job)


async def with_wreq(module: Any, job: Job) -> dict[str, float]:
    client = module.Client(verify=False)
    if job.kind == "ws":
        sockets = [await client.websocket(job.url) for _ in range(job.workers)]
        message = b"x" * job.size

        async def fetch() -> int:
            socket = sockets.pop()
            await socket.send(module.Message.from_binary(message))
            got = await socket.recv()
            sockets.append(socket)
            return len(got.data)

    elif job.kind == "stream":

        async def fetch() -> int:
            async with await client.get(job.url) as response, response.stream() as stream:
                return sum([len(piece) async for piece in stream])

    else:

        async def fetch() -> int:
            started = client.get(job.url) if job.body is None else client.post(job.url, body=job.body)
            async with await started as response:
                return len(await response.bytes())

    return await work(fetch, job)


async def with_pyreqwest(_module: Any, job: Job) -> dict[str, float]:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder()
    if job.kind in {"https", "http2"}:
        builder = builder.danger_accept_invalid_certs(True)
    async with builder.build() as client:
        if job.body is not None:

            async def fetch() -> int:
                response = await client.post(job.url).body_bytes(job.body).build().send()
                return len(await response.bytes())

        else:

            async def fetch() -> int:
                response = await client.get(job.url).build().send()
                return len(await response.bytes())

        return await work(fetch, job)


async def with_pycurl(module: Any, job: Job) -> dict[str, float]:
    """One handle that blocks, so one at a time; a program with more of them needs a thread for each."""
    from io import BytesIO

    handle = module.Curl()
    versions = {"http2": module.CURL_HTTP_VERSION_2TLS}
    handle.setopt(module.HTTP_VERSION, versions.get(job.kind, module.CURL_HTTP_VERSION_1_1))
    for option in (module.SSL_VERIFYPEER, module.SSL_VERIFYHOST):
        handle.setopt(option, 0)
    handle.setopt(module.URL, job.url)
    if job.body is not None:
        handle.setopt(module.POSTFIELDS, job.body)
        handle.setopt(module.HTTPHEADER, ["Expect:", "Content-Type: application/octet-stream"])

    def fetch() -> int:
        if job.kind == "stream":
            count = 0

            def note(piece: bytes) -> None:
                nonlocal count
                count += len(piece)

            handle.setopt(module.WRITEFUNCTION, note)
            handle.perform()
            return count
        buffer = BytesIO()
        handle.setopt(module.WRITEDATA, buffer)
        handle.perform()
        return len(buffer.getvalue())

    for _ in range(job.count // 10 + 1):
        if fetch() != job.wanted:
            raise SystemExit("other bytes came")
    begin, begin_cpu = time.perf_counter(), cpu()
    for _ in range(job.count):
        fetch()
    return figures(job, begin, begin_cpu)
