"""Measures one case on one loop in this process and prints the result as JSON: benches/loops.py starts it."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys

from cases import CASES, Factory, io, tasks  # noqa: F401 - importing the modules registers their cases


def factory(name: str) -> Factory:
    """Returns the loop's factory; aioxide's own Task, gather and so on come with it."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    module = importlib.import_module(name)
    if name == "aioxide":
        module.install()
    made: Factory = module.new_event_loop
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    operations, wall, cpu = CASES[options.case].measure(factory(options.loop), options.seconds)
    print(json.dumps({"per_second": operations / wall, "cpu_microseconds": cpu / operations * 1e6}))
    sys.stdout.flush()
    os._exit(0)  # whatever the server still holds


if __name__ == "__main__":
    main()
