#!/usr/bin/env python3
"""What `aioxide.monitor` costs while nobody looks: steps, queue items and callbacks with and without it, in turn.

    benches/monitor_cost.py                      eleven turns of each
    benches/monitor_cost.py --turns 5 --python .venv313/bin/python

Each run is a process of its own, pinned to one processor; its CPU time, start-up left out, beside the median without a
monitor. `socket`: `monitor.start()`, and nobody asks. `watchdog`: `monitor.watchdog()` with its default limit of half a
second, and with a tenth of that. `--snapshot N` takes a snapshot of N tasks instead, and prints what it took.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

WORKER = """
import asyncio, json, os, sys, time
import aioxide
from aioxide import monitor

async def steps(count):
    for _ in range(count):
        await asyncio.sleep(0)

async def put(queue, count):
    for number in range(count):
        await queue.put(number)

async def get(queue, count):
    for _ in range(count):
        await queue.get()

async def work(count):
    await asyncio.gather(*(steps(count) for _ in range(10)))
    queue = aioxide.Queue(1)
    await asyncio.gather(put(queue, count * 2), get(queue, count * 2))
    done = asyncio.get_running_loop().create_future()
    left = [count * 5]
    def again():
        left[0] -= 1
        if left[0]:
            asyncio.get_running_loop().call_soon(again)
        else:
            done.set_result(None)
    again()
    await done

async def main(mode, count):
    if mode == "socket":
        monitor.start()
    elif mode != "off":
        monitor.watchdog(limit=float(mode))
    await work(1000)
    # The watchdog has found the loop.
    await asyncio.sleep(1.2)
    before = time.process_time()
    await work(count)
    took = time.process_time() - before
    if mode == "socket":
        monitor.stop()
    elif mode != "off":
        beats = sum(one["beats"] for one in monitor.lag())
        assert beats > 0, "the watchdog did not run"
        monitor.unwatch()
    print(json.dumps(took))

aioxide.run(main(sys.argv[1], int(sys.argv[2])))
"""

SNAPSHOT = """
import asyncio, json, sys
import aioxide
from aioxide import monitor

async def wait_on(number, semaphore, queue, event):
    if number % 4 == 0:
        await asyncio.sleep(600)
    elif number % 4 == 1:
        async with semaphore:
            pass
    elif number % 4 == 2:
        await queue.get()
    else:
        await event.wait()

async def main(count):
    shared = aioxide.Semaphore(0), aioxide.Queue(), aioxide.Event()
    tasks = [asyncio.create_task(wait_on(number, *shared)) for number in range(count)]
    await asyncio.sleep(0.1)
    take = asyncio.get_running_loop().run_in_executor
    found = [(await take(None, monitor.snapshot))["taken"] for _ in range(5)]
    print(json.dumps(found))
    for task in tasks:
        task.cancel()

aioxide.run(main(int(sys.argv[1])))
"""

MODES = {"off": "off", "socket": "socket", "watchdog, 0.5 s": "0.5", "watchdog, 0.05 s": "0.05"}


def run(python: str, program: str, *arguments: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        environment = dict(os.environ, XDG_RUNTIME_DIR=folder, PYTHONHASHSEED="0")
        command = ["taskset", "-c", str(max(os.sched_getaffinity(0))), python, "-c", program, *arguments]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--count", type=int, default=400_000, help="steps of each of ten tasks")
    parser.add_argument("--snapshot", type=int, metavar="N", help="take a snapshot of N tasks instead")
    options = parser.parse_args()
    if options.snapshot:
        for taken in json.loads(run(options.python, SNAPSHOT, str(options.snapshot))):
            took, pause = taken["took_us"] / 1e6, taken["longest_pause_us"] / 1e3
            print(f"{options.snapshot} tasks: {took:.2f} s, longest pause {pause:.1f} ms, {taken['chunks']} pieces")
        return
    took: dict[str, list[float]] = {name: [] for name in MODES}
    for turn in range(options.turns):
        # Not always the same one first.
        names = list(MODES)[turn % len(MODES) :] + list(MODES)[: turn % len(MODES)]
        for name in names:
            took[name].append(float(run(options.python, WORKER, MODES[name], str(options.count))))
    reference = statistics.median(took["off"])
    for name, times in took.items():
        least, median, most = (value / reference for value in (min(times), statistics.median(times), max(times)))
        print(f"{name:18} {median:.3f} ({least:.3f}-{most:.3f}) of {reference:.3f} s")


if __name__ == "__main__":
    main()
