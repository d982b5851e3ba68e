"""A pytest plugin that writes each test's outcome into a file as soon as it is known: a crash loses no others."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

FILE = os.environ["AIOXIDE_SUITE_OUTCOMES"]
# What an earlier phase said is kept unless a later one is worse: setup, call, teardown.
_ORDER = ["passed", "skipped", "failed"]
_outcomes: dict[str, str] = {}

for name in os.environ["AIOXIDE_SUITE_QUIET"].split():
    logging.getLogger(name).setLevel(logging.CRITICAL)


def write(test: str, outcome: str) -> None:
    """Adds a line to the file."""
    with open(FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps([test, outcome]) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    write(nodeid, "begun")


def pytest_runtest_logreport(report: Any) -> None:
    outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome
    before = _outcomes.get(report.nodeid, "passed")
    _outcomes[report.nodeid] = max(before, outcome, key=_ORDER.index)
    if report.when == "teardown":
        write(report.nodeid, _outcomes.pop(report.nodeid))
