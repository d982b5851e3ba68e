#!/usr/bin/env python3
"""Runs real libraries' own test-suites on stock asyncio and on aioxide, and reports what only stock asyncio passes.

    scripts/suites.py                      every suite of tests/suites
    scripts/suites.py websockets aiohttp   these
    scripts/suites.py --test '*drain*' tornado

Each suite is the source archive of a package from PyPI, in an environment of its own under .cache/suites; its file in
tests/suites says what it needs, which tests are left out and which may fail on aioxide, each with its reason. The
same tests run twice, the second time with `AIOXIDE=1`. What stock asyncio fails does not count. A test that fails on
aioxide alone is tried again by itself, on both, before it does. Exits with 1 when one is left that is not listed.
Needs Python 3.11 or later; PYTHON or --python chooses the interpreter under test.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import tomllib

PROJECT = Path(__file__).resolve().parent.parent
SUITES = PROJECT / "tests" / "suites"
CACHE = PROJECT / ".cache" / "suites"
BEGIN, END = "<!-- suites begin -->", "<!-- suites end -->"
# PyPI's list of a package's files.
SIMPLE = "application/vnd.pypi.simple.v1+json"
# More failures than this have one cause, which is better looked for than tried again.
MANY = 60
TRIES = 3
PASSED, SKIPPED = "passed", "skipped"
Outcomes = dict[str, str]


@dataclass
class Suite:
    """One library's suite, as its file describes it."""

    name: str
    version: str
    package: str = ""
    # Why there is nothing to run; everything below is empty then.
    left_out: str = ""
    # The oldest and the newest Python that it, or what its tests need, works with, where that is not all of aioxide's.
    oldest: str = ""
    newest: str = ""
    # What its tests import beside the package, and what of the archive pytest gets.
    requirements: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    # Extras of the package, and variables of the environment.
    extras: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    # A command that runs beside the tests; without it on the path the suite is left out.
    service: list[str] = field(default_factory=list)
    # Plugins of pytest in tests/suites that put our own in the place of what is tested, on aioxide.
    replacing: list[str] = field(default_factory=list)
    # Loggers that the library's own runner silences.
    quiet: list[str] = field(default_factory=list)
    # Files of the archive that must go, for the installed package to be the one that is tested.
    remove: list[str] = field(default_factory=list)
    timeout: int = 60
    # Patterns of test ids with their reasons: not run at all; allowed to fail on aioxide.
    deselected: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)

    def refuses(self, interpreter: str) -> str:
        """Why it is not run on an interpreter of that version; empty if it is."""
        version = numbers(interpreter)[:2]
        if self.oldest and version < numbers(self.oldest):
            return f"it is for Python {self.oldest} or newer"
        if self.newest and version > numbers(self.newest):
            return f"what its tests need is for Python {self.newest} at most"
        return ""

    def reason(self, test: str) -> str | None:
        """Why the test may fail on aioxide."""
        return next((entry["reason"] for entry in self.differences if covers(entry["tests"], test)), None)


@dataclass
class Comparison:
    """What came of one suite."""

    suite: Suite
    stock: int = 0
    passed: int = 0
    listed: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    # Failed in the whole run and passed alone, on aioxide; failed alone on stock asyncio too.
    unstable: list[str] = field(default_factory=list)
    unstable_on_stock: list[str] = field(default_factory=list)


def covers(patterns: Iterable[str], test: str) -> bool:
    """Whether a pattern is the test's id, or fits it; brackets stand for themselves."""
    return any(fnmatchcase(test, pattern.replace("[", "[[]")) for pattern in patterns)


def read(names: list[str]) -> list[Suite]:
    """Reads the files of the suites that were asked for, or of all."""
    files = [SUITES / f"{name}.toml" for name in names] or sorted(SUITES.glob("*.toml"))
    suites = []
    for file in files:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        suite = Suite(file.stem, **{"package": file.stem, **table})
        if suite.service and not shutil.which(suite.service[0]):
            suite.left_out = f"there is no {suite.service[0]} on the path"
        suites.append(suite)
    return suites


class NothingRan(Exception):
    """pytest, or what it loads, does not start."""


