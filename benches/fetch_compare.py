#!/usr/bin/env python3
"""Compares `aioxide fetch` with curl, wget2 and aria2c on small and on large files from a local nginx.

Each program runs in its own process, in turn, in several rounds; ratios are taken within a round and their medians
printed with minimum and maximum, for `docs/benchmarks.md`. Peak memory comes from a run of its own.

    make bench-fetch                            both cases, 5 rounds
    make bench-fetch BENCH="--case small --rounds 9"
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOBS = 100


@dataclass
class Case:
    """A list of files to download."""

    name: str
    title: str
    sizes: list[int]

    @property
    def total(self) -> int:
        return sum(self.sizes)


@dataclass
class Result:
    """What one run cost."""

    wall: float
    cpu: float


def cases() -> dict[str, Case]:
    """The issue's two cases; sizes are the same in every run."""
    sizes = random.Random(1)
    small = [sizes.randint(100, 10 * 1024) for _ in range(10_000)]
    return {
        "small": Case("small", "10 000 files of 100 B to 10 KiB, 100 at a time", small),
        "large": Case("large", "10 files of 100 MiB, all at once", [100 * 1024 * 1024] * 10),
    }


def programs() -> dict[str, Callable[[pathlib.Path, pathlib.Path], list[str]]]:
    """Each program's command line, from the list of URLs and the directory to write into."""
    aioxide = str(ROOT / "target" / "release" / "aioxide")

    def curl(urls: pathlib.Path, out: pathlib.Path) -> list[str]:
        config = urls.with_suffix(".curl")
        if not config.exists():
            lines = [f'url = "{url}"\nremote-name' for url in urls.read_text().split()]
            config.write_text("\n".join(lines) + "\n")
        options = ["-s", "-S", "--no-progress-meter", "-Z", "--parallel-max", str(JOBS)]
        return ["curl", *options, "--output-dir", str(out), "-K", str(config)]

    commands: dict[str, Callable[[pathlib.Path, pathlib.Path], list[str]]] = {
        "curl": curl,
        "aioxide": lambda urls, out: [aioxide, "fetch", "-j", str(JOBS), "-q", "-i", str(urls), "-o", str(out)],
        "wget2": lambda urls, out: ["wget2", "-q", "--max-threads=10", "-i", str(urls), "-P", str(out)],
        "aria2c": lambda urls, out: ["aria2c", "-q", "-j16", "-i", str(urls), "-d", str(out)],
    }
    return {name: command for name, command in commands.items() if name == "aioxide" or shutil.which(name)}


@contextlib.contextmanager
def nginx(root: pathlib.Path, work: pathlib.Path) -> Iterator[str]:
    """A local nginx with one worker; yields its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = "".join(f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    config = work / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {work}/pid; error_log stderr crit; {user}\n"
        "events { worker_connections 2000; }\n"
        f"http {{ access_log off; keepalive_requests 1000000; sendfile on; tcp_nopush on; {paths}\n"
        f"  server {{ listen 127.0.0.1:{port} backlog=2000; root {root}; }} }}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-e", "stderr", "-p", str(work), "-c", str(config)])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def run(command: list[str], out: pathlib.Path, case: Case) -> Result:
    """Runs a program into a fresh directory and checks that every byte is there."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    files = list(out.iterdir())
    total = sum(file.stat().st_size for file in files)
    if process.returncode != 0 or len(files) != len(case.sizes) or total != case.total:
        sys.exit(f"{command[0]}: exit {process.returncode}, {len(files)} files, {total} bytes of {case.total}")
    return Result(wall, usage.ru_utime + usage.ru_stime)


def peak_mib(command: list[str], out: pathlib.Path) -> float:
    """The highest resident memory of a run: the process's own mark, which no parent can have raised."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1])
        time.sleep(0.002)
    return peak / 1024


def spread(values: list[float], digits: int = 2) -> str:
    """A median with its minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def compare(case: Case, rounds: int, work: pathlib.Path) -> None:
    """Runs one case and prints its table."""
    root = work / case.name
    root.mkdir()
    content = random.Random(2).randbytes(max(case.sizes))
    for number, size in enumerate(case.sizes):
        (root / f"file-{number}").write_bytes(content[:size])
    out = work / "out"
    with nginx(root, work) as base:
        urls = work / f"{case.name}.txt"
        urls.write_text("".join(f"{base}/file-{number}\n" for number in range(len(case.sizes))))
        commands = {name: command(urls, out) for name, command in programs().items()}
        results: dict[str, list[Result]] = {name: [] for name in commands}
        for turn in range(rounds + 1):
            for name, command in commands.items():
                result = run(command, out, case)
                if turn > 0:  # the first round warms the caches
                    results[name].append(result)
        memory = {name: peak_mib(command, out) for name, command in commands.items()}
    print(f"\n### {case.title}\n")
    print("| program | wall s | wall / curl | CPU s | CPU / curl | CPU us per URL | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in results.items():
        pairs = list(zip(runs, results["curl"], strict=True))
        print(
            f"| {name} | {spread([r.wall for r in runs])} | {spread([r.wall / c.wall for r, c in pairs])} "
            f"| {spread([r.cpu for r in runs])} | {spread([r.cpu / c.cpu for r, c in pairs])} "
            f"| {statistics.median(r.cpu for r in runs) / len(case.sizes) * 1e6:.0f} | {memory[name]:.0f} |"
        )
    shutil.rmtree(root)
    shutil.rmtree(out)


def version(program: str) -> str:
    """The first line of a program's `--version`."""
    told = subprocess.run([program, "--version"], capture_output=True, check=False, text=True)
    return told.stdout.splitlines()[0][:40]


def main() -> None:
    """Parses the command line and runs the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=sorted(cases()), action="append", help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", default="/dev/shm", help="where files are served from and written to")
    arguments = parser.parse_args()
    if "curl" not in programs():
        sys.exit("curl is missing: it is what the others are compared with")
    cpus = len(os.sched_getaffinity(0))
    machine = f"{platform.system()} {platform.release()}, {cpus} CPUs"
    print(f"{machine}, files in {arguments.directory}, {arguments.rounds} rounds")
    names = (str(ROOT / "target/release/aioxide") if name == "aioxide" else name for name in programs())
    print("; ".join(map(version, names)))
    for name in arguments.case or cases():
        with tempfile.TemporaryDirectory(dir=arguments.directory) as work:
            compare(cases()[name], arguments.rounds, pathlib.Path(work))


if __name__ == "__main__":
    main()
