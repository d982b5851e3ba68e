"""Runs one module of CPython's asyncio tests on a given loop and writes one JSON line per test.

python child.py --module test_streams --loop module:callable --report FILE [--classes PACKAGE] [--select FILE]
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import sys
import time
import unittest
from collections.abc import Iterator
from typing import IO, Any

from classes import substitute_classes
from substitute import DUPLICATES, LoopClass, adapt_test_utils, load, substitute_loop

PREFIX = "test.test_asyncio."


class Reporter(unittest.TestResult):
    """Writes when a test starts and how it ended, at once: the process may not live to the end."""

    def __init__(self, report: IO[str], stand_in: LoopClass, timeout: float) -> None:
        super().__init__()
        self._report = report
        self._stand_in = stand_in
        self._timeout = timeout
        self._outcome = "passed"
        self._detail = ""
        self._made = 0
        self._started = 0.0

    def write(self, **record: Any) -> None:
        self._report.write(json.dumps(record) + "\n")
        self._report.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._outcome, self._detail = "passed", ""
        self._made, self._started = self._stand_in.made, time.perf_counter()
        self.write(event="start", id=short_id(test))
        faulthandler.dump_traceback_later(self._timeout, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        self.write(
            event="end",
            id=short_id(test),
            outcome=self._outcome,
            detail=self._detail[-2000:],
            loops=self._stand_in.made - self._made,
            seconds=round(time.perf_counter() - self._started, 3),
        )

    def _failed(self, test: Any, err: Any) -> None:
        detail = self._exc_info_to_string(err, test)  # type: ignore[attr-defined]
        if isinstance(test, unittest.TestCase):
            self._outcome, self._detail = "failed", detail
        else:  # a setUpClass or setUpModule that failed stands for its tests
            self.write(event="end", id=str(test), outcome="failed", detail=detail[-2000:], loops=0, seconds=0.0)

    def addError(self, test: Any, err: Any) -> None:
        self._failed(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._failed(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._failed(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        if self._outcome == "passed":
            self._outcome, self._detail = "skipped", reason

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._outcome, self._detail = "failed", "unexpected success"


def short_id(test: unittest.TestCase) -> str:
    return test.id().removeprefix(PREFIX)


def flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def select(suite: unittest.TestSuite, only: set[str], skip: set[str]) -> unittest.TestSuite:
    chosen = [
        test
        for test in flatten(suite)
        if type(test).__name__ not in DUPLICATES and (not only or short_id(test) in only) and short_id(test) not in skip
    ]
    return unittest.TestSuite(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--report", required=True)
    parser.add_argument("--classes")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--select", help="a JSON file with the lists `only` and `skip`")
    arguments = parser.parse_args()

    import asyncio  # noqa: F401 - before any extension that imports _asyncio: see asyncio.tasks

    stand_in = substitute_loop(load(arguments.loop))
    if arguments.classes:
        substitute_classes(importlib.import_module(arguments.classes))
    from test import support

    support.use_resources = ["cpu", "subprocess", "walltime"]  # no network: only loopback
    adapt_test_utils(stand_in)
    wanted: dict[str, list[str]] = {"only": [], "skip": []}
    if arguments.select:
        with open(arguments.select, encoding="utf-8") as file:
            wanted = json.load(file)
    suite = unittest.defaultTestLoader.loadTestsFromName(PREFIX + arguments.module)
    with open(arguments.report, "a", encoding="utf-8") as report:
        reporter = Reporter(report, stand_in, arguments.timeout)
        select(suite, set(wanted["only"]), set(wanted["skip"])).run(reporter)
        reporter.write(event="finished")
    # Threads and loops that a failed test left behind must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