class Environment:
    """A virtual environment with the package, its tests' requirements and aioxide, and the unpacked source archive."""

    def __init__(self, suite: Suite, python: str, wheel: Path) -> None:
        version = output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        self.suite = suite
        self.folder = CACHE / f"{suite.name}-{suite.version}-{version}"
        self.python = self.folder / "venv" / "bin" / "python"
        self.source = self.folder / f"{suite.package}-{suite.version}"
        if not (self.folder / "complete").exists():
            self.make(python)
        self.pip("install", "-q", "--force-reinstall", "--no-deps", str(wheel))

    def make(self, python: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        subprocess.run([python, "-m", "venv", str(self.folder / "venv")], check=True)
        extras = f"[{self.suite.extras}]" if self.suite.extras else ""
        package = f"{self.suite.package}{extras}=={self.suite.version}"
        self.pip("install", "-q", package, "pytest", "pytest-timeout", *self.suite.requirements)
        archive = download(self.suite.package, self.suite.version)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            top = tar.getnames()[0].partition("/")[0]
            tar.extractall(self.folder, filter="data")
        (self.folder / top).rename(self.source)
        for name in self.suite.remove:
            path = self.source / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder / "complete").touch()

    def pip(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        subprocess.run(command, check=True)

    @contextmanager
    def service(self) -> Iterator[None]:
        """Runs the suite's service, if it has one."""
        if not self.suite.service:
            yield
            return
        with subprocess.Popen(self.suite.service, cwd=self.folder, stdout=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    def run(self, name: str, tests: list[str], *, aioxide: bool) -> Outcomes:
        """Runs tests (all of them: an empty list); returns their outcomes, and keeps what pytest prints."""
        report = self.folder / f"{name}.outcomes"
        report.unlink(missing_ok=True)
        environment = os.environ | self.suite.environment
        environment |= {"AIOXIDE": "1" if aioxide else "0", "AIOXIDE_SUITE_OUTCOMES": str(report)}
        environment["AIOXIDE_SUITE_QUIET"] = " ".join(self.suite.quiet)
        environment["PYTHONPATH"] = os.pathsep.join([str(SUITES), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment["PATH"] = os.pathsep.join([str(self.python.parent), environment["PATH"]])
        command = [str(self.python), "-m", "pytest", "-p", "recorder", "-p", "no:cacheprovider", "-q", "--tb=short"]
        command += [f"--timeout={self.suite.timeout}", *self.suite.arguments]
        if aioxide:
            command += [part for plugin in self.suite.replacing for part in ("-p", plugin)]
        if tests:
            paths = {part for part in self.suite.arguments if (self.source / part).exists()}
            command = [part for part in command if part not in paths] + tests
        for entry in self.suite.deselected:
            command += [part for test in entry["tests"] for part in ("--deselect", test)]
        with (self.folder / f"{name}.log").open("w") as log, self.service():
            subprocess.run(command, cwd=self.source, env=environment, stdout=log, stderr=log, check=False)
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        if not lines and not tests:
            tail = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
            raise NothingRan(f"{self.suite.name}: no test ran ({name})\n{tail}")
        return dict(json.loads(line) for line in lines)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def download(package: str, version: str) -> bytes:
    """Gets the source archive from PyPI; pip would build it to learn its name."""
    index = urllib.request.Request(f"https://pypi.org/simple/{package}/", headers={"Accept": SIMPLE})
    with urllib.request.urlopen(index, timeout=60) as response:
        files = json.load(response)["files"]
    name = f"{package}-{version}.tar.gz"
    (file,) = (file for file in files if file["filename"].lower().replace("_", "-") == name.replace("_", "-"))
    with urllib.request.urlopen(file["url"], timeout=60) as response:
        archive: bytes = response.read()
    if hashlib.sha256(archive).hexdigest() != file["hashes"]["sha256"]:
        raise SystemExit(f"{package} {version}: the archive is damaged")
    return archive


def build(python: str, profile: str) -> Path:
    """Builds the wheel of this checkout."""
    folder = CACHE / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--no-deps", "--config-settings", f"build-args=--profile {profile}", "-w", str(folder)]
    subprocess.run(
        [python, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", *options, str(PROJECT)], check=True
    )
    return next(folder.glob("aioxide-*.whl"))


def examine(environment: Environment, pattern: str | None, fresh: bool) -> Comparison:
    """Runs a suite on both and compares."""
    suite = environment.suite
    kept = environment.folder / "stock.json"
    if fresh or not kept.exists():
        kept.write_text(json.dumps(environment.run("asyncio", [], aioxide=False)), encoding="utf-8")
    stock: Outcomes = json.loads(kept.read_text(encoding="utf-8"))
    if pattern:
        stock = {test: outcome for test, outcome in stock.items() if fnmatchcase(test, pattern)}
    passing = [test for test, outcome in stock.items() if outcome == PASSED]
    ours = environment.run("aioxide", passing if pattern else [], aioxide=True)
    result = Comparison(suite)
    worse = [test for test in passing if ours.get(test) != PASSED]
    for test in worse:
        if (reason := suite.reason(test)) is not None:
            result.listed[test] = reason
        elif len(worse) > MANY:
            result.failed.append(test)
        elif PASSED in (environment.run("again", [test], aioxide=True).get(test) for _ in range(TRIES)):
            result.unstable.append(test)
        elif any(environment.run("again-asyncio", [test], aioxide=False).get(test) != PASSED for _ in range(TRIES)):
            result.unstable_on_stock.append(test)
        else:
            result.failed.append(test)
    result.stock = len(passing) - len(result.unstable_on_stock)
    result.passed = result.stock - len(result.listed) - len(result.failed)
    return result


def show(result: Comparison) -> None:
    print(
        f"{result.suite.name} {result.suite.version}: stock asyncio passes {result.stock}, aioxide {result.passed}; "
        f"{len(result.listed)} listed, {len(result.failed)} FAILED",
        flush=True,
    )
    for what, tests in (
        ("failed", result.failed),
        ("passed alone", result.unstable),
        ("fails alone on stock asyncio too", result.unstable_on_stock),
    ):
        for test in tests:
            print(f"  {what}: {test}", flush=True)


def rows_of(table: str) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The names of a table's columns, and its rows by their first cell."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]
    columns, rows = (lines[0], lines[2:]) if lines else (["suite", "version"], [])
    return columns, {row[0]: dict(zip(columns, row, strict=False)) for row in rows}


def numbers(version: str) -> list[int]:
    """Those of a version, for comparisons."""
    return [int(number) for number in re.findall(r"\d+", version)]


def cell(result: Comparison) -> str:
    """What the table says of one suite on one interpreter."""
    text = str(result.stock) if result.passed == result.stock else f"{result.passed} of {result.stock}"
    return f"{text}, **{len(result.failed)} fail**" if result.failed else text


def markdown(results: list[Comparison], left_out: list[Suite], old: str, interpreter: str) -> str:
    """The table for the document; what did not run, or on other interpreters, stays."""
    columns, rows = rows_of(old)
    if interpreter not in columns:
        columns = columns[:2] + sorted([*columns[2:], interpreter], key=numbers)
    for result in results:
        row = rows.get(result.suite.name, {})
        if row.get("version") != result.suite.version:
            row = {"suite": result.suite.name, "version": result.suite.version}
        rows[result.suite.name] = row | {interpreter: cell(result)}
    for suite in left_out:
        rows[suite.name] = {"suite": suite.name, "version": f"{suite.version}, left out: {suite.left_out}"}
    lines = [columns, ["---"] * len(columns), *([rows[name].get(c, "") for c in columns] for name in sorted(rows))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def update(document: Path, results: list[Comparison], left_out: list[Suite], interpreter: str) -> None:
    """Puts the table between the document's markers."""
    text = document.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    old, tail = rest.split(END, 1)
    table = markdown(results, left_out, old.strip(), interpreter)
    document.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help="names of files in tests/suites (default: all)")
    parser.add_argument("--python", default=os.environ.get("PYTHON", sys.executable), help="the interpreter under test")
    parser.add_argument("--wheel", type=Path, help="take this aioxide, do not build one")
    parser.add_argument("--profile", default="release", help="how to build it: dev is faster to build")
    parser.add_argument("--test", metavar="PATTERN", help="only these tests of stock asyncio's")
    parser.add_argument("--fresh", action="store_true", help="run stock asyncio again, do not use its kept outcomes")
    parser.add_argument(
        "--update", type=Path, metavar="DOCUMENT", help="write the table between the document's markers"
    )
    options = parser.parse_args()
    suites = read(options.suites)
    left_out = [suite for suite in suites if suite.left_out]
    for suite in left_out:
        print(f"{suite.name} {suite.version}: left out: {suite.left_out}")
    wheel = options.wheel.resolve() if options.wheel else build(options.python, options.profile)
    interpreter = output(options.python, "-c", "import platform; print(platform.python_version())")
    results = []
    broken = False
    for suite in suites:
        if not suite.left_out:
            if refusal := suite.refuses(interpreter):
                print(f"{suite.name} {suite.version}: {refusal}")
                continue
            try:
                environment = Environment(suite, options.python, wheel)
                results.append(examine(environment, options.test, options.fresh))
            except (NothingRan, subprocess.CalledProcessError) as error:
                # The others are run all the same.
                print(f"{suite.name} {suite.version}: FAILED to run on Python {interpreter}\n{error}", flush=True)
                broken = True
                continue
            show(results[-1])
            if options.update:
                standing = [suite for suite in left_out if not suite.service]
                update(options.update, results[-1:], standing, interpreter)
    return 1 if broken or any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
