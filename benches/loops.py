#!/usr/bin/env python3
"""Compares event loops: every case on every loop, each in its own process, in turn, round after round.

    benches/loops.py                                      all loops that are installed, all cases
    benches/loops.py --loops uvloop,aioxide --cases 'gather*' --rounds 5 --seconds 0.5
    benches/loops.py --update docs/benchmarks.md          also writes the table between the document's markers

Prints medians with the least and the most beside uvloop's; writes everything to benches/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import document

HERE = Path(__file__).resolve().parent
LOOPS = ("asyncio", "uvloop", "rsloop", "rloop", "zuvloop", "blazio", "aioxide")
REFERENCE = "uvloop"
Results = dict[str, dict[str, list[dict[str, float]]]]

sys.path.insert(0, str(HERE))


def build_programs(folder: Path) -> bool:
    """Compiles the C clients and servers; false when what TLS needs is missing, which is said."""
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    sources = HERE / "limit"

    def build(program: str, *libraries: str) -> list[str]:
        parts = [str(sources / f"{program}.c"), str(sources / "shared.c")]
        return [compiler, "-O2", "-o", str(folder / program), *parts, *libraries]

    subprocess.run(build("echo"), check=True)
    tls = subprocess.run(build("tls_echo", "-lssl", "-lcrypto"), capture_output=True, text=True, check=False)
    if tls.returncode:
        print(
            f"{tls.stderr.strip()}\nThe TLS rows are left out: they need OpenSSL's headers and libraries. "
            "Install them as root, for example on Debian: apt-get install libssl-dev",
            file=sys.stderr,
        )
    return tls.returncode == 0


def installed(python: str, loops: list[str]) -> list[str]:
    """Returns the loops that the interpreter has."""
    found = []
    for loop in loops:
        if subprocess.run([python, "-c", f"import {loop}"], capture_output=True, check=False).returncode == 0:
            found.append(loop)
        else:
            print(f"{loop} is not installed: left out", file=sys.stderr)
    return found


def measure(python: str, loop: str, case: str, seconds: float, programs: Path) -> dict[str, float] | None:
    """Runs one case on one loop; None when the loop cannot do it."""
    command = [python, str(HERE / "worker.py"), "--loop", loop, "--case", case, "--seconds", str(seconds)]
    environment = dict(os.environ, AIOXIDE_BENCH_PROGRAMS=str(programs))
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds * 10 + 60, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if result.returncode:
        print(f"{loop}: {case}: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    values: dict[str, float] = json.loads(result.stdout)
    return values


@contextlib.contextmanager
def c_server(command: list[str]) -> Iterator[None]:
    """Runs a minimal server."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield
    finally:
        server.kill()
        server.wait()


def measure_limit(limit: str, seconds: float, folder: Path) -> dict[str, float]:
    """Puts the client to the minimal C server."""
    from cases import io

    kind, *arguments = limit.split()
    where = str(folder / "socket") if kind == "unix" else "19273"
    echo, tls_echo = str(folder / "echo"), str(folder / "tls_echo")
    if kind == "tls":
        certificate = io.certificate(folder)
        server = [tls_echo, "server", where, certificate]
        client = [tls_echo, "client", where, certificate, *arguments, str(seconds)]
    else:
        mode = ["connect", "tcp"] if kind == "connect" else ["client", kind]
        server = [echo, "server", "tcp" if kind == "connect" else kind, where]
        client = [echo, *mode, where, *arguments, str(seconds)]
    try:
        with c_server(server):
            result = subprocess.run(client, capture_output=True, text=True, check=True)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / "socket")
    trips, wall = map(float, result.stdout.split())
    return {"per_second": trips / wall, "cpu_microseconds": 0.0}


def machine(python: str, loops: list[str]) -> dict[str, Any]:
    """Tells what was measured on what."""
    code = (
        "import importlib.metadata as m, json, platform\n"
        f"names = {[loop for loop in loops if loop != 'asyncio']!r}\n"
        "versions = {}\n"
        "for name in names:\n"
        "    try: versions[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: versions[name] = 'source'\n"
        "print(json.dumps([platform.python_version(), platform.python_compiler(), versions]))\n"
    )
    version, compiler, versions = json.loads(
        subprocess.run([python, "-c", code], capture_output=True, check=True).stdout
    )
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    return {
        "python": version,
        "compiler": compiler,
        "loops": versions,
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_before": os.getloadavg(),
        "date": time.strftime("%Y-%m-%d"),
    }


def run(options: argparse.Namespace, loops: list[str], folder: Path) -> Results:
    """Measures round after round, so that what else the machine does falls on all alike."""
    from cases import CASES, io, tasks  # noqa: F401 - importing the modules registers their cases

    has_tls = build_programs(folder)
    chosen = [name for name in CASES if any(fnmatchcase(name, pattern) for pattern in options.cases.split(","))]
    if not has_tls:
        chosen = [name for name in chosen if not CASES[name].limit.startswith("tls ")]
    results: Results = defaultdict(lambda: defaultdict(list))
    for number in range(options.rounds):
        for name in chosen:
            order = loops[number % len(loops) :] + loops[: number % len(loops)]
            for loop in order:
                values = measure(options.python, loop, name, options.seconds, folder)
                if values is not None:
                    results[name][loop].append(values)
            if CASES[name].limit:
                results[name]["limit"].append(measure_limit(CASES[name].limit, options.seconds, folder))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return results


def cell(values: list[dict[str, float]] | None, reference: float | None) -> str:
    """One loop in one row: how many times the reference it does, with the least and the most."""
    if not values:
        return "-"
    rates = [value["per_second"] for value in values]
    if reference is None:
        return f"{statistics.median(rates):.0f}/s"
    low, middle, high = (rate / reference for rate in (min(rates), statistics.median(rates), max(rates)))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def table(results: Results, loops: list[str], about: dict[str, Any]) -> str:
    from cases import CASES

    columns = [*loops, "limit"]
    versions = ", ".join(f"{name} {version}" for name, version in about["loops"].items())
    lines = [
        f"{about['date']}, {about['processor']}, {about['cores']} cores, Linux {about['kernel']}, "
        f"CPython {about['python']} ({about['compiler']}), {versions}. "
        f"Operations a second beside {REFERENCE}'s median: median (least-most).",
        "",
        f"| case | {' | '.join(columns)} | goal |",
        "|" + "---|" * (len(columns) + 2),
    ]
    for name, row in results.items():
        beside = REFERENCE if row.get(REFERENCE) else "asyncio"
        rates = [value["per_second"] for value in row.get(beside, [])]
        reference = statistics.median(rates) if rates else None
        goal = CASES[name].goal
        shown = name if beside == REFERENCE else f"{name} (beside {beside})"
        cells = [cell(row.get(column), reference) for column in columns]
        lines.append(f"| {shown} | {' | '.join(cells)} | {goal if goal is not None else ''} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--cases", default="*", help="patterns, comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--update", type=Path, metavar="DOCUMENT")
    options = parser.parse_args()
    loops = installed(options.python, options.loops.split(","))
    about = machine(options.python, loops)
    with tempfile.TemporaryDirectory(prefix="aioxide-bench-") as folder:
        results = run(options, loops, Path(folder))
    text = table(results, loops, about)
    print(text)
    kept = HERE / "results" / f"loops-{about['python']}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"about": about, "results": results}, indent=1), encoding="utf-8")
    if options.update:
        document.update(options.update, "loops", about["python"], text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
