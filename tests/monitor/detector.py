"""Looks for deadlocks all the time while other tests run: none of them has one, so every report is false.

    python -m pytest -p tests.monitor.detector tests --ignore tests/monitor

`make test-detector` does it. What is found is told at the end with the test that ran, and fails the run. Who looks
holds tasks and handles meanwhile, so a check that a test leaves nothing behind may fail here: that is no deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from aioxide import monitor

PAUSE = 0.005
"""Seconds between two looks."""


class Detector:
    """A thread that looks."""

    def __init__(self) -> None:
        self.test = ""
        self.looks = 0
        self.found: dict[str, str] = {}
        self.failed: list[str] = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.look, name="detector", daemon=True)

    def look(self) -> None:
        while not self.ending.wait(PAUSE):
            test = self.test
            try:
                deadlocks = monitor.deadlocks()
            except Exception as error:
                self.failed.append(f"{test}: {error!r}")
                continue
            self.looks += 1
            if deadlocks and test == self.test:
                self.found.setdefault(test, deadlocks[0]["text"])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.test = item.nodeid
        yield
        self.test = ""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        is_there = self.thread.is_alive()
        self.ending.set()
        self.thread.join()
        if self.found or self.failed or not self.looks or not is_there:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("deadlocks")
        terminalreporter.line(f"{self.looks} looks, {len(self.failed)} failed, {len(self.found)} tests with a report")
        for failed in self.failed[:20]:
            terminalreporter.line(failed)
        for test, text in self.found.items():
            terminalreporter.line(f"{test}\n{text}")


def pytest_configure(config: pytest.Config) -> None:
    detector = Detector()
    config.pluginmanager.register(detector)
    detector.thread.start()
