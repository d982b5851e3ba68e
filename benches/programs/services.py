"""What the clients talk to: nginx, Redis and PostgreSQL of our own, on the loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fetch_compare import nginx

FILE_BYTES = 10 * 1024


def find(program: str) -> str:
    """Finds a program, also where Debian keeps PostgreSQL's."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        raise SystemExit(f"{program} is needed: apt-get install nginx-light redis-server postgresql")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until the process listens."""
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


@contextlib.contextmanager
def running(command: list[str], port: int, **options: Any) -> Iterator[int]:
    """Runs a server; yields its port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """A PostgreSQL with the superuser `test`, who needs no password."""
    options: dict[str, Any] = {"cwd": folder}
    if os.getuid() == 0:  # it refuses to be run by root
        options |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    data, port = str(folder / "data"), free_port()
    initialise = [find("initdb"), "-D", data, "-A", "trust", "-U", "test", "--no-sync", "--locale=C", "-E", "UTF8"]
    subprocess.run(initialise, check=True, capture_output=True, **options)
    command = [find("postgres"), "-D", data, "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    with running(command, port, **options):
        yield port


@contextlib.contextmanager
def services(wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Runs those of nginx, redis and postgres that are wanted; yields where they are."""
    where: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aioxide-apps-")))
        folder.chmod(0o755)
        parts = {name: folder / name for name in ("root", "nginx", "redis", "postgres")}
        for part in parts.values():
            part.mkdir()
        if "nginx" in wanted:
            (parts["root"] / "file").write_bytes(b"x" * FILE_BYTES)
            where["url"] = stack.enter_context(nginx(parts["root"], parts["nginx"])) + "/file"
        if "redis" in wanted:
            port = free_port()
            command = [find("redis-server"), "--port", str(port), "--save", "", "--dir", str(parts["redis"])]
            where["redis"] = stack.enter_context(running(command, port))
        if "postgres" in wanted:
            where["postgres"] = stack.enter_context(postgres(parts["postgres"]))
        yield where
