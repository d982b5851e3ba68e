#!/usr/bin/env python3
"""What a Rust future costs in Python: on aioxide's loop, and on tokio behind pyo3-async-runtimes.

    benches/rust_futures.py                               all cases, with asyncio and uvloop beside tokio
    benches/rust_futures.py --rounds 5 --seconds 0.5

Each case runs in a process of its own, in turn, round after round. Prints microseconds of CPU (all threads) and of wall
time for one await: the median, with the least and the most.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "target" / "rust-futures-bench"
# Runtime of the futures, and the loop that awaits them.
PAIRS = [("loop", "aioxide"), ("tokio", "uvloop"), ("tokio", "asyncio"), ("tokio", "aioxide")]
AT_A_TIME = 200


def build() -> None:
    """Builds the extension for this interpreter."""
    command = ["cargo", "build", "-q", "--release", "--target-dir", str(BUILT)]
    environment = os.environ | {"PYO3_PYTHON": sys.executable}
    subprocess.run(command, cwd=HERE / "rust_futures", env=environment, check=True)


def extension() -> Any:
    """Imports what `build` has built."""
    path = BUILT / "release" / "librust_futures_bench.so"
    spec = importlib.util.spec_from_file_location("rust_futures_bench", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def immediate() -> None:
    """Never waits."""


async def one_turn() -> None:
    """Waits for one turn of the loop."""
    await asyncio.sleep(0)


async def await_each(make: Callable[[], Awaitable[None]]) -> None:
    for _ in range(AT_A_TIME):
        await make()


async def await_woken(futures: Any) -> None:
    """Awaits futures that a callback of the loop wakes."""
    loop = asyncio.get_running_loop()
    for _ in range(AT_A_TIME):
        loop.call_soon(futures.wake)
        await futures.park()


CASES: dict[str, Callable[[Any], Awaitable[None]]] = {
    "a ready Rust future": lambda futures: await_each(futures.ready),
    "one that is pending once": lambda futures: await_each(futures.pending),
    "one that a callback of the loop wakes": await_woken,
    "Rust awaits a coroutine that never waits": lambda futures: futures.python(immediate, AT_A_TIME),
    "Rust awaits a coroutine that waits one turn": lambda futures: futures.python(one_turn, AT_A_TIME),
}


def measure(runtime: str, loop: str, case: str, seconds: float) -> dict[str, float]:
    """Measures one case in this process."""
    futures = getattr(extension(), f"on_{runtime}")
    if loop == "asyncio":
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    else:
        module = importlib.import_module(loop)
        factory = module.new_event_loop
        if loop == "aioxide":
            module.install()

    async def main() -> dict[str, float]:
        run = CASES[case]
        await run(futures)
        count = 0
        wall, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < seconds:
            await run(futures)
            count += AT_A_TIME
        cpu = time.process_time() - cpu
        wall = time.perf_counter() - wall
        return {"cpu": cpu / count * 1e6, "wall": wall / count * 1e6}

    return factory().run_until_complete(main())


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--child", nargs=3, metavar=("RUNTIME", "LOOP", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child, options.seconds)))
        sys.stdout.flush()
        os._exit(0)  # tokio's threads
    build()
    results: dict[str, dict[tuple[str, str], list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(options.rounds):
        for case in CASES:
            for pair in PAIRS:
                command = [sys.executable, __file__, "--seconds", str(options.seconds), "--child", *pair, case]
                output = subprocess.run(command, capture_output=True, check=True).stdout
                results[case][pair].append(json.loads(output))
    headings = ["aioxide's loop" if runtime == "loop" else f"tokio, {loop}" for runtime, loop in PAIRS]
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; microseconds\n")
    print(f"| one await of | of | {' | '.join(headings)} | times cheaper |\n|{'---|' * (len(PAIRS) + 3)}")
    for case, row in results.items():
        for what in ("cpu", "wall"):
            columns = [[values[what] for values in row[pair]] for pair in PAIRS]
            ours, *others = (statistics.median(column) for column in columns)
            times = f"{min(others) / ours:.0f}-{max(others) / ours:.0f}"
            print(f"| {case} | {what} | {' | '.join(cell(column) for column in columns)} | {times} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
