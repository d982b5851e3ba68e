"""Real servers on the loopback, and the loops that real libraries run on here."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aioxide
import pytest

HERE = Path(__file__).parent
Factory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=["asyncio", "aioxide", "installed"])
def loop_factory(request: pytest.FixtureRequest) -> Iterator[Factory]:
    """Makes loops: each test proves itself on stock asyncio first; installed, asyncio's own names are ours as well."""
    if request.param == "asyncio":
        yield asyncio.SelectorEventLoop
    elif request.param == "aioxide":
        yield aioxide.new_event_loop
    else:
        aioxide.install()
        yield aioxide.new_event_loop
        aioxide.uninstall()


@pytest.fixture
def run(loop_factory: Factory) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine, and fails when it takes longer than a minute or the loop reports something."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        reports: list[dict[str, Any]] = []

        async def main() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
            return await asyncio.wait_for(coroutine, 60)

        result = aioxide.run(main(), loop_factory=loop_factory)
        assert not reports, reports
        return result

    return run


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 30) -> None:
    """Waits for a server of another process; there is no event of it to wait for."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def accepts(address: Any) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def find(program: str) -> str:
    """Finds a server program, also where Debian keeps those of PostgreSQL."""
    places = [os.environ.get("PATH", ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        pytest.fail(f"{program} is not installed: scripts/compat.sh installs it")
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own; gives the folder of its socket."""
    # Not in pytest's folder: what starts another pytest shuts that to everybody but root.
    folder = Path(tempfile.mkdtemp(prefix="aioxide-postgres-"))
    options: dict[str, Any] = {"cwd": folder}
    if os.getuid() == 0:  # PostgreSQL refuses to be run by root
        options |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    data = str(folder / "data")
    initialise = [find("initdb"), "-D", data, "-A", "trust", "-U", "test", "--no-sync", "--locale=C", "-E", "UTF8"]
    subprocess.run(initialise, check=True, capture_output=True, **options)
    settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    control = [find("pg_ctl"), "-D", data, "-s", "-w"]
    log = ["-l", str(folder / "log")]
    subprocess.run([*control, *log, "-o", settings, "start"], check=True, stdout=subprocess.DEVNULL, **options)
    try:
        yield str(folder)
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **options)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own; gives the path of its socket."""
    folder = tmp_path_factory.mktemp("redis")
    path = str(folder / "socket")
    command = [find("redis-server"), "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(path), server)
        yield path
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs, and ends them after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
