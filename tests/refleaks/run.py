"""Runs each behaviour over and over, and fails where references, memory or descriptors grow.

    python -m refleaks.run                      all of them (in tests/; scripts/debug_python.sh builds what it takes)
    python -m refleaks.run -k gather --rounds 20    only those with "gather" in their names, more often

Each round makes a loop, runs the behaviour on it and closes the loop. After the warming up, the total of all reference
counts (which only a debug build of CPython knows), the number of allocated blocks and the open descriptors are the same
after each round, or something leaks.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import linecache
import os
import sys
import warnings
from array import array
from itertools import pairwise

import aioxide

from . import BEHAVIOURS, Behaviour, connections, http_session, tasks  # noqa: F401 - they register their behaviours


def run(function: Behaviour) -> None:
    """One round."""
    loop = aioxide.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    try:
        loop.run_until_complete(function(loop))
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


def settle() -> None:
    """Empties what caches fill at will."""
    linecache.clearcache()
    (getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache)()
    for module in list(sys.modules.values()):
        registry = getattr(module, "__warningregistry__", None)
        if registry:
            registry.clear()
    for _ in range(3):
        gc.collect()


def measure(figures: array[int], place: int) -> None:
    """Notes the references, the allocated blocks and the descriptors that there are; allocates nothing that stays."""
    settle()
    figures[place] = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else 0
    figures[place + 1] = sys.getallocatedblocks()
    figures[place + 2] = len(os.listdir("/proc/self/fd"))


def check(name: str, function: Behaviour, warm_up: int, rounds: int) -> bool:
    """Runs one behaviour; prints what grew by how much in each round."""
    figures = array("q", [0] * 3 * (warm_up + rounds))
    for number in range(warm_up + rounds):
        run(function)
        measure(figures, 3 * number)
    passed = True
    words = []
    for index, kind in enumerate(("references", "blocks", "descriptors")):
        column = figures[3 * (warm_up - 1) + index :: 3]
        growth = [after - before for before, after in pairwise(column)]
        # A round may end while a thread or the kernel is still busy: what counts is what does not come back.
        leaks = sum(growth) >= rounds and sum(step > 0 for step in growth) > rounds / 2
        passed &= not leaks
        words.append(f"{kind} {growth}" if leaks else f"{kind} {sum(growth):+}")
    print(f"{'ok  ' if passed else 'LEAK'} {name}: {', '.join(words)}", flush=True)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="chosen", default="", help="only behaviours with this in their names")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=5)
    options = parser.parse_args()
    if not hasattr(sys, "gettotalrefcount"):
        print("no debug build of CPython: blocks and descriptors are counted, references are not")
    warnings.simplefilter("ignore")
    results = [
        check(name, function, options.warm_up, options.rounds)
        for name, function in BEHAVIOURS.items()
        if options.chosen in name
    ]
    print(f"{sum(results)} of {len(results)} behaviours leak nothing")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
