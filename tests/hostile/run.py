"""Runs hostile programs, each batch in a process of its own: `python -m hostile.run --count 300` or `--minutes 10`.

The seed of each program is noted before it is run, so that a crash is known by it: `--seed N --count 1` shows it again,
and with `HOSTILE_TRACE=1` in the environment what is done.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

BATCH = 25
# No program runs for long; one that does hangs.
PATIENCE = 60


def child(seed: int, count: int, notes: Path) -> None:
    """Runs `count` programs, and notes what it is at and what it finds."""
    import logging

    import aioxide

    from . import world

    warnings.simplefilter("ignore")
    logging.disable()
    sys.setrecursionlimit(400)
    aioxide.install()
    with notes.open("a", buffering=1) as file:
        for each in range(seed, seed + count):
            file.write(f"{each} begins\n")
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            world.run(each, lambda text, each=each: file.write(f"{each} FOUND {text}\n"))  # type: ignore[misc]
            faulthandler.cancel_dump_traceback_later()
        file.write("end\n")
    # What the interpreter's own end does with what is left is not looked at.
    os._exit(0)


def batch(seed: int, count: int) -> list[str]:
    """Runs a batch in a process; returns what was found. Goes on behind a program that ended the process."""
    found = []
    while count > 0:
        with tempfile.TemporaryDirectory() as folder:
            notes = Path(folder, "notes")
            command = [sys.executable, "-m", "hostile.run", "--child", str(notes), "--seed", str(seed)]
            command += ["--count", str(count)]
            env = {**os.environ, "PYTHONFAULTHANDLER": "1", "RUST_BACKTRACE": "1", "PYTHONHASHSEED": "0"}
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, env=env, cwd=folder_of_tests()
            )
            lines = notes.read_text().splitlines() if notes.exists() else []
        found += [line for line in lines if "FOUND" in line]
        last = next((line for line in reversed(lines) if line.endswith("begins")), f"{seed} begins")
        at = int(last.split()[0])
        if "panicked at" in done.stderr:
            found.append(f"{at} or before: panic\n{done.stderr[-3000:]}")
        if lines[-1:] == ["end"]:
            break
        found.append(f"{at} ended the process: status {done.returncode}\n{done.stderr[-3000:]}")
        count -= at + 1 - seed
        seed = at + 1
    return found


def folder_of_tests() -> Path:
    return Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--count", type=int, default=300, help="how many programs")
    parser.add_argument("--minutes", type=float, help="how long, in place of how many")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.seed, options.count, options.child)
    end = None if options.minutes is None else time.monotonic() + options.minutes * 60
    seed, failures = options.seed, 0
    while (time.monotonic() < end) if end else (seed < options.seed + options.count):
        size = BATCH if end else min(BATCH, options.seed + options.count - seed)
        for text in batch(seed, size):
            failures += 1
            print(text, flush=True)
        seed += size
    print(f"{seed - options.seed} programs, {failures} findings")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
