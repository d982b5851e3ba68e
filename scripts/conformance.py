#!/usr/bin/env python3
"""Runs the interpreters' own asyncio tests on stock asyncio and on another loop, and reports what only stock passes.

    scripts/conformance.py                                  every interpreter found, the installed aioxide
    scripts/conformance.py --install .                      the same, built and installed first, an environment for each
    scripts/conformance.py --classes                        also with aioxide's Task, Future, gather, locks and queues
    scripts/conformance.py --loop uvloop:new_event_loop --install uvloop --no-exclusions
    scripts/conformance.py --module test_streams --test '*readline*' -v

Exits with 1 when a test that stock asyncio passes fails and is not listed in tests/conformance/exclusions.toml.
Needs Python 3.11 or later itself; the interpreters under test may be older.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tests"))

from conformance import compare, exclusions, interpreters, processes  # noqa: E402

CACHE = PROJECT / ".cache" / "conformance"
STOCK = "asyncio:SelectorEventLoop"


def _interpreter(name: str) -> str:
    """The full path of an interpreter: the tests run in a folder of their own."""
    path = shutil.which(name)
    if path is None:
        raise argparse.ArgumentTypeError(f"no such interpreter: {name}")
    return os.path.abspath(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", default="aioxide:new_event_loop", help="module:callable that makes the loop")
    parser.add_argument(
        "--classes", nargs="?", const="aioxide", metavar="PACKAGE", help="put the package's classes in too"
    )
    parser.add_argument(
        "--python", action="append", type=_interpreter, help="an interpreter (again for more; default: all found)"
    )
    parser.add_argument("--install", metavar="REQUIREMENT", help="install this in an environment for each interpreter")
    parser.add_argument("--module", action="append", help="only these test modules")
    parser.add_argument("--test", action="append", metavar="PATTERN", help="report only matching test ids")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one test")
    parser.add_argument("--retries", type=int, default=2, help="tries again for each failing test, alone")
    parser.add_argument("--fresh", action="store_true", help="run stock asyncio again, do not use its kept outcomes")
    parser.add_argument("--no-exclusions", action="store_true")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument(
        "--update", type=Path, metavar="DOCUMENT", help="write the table between the document's markers"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print how each failing test failed")
    return parser.parse_args()


def outcomes(
    options: argparse.Namespace, interpreter: interpreters.Interpreter, loop: str, classes: str | None
) -> dict[str, processes.Outcome]:
    """Runs the modules on one loop, the longest first, several at a time."""
    modules = [module for module in interpreter.modules if not options.module or module in options.module]
    slow = ("test_events", "test_subprocess", "test_ssl", "test_tasks", "test_unix_events", "test_sendfile")
    modules.sort(key=lambda module: slow.index(module) if module in slow else len(slow))
    jobs = [processes.Job(interpreter.path, module, loop, classes, options.timeout) for module in modules]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(processes.Job.run, jobs))
    return {test: outcome for job in jobs for test, outcome in job.outcomes.items()}


def stock_outcomes(options: argparse.Namespace, interpreter: interpreters.Interpreter) -> dict[str, processes.Outcome]:
    """Returns stock asyncio's outcomes, kept from the last run of the same interpreter where there is one."""
    kept = CACHE / f"stock-{interpreter.full_version}{'-classes' if options.classes else ''}.json"
    known: dict[str, processes.Outcome] = {}
    if kept.exists() and not options.fresh:
        table = json.loads(kept.read_text(encoding="utf-8"))
        # What was kept may be from before a module was left out.
        known = {
            test: processes.Outcome(**outcome)
            for test, outcome in table.items()
            if test.split(".")[0] in interpreter.modules
        }
    if not options.module and known:
        return known
    missing = [m for m in options.module or interpreter.modules if not any(t.startswith(m + ".") for t in known)]
    if missing:
        narrowed = argparse.Namespace(**{**vars(options), "module": missing})
        known |= outcomes(narrowed, interpreter, STOCK, "asyncio" if options.classes else None)
        CACHE.mkdir(parents=True, exist_ok=True)
        complete = not options.module
        if complete:
            kept.write_text(json.dumps({test: asdict(outcome) for test, outcome in known.items()}), encoding="utf-8")
    return {t: o for t, o in known.items() if not options.module or t.split(".")[0] in options.module}


def retry_failures(
    options: argparse.Namespace,
    interpreter: interpreters.Interpreter,
    stock: dict[str, processes.Outcome],
    ours: dict[str, processes.Outcome],
    listed: list[exclusions.Exclusion],
) -> list[str]:
    """Runs each unexcused failing test again, alone: on a loaded machine some of CPython's tests need luck."""
    saved: list[str] = []
    for _ in range(options.retries):
        failing = [
            test
            for test in compare.regressions(stock, ours)
            if not any(exclusion.covers(test, interpreter.version) for exclusion in listed)
        ]
        jobs = [
            processes.Job(
                interpreter.path, test.split(".")[0], options.loop, options.classes, options.timeout, {test: ours[test]}
            )
            for test in failing
            if test in ours
        ]
        with ThreadPoolExecutor(options.jobs) as pool:
            for job, passing in zip(jobs, pool.map(lambda job: job.retry(list(job.outcomes)), jobs), strict=True):
                ours.update(job.outcomes)
                saved += passing
    return saved


def examine(
    options: argparse.Namespace, interpreter: interpreters.Interpreter, listed: list[exclusions.Exclusion]
) -> compare.Comparison:
    """Runs one interpreter through everything and prints the result."""
    stock = stock_outcomes(options, interpreter)
    if options.install:
        interpreter = interpreters.with_package(interpreter, options.install, CACHE)
    ours = outcomes(options, interpreter, options.loop, options.classes)
    if options.test:
        stock = {t: o for t, o in stock.items() if any(fnmatchcase(t, pattern) for pattern in options.test)}
    unstable = retry_failures(options, interpreter, stock, ours, listed)
    result = compare.compare(interpreter.version, interpreter.full_version, stock, ours, listed)
    result.unstable = unstable
    print(result.summary())
    for test, detail in sorted(result.failed.items()):
        last = detail.strip().splitlines()[-1] if detail.strip() else ""
        print(f"  {detail.split(':')[0]:8} {test}  {last[:160]}")
        if options.verbose:
            print("    " + detail.replace("\n", "\n    "))
    for test in unstable:
        print(f"  unstable {test}")
    sys.stdout.flush()
    return result


def main() -> int:
    options = arguments()
    chosen = [interpreters.examine(path) for path in options.python] if options.python else interpreters.find()
    found = [interpreter for interpreter in chosen if interpreter is not None]
    if not found:
        print("no interpreter with CPython's test package was found", file=sys.stderr)
        return 2
    listed = [] if options.no_exclusions else exclusions.read(classes=bool(options.classes))
    results = [examine(options, interpreter, listed) for interpreter in found]
    if not options.module and not options.test:
        versions = {interpreter.version for interpreter in found}
        for exclusion in listed:
            if not exclusion.used and any(exclusion.applies_to(version) for version in versions):
                print(f"unused exclusion: {', '.join(exclusion.tests)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")
    mode = "classes" if options.classes else "loop"
    if options.update and not compare.update_document(options.update, mode, results):
        print(f"{options.update} has no markers for {mode}", file=sys.stderr)
        return 2
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
