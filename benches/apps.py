#!/usr/bin/env python3
"""Compares event loops under what users run: servers under load, and clients of real servers.

    benches/apps.py                                       every application on every loop that is installed
    benches/apps.py --loops uvloop,aioxide --apps '*aiohttp*' --rounds 5 --seconds 1
    benches/apps.py --python 'scripts/sid_chroot.sh run .venv314/bin/python' --update docs/benchmarks.md

Each loop has its turn in every round, in a process of its own. Rates are beside uvloop's; CPU time is that of the
process with the loop, user and system apart; system calls are counted by strace in a short run of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import document
from programs.load import LOADS
from programs.services import services

HERE = Path(__file__).resolve().parent
LOOPS = ("asyncio", "uvloop", "zuvloop", "blazio", "aioxide")
REFERENCE = "uvloop"
# What each client needs, and the modules that an application is left out without.
NEEDS = {
    "aiohttp client, 10 KiB": "nginx",
    "httpx, 10 KiB": "nginx",
    "redis-py GET": "redis",
    "asyncpg select 1": "postgres",
}
MODULES = {
    "uvicorn plaintext": ("uvicorn", "httptools"),
    "FastAPI JSON": ("fastapi", "uvicorn", "httptools"),
    "aiohttp server": ("aiohttp",),
    "websockets server": ("websockets",),
    "streams line server": (),
    "aiohttp client, 10 KiB": ("aiohttp",),
    "httpx, 10 KiB": ("httpx",),
    "redis-py GET": ("redis",),
    "asyncpg select 1": ("asyncpg",),
}
WARM_UP_SECONDS = 0.5
STRACE_SECONDS = 0.5
TICKS = os.sysconf("SC_CLK_TCK")
# What a run came to: how many operations, and the seconds that they took.
Run = dict[str, float]
Results = dict[str, dict[str, list[Run]]]


def has(python: list[str], *modules: str) -> bool:
    """Whether the interpreter can import them."""
    code = "import " + ", ".join(modules) if modules else ""
    return subprocess.run([*python, "-c", code], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def program(python: list[str], name: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Runs one of the programs; yields it with the first line that it prints, and ends it."""
    command = [*python, str(HERE / "programs" / name), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise RuntimeError(f"{name} {arguments}: ended with {process.wait()}")
    ready = json.loads(said)
    try:
        yield process, ready
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.kill(ready["pid"], number)
                process.wait(2)


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Returns the user's and the system's share of what a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def serve(python: list[str], loop: str, app: str, seconds: float, traced: bool) -> Run:
    """Puts a server under load."""
    with program(python, "serve.py", "--loop", loop, "--app", app) as (_, ready):
        load = LOADS[app]
        load(ready["port"], WARM_UP_SECONDS)
        with tracer(ready["pid"]) if traced else contextlib.nullcontext() as calls:
            before, start = cpu_seconds(ready["pid"]), time.perf_counter()
            count = load(ready["port"], seconds)
            wall, after = time.perf_counter() - start, cpu_seconds(ready["pid"])
        return {
            "count": count,
            "wall": wall,
            "user": after[0] - before[0],
            "system": after[1] - before[1],
            "calls": calls() if calls else 0,
        }


def call(python: list[str], loop: str, app: str, seconds: float, traced: bool, *, where: dict[str, Any]) -> Run:
    """Lets a client do its requests."""
    arguments = ("--loop", loop, "--app", app, "--seconds", str(seconds), "--where", json.dumps(where))
    with program(python, "call.py", *arguments) as (process, ready):
        assert process.stdin is not None
        assert process.stdout is not None
        with tracer(ready["pid"]) if traced else contextlib.nullcontext() as calls:
            process.stdin.write("go\n")
            process.stdin.flush()
            run: Run = json.loads(process.stdout.readline())
        return {**run, "calls": calls() if calls else 0}


@contextlib.contextmanager
def tracer(pid: int) -> Iterator[Callable[[], int]]:
    """Counts the system calls of a process; yields what tells how many they were, afterwards."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as table:
        strace = subprocess.Popen(
            ["strace", "-f", "-c", "-o", table.name, "-p", str(pid)], stderr=subprocess.PIPE, text=True
        )
        assert strace.stderr is not None
        if "attached" not in strace.stderr.readline():
            raise RuntimeError("strace cannot attach to a process here")
        found = 0
        yield lambda: found
        strace.send_signal(signal.SIGINT)
        strace.wait()
        # The last line: percents, seconds, microseconds a call, calls, errors if any, "total".
        total = re.search(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+).*total$", table.read(), re.MULTILINE)
        found = int(total[1]) if total else 0


def measure(options: argparse.Namespace, python: list[str], loops: list[str], apps: list[str]) -> Results:
    """Measures round after round, so that what else the machine does falls on all alike; then counts system calls."""
    results: Results = {app: defaultdict(list) for app in apps}
    with services({NEEDS[app] for app in apps if app in NEEDS}) as where:

        def once(loop: str, app: str, seconds: float, traced: bool = False) -> None:
            try:
                if app in LOADS:
                    run = serve(python, loop, app, seconds, traced)
                else:
                    run = call(python, loop, app, seconds, traced, where=where)
            except RuntimeError as error:
                print(f"{loop}: {app}: {error}", file=sys.stderr)
                return
            if not run["count"]:
                print(f"{loop}: {app}: nothing was done", file=sys.stderr)
            else:
                results[app][f"{loop} traced" if traced else loop].append(run)

        for number in range(options.rounds):
            # Where strings stand in a dict makes up to a fifth of difference: one seed a round, for all loops.
            os.environ["PYTHONHASHSEED"] = str(number)
            for app in apps:
                for loop in loops[number % len(loops) :] + loops[: number % len(loops)]:
                    once(loop, app, options.seconds)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        if shutil.which("strace"):
            for app in apps:
                for loop in loops:
                    once(loop, app, STRACE_SECONDS, traced=True)
        else:
            print("strace is not installed: no system calls are counted", file=sys.stderr)
    return results


def spread(values: list[float], reference: float, digits: int = 2) -> str:
    low, middle, high = (value / reference for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def rate(run: Run) -> float:
    return run["count"] / run["wall"]


def microseconds(run: Run, kind: str) -> float:
    return run[kind] / run["count"] * 1e6


def rows(results: Results, loops: list[str], cell: Callable[[dict[str, list[Run]], str], str]) -> list[str]:
    lines = [f"| application | {' | '.join(loops)} |", "|" + "---|" * (len(loops) + 1)]
    return lines + [
        f"| {app} | {' | '.join(cell(row, loop) if row.get(loop) else '-' for loop in loops)} |"
        for app, row in results.items()
    ]


def tables(results: Results, loops: list[str], about: str) -> str:
    def rates(row: dict[str, list[Run]], loop: str) -> str:
        runs = row.get(REFERENCE) or row[loops[0]]
        return spread([rate(run) for run in row[loop]], statistics.median(map(rate, runs)))

    def cpu(row: dict[str, list[Run]], loop: str) -> str:
        user, system = (statistics.median(microseconds(run, kind) for run in row[loop]) for kind in ("user", "system"))
        return f"{user:.1f} + {system:.1f}"

    def calls(row: dict[str, list[Run]], loop: str) -> str:
        traced = row.get(f"{loop} traced")
        return f"{traced[0]['calls'] / traced[0]['count']:.2f}" if traced else "-"

    parts = [
        [f"{about} Operations a second beside {REFERENCE}'s median: median (least-most)."],
        rows(results, loops, rates),
        ["CPU time of the process with the loop, microseconds an operation, user + system:"],
        rows(results, loops, cpu),
        ["System calls an operation, by strace:"],
        rows(results, loops, calls),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def describe(python: list[str], loops: list[str]) -> tuple[str, str]:
    """Tells what was measured on what, and the version of Python."""
    code = (
        "import importlib.metadata as m, json, platform\n"
        f"versions = dict((name, m.version(name)) for name in {[loop for loop in loops if loop != 'asyncio']!r})\n"
        "print(json.dumps([platform.python_version(), versions]))"
    )
    version, versions = json.loads(subprocess.run([*python, "-c", code], capture_output=True, check=True).stdout)
    model = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} cores, load before {load:.1f}, "
        f"Linux {platform.release()}, CPython {version}, {names}."
    ), version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter, or a command that runs it")
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--apps", default="*", help="patterns, separated by semicolons")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--update", type=Path, metavar="DOCUMENT")
    options = parser.parse_args()
    python = shlex.split(options.python)
    loops = [loop for loop in options.loops.split(",") if has(python, loop)]
    apps = [
        app
        for app, modules in MODULES.items()
        if any(fnmatchcase(app, pattern) for pattern in options.apps.split(";")) and has(python, *modules)
    ]
    about, version = describe(python, loops)
    results = measure(options, python, loops, apps)
    text = tables(results, loops, about)
    print(text)
    kept = HERE / "results" / f"apps-{version}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"about": about, "results": results}, indent=1), encoding="utf-8")
    if options.update:
        document.update(options.update, "apps", version, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
