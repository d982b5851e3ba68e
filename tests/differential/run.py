"""Looks for programs that leave another log than on stock asyncio, and makes the first one found small.

    python -m differential.run --count 100000 --jobs 2 --loop aioxide:new_event_loop --classes aioxide   (in tests/)

With more than one job each has a process of its own. One that dies or hangs is told with the seeds that were under way;
`--seed N --count 1` runs one of them again.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import faulthandler
import gc
import importlib
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from .program import Program, draw, shrink
from .world import World

Factory = Callable[[], asyncio.AbstractEventLoop]

# How many seeds a process is given at a time, and the seconds that they may take.
SLICE = 250
SLICE_TIMEOUT = 600


@dataclass
class Difference:
    """A program whose logs differ, as small as it could be made."""

    seed: int
    program: Program
    stock: list[str]
    ours: list[str]

    def __str__(self) -> str:
        lines = difflib.unified_diff(self.stock, self.ours, "stock asyncio", "ours", lineterm="", n=30)
        return f"seed {self.seed}\n{self.program}\n" + "\n".join(lines)


def differs(program: Program, factory: Factory, package: Any) -> tuple[list[str], list[str]] | None:
    """Returns the two logs when they differ."""
    stock = World(asyncio.SelectorEventLoop).run(program)
    try:
        ours = World(factory, package).run(program)
    except Exception as error:
        ours = [f"run failed: {error!r}"]
    return None if stock == ours else (stock, ours)


def search(count: int, first_seed: int, factory: Factory, package: Any = asyncio) -> Difference | None:
    """Runs ``count`` programs; returns the first that differs."""
    for seed in range(first_seed, first_seed + count):
        program = draw(seed)
        if differs(program, factory, package) is None:
            if seed % 200 == 0:
                gc.collect()  # programs that deadlock leave cycles of tasks
            continue
        small = shrink(program, lambda smaller: differs(smaller, factory, package) is not None)
        logs = differs(small, factory, package) or differs(program, factory, package) or ([], ["not repeatable"])
        return Difference(seed, small, *logs)
    return None


# The seed that each process is at, and this process's place among them.
_places: Any = None
_place = 0


def _begin(places: Any, free: Any) -> None:
    """Runs first in each process: takes a place of its own in the shared list."""
    global _places, _place  # noqa: PLW0603 - the process's own
    with free.get_lock():
        _place = free.value
        free.value += 1
    _places = places


def _search_slice(first: int, count: int, loop: str, classes: str) -> Difference | None:
    """Searches a slice of the seeds in a process of its own."""
    faulthandler.dump_traceback_later(SLICE_TIMEOUT, exit=True)
    warnings.simplefilter("ignore")  # programs leave coroutines unawaited
    logging.disable()
    try:
        module, _, name = loop.partition(":")
        factory: Factory = getattr(importlib.import_module(module), name)
        package = importlib.import_module(classes)
        for seed in range(first, first + count):
            _places[_place] = seed
            found = search(1, seed, factory, package)
            if found is not None:
                return found
        gc.collect()
        _places[_place] = -1
        return None
    finally:
        faulthandler.cancel_dump_traceback_later()


def search_with_processes(count: int, first_seed: int, loop: str, classes: str, jobs: int) -> Difference | str | None:
    """Searches with several processes; returns the first difference, or what is known of a process that died."""
    context = multiprocessing.get_context("spawn")
    places = context.Array("q", [-1] * (jobs + 1))
    free = context.Value("i", 0)
    with ProcessPoolExecutor(jobs, context, _begin, (places, free)) as pool:
        end = first_seed + count
        slices = [
            pool.submit(_search_slice, first, min(SLICE, end - first), loop, classes)
            for first in range(first_seed, end, SLICE)
        ]
        try:
            for future in slices:
                found = future.result()
                if found is not None:
                    return found
        except BrokenProcessPool:
            under_way = sorted(seed for seed in places if seed >= 0)
            return f"a process died; the seeds under way were {under_way}"
        finally:
            for future in slices:
                future.cancel()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loop", default="aioxide:new_event_loop")
    parser.add_argument("--classes", default="asyncio", help="package whose Task, gather, locks and queues are used")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    start = time.perf_counter()
    found = search_with_processes(options.count, options.seed, options.loop, options.classes, options.jobs)
    print(found or f"{options.count} programs, {time.perf_counter() - start:.1f} s: the same log as on stock asyncio")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
