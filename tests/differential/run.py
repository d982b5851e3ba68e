"""Looks for programs that leave another log than on stock asyncio, and makes the first one found small.

python -m differential.run --count 100000 --seed 1 --loop aioxide:new_event_loop --classes aioxide   (in tests/)
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import gc
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .program import Program, draw, shrink
from .world import World

Factory = Callable[[], asyncio.AbstractEventLoop]


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loop", default="aioxide:new_event_loop")
    parser.add_argument("--classes", default="asyncio", help="package whose Task, gather, locks and queues are used")
    options = parser.parse_args()
    module, _, name = options.loop.partition(":")
    factory: Factory = getattr(importlib.import_module(module), name)
    start = time.perf_counter()
    found = search(options.count, options.seed, factory, importlib.import_module(options.classes))
    print(found or f"{options.count} programs, {time.perf_counter() - start:.1f} s: the same log as on stock asyncio")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
