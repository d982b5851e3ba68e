"""Runs test modules in child processes, through hangs and crashes, to one outcome per test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
# A test that hangs is stopped by the child's own watchdog thread; this much later the parent kills the child.
GRACE_SECONDS = 20.0
# More deaths than this in one module: what is left of it counts as lost.
MAX_DEATHS = 60
PASSING = ("passed", "skipped")


@dataclass
class Outcome:
    """How one test ended: passed, skipped, failed, crashed, hung or lost."""

    outcome: str
    detail: str = ""
    loops: int = 0
    seconds: float = 0.0


@dataclass
class Job:
    """One module of tests on one loop by one interpreter."""

    python: str
    module: str
    loop: str
    classes: str | None = None
    test_timeout: float = 60.0
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self) -> None:
        """Runs every test of the module; a test that ends the process is run again, alone."""
        deaths: list[str] = []
        while True:
            killer, finished, how, log = self._attempt(only=[], skip=list(self.outcomes))
            if finished:
                break
            if killer is None or len(deaths) >= MAX_DEATHS:
                self.outcomes[f"{self.module}.<module>"] = Outcome("lost", log)
                break
            self.outcomes[killer] = Outcome(how, log)
            deaths.append(killer)
        for test in deaths:
            self._again(test)

    def retry(self, tests: list[str]) -> list[str]:
        """Runs the named tests again, each alone; returns those that pass now."""
        return [test for test in tests if self._again(test)]

    def _again(self, test: str) -> bool:
        before = self.outcomes.pop(test)
        _, finished, how, log = self._attempt(only=[test], skip=[])
        if test not in self.outcomes:
            self.outcomes[test] = before if finished else Outcome(how, log)
        return self.outcomes[test].outcome in PASSING

    def _attempt(self, only: list[str], skip: list[str]) -> tuple[str | None, bool, str, str]:
        """Runs one child; returns the test it died in, whether it got to the end, how it died, and its last words."""
        with tempfile.TemporaryDirectory(prefix="aioxide-conformance-") as folder:
            report, selection, log = (Path(folder, name) for name in ("report", "selection", "log"))
            report.touch()
            selection.write_text(json.dumps({"only": only, "skip": skip}))
            hung = self._spawn(folder, report, selection, log)
            running, finished = self._read(report)
            words = log.read_text(errors="replace")[-3000:]
            if hung is None and "Timeout (" in words:
                hung = True
            return running, finished, "hung" if hung else "crashed", words

    def _spawn(self, folder: str, report: Path, selection: Path, log: Path) -> bool | None:
        command = [self.python, "-X", "faulthandler", str(CHILD), "--module", self.module, "--loop", self.loop]
        command += ["--report", str(report), "--select", str(selection), "--timeout", str(self.test_timeout)]
        if self.classes:
            command += ["--classes", self.classes]
        environment = dict(os.environ, TMPDIR=folder, PYTHONWARNINGS="ignore")
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                return self._wait(child, report)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # what the tests left running

    def _wait(self, child: subprocess.Popen[bytes], report: Path) -> bool | None:
        """Waits for the child as long as its report grows; returns True when it had to be killed."""
        size = -1
        while True:
            try:
                child.wait(self.test_timeout + GRACE_SECONDS)
                return None
            except subprocess.TimeoutExpired:
                if report.stat().st_size == size:
                    child.kill()
                    child.wait()
                    return True
                size = report.stat().st_size

    def _read(self, report: Path) -> tuple[str | None, bool]:
        running: str | None = None
        finished = False
        for line in report.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut off by the death of the process
            if record["event"] == "start":
                running = record["id"]
            elif record["event"] == "end":
                running = None
                del record["event"]
                test = record.pop("id")
                self.outcomes[test] = Outcome(**record)
            else:
                finished = True
        return running, finished

    def as_json(self) -> dict[str, dict[str, object]]:
        return {name: asdict(outcome) for name, outcome in self.outcomes.items()}
