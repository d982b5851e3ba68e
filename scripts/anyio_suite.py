#!/usr/bin/env python3
"""Runs AnyIO's own test-suite on stock asyncio and on aioxide, and reports what only stock asyncio passes.

    scripts/anyio_suite.py [--version 4.16.0] [--keep FOLDER] [-k EXPRESSION]

To be run by an interpreter that has aioxide installed, with AnyIO of the same version as the suite. The suite is the
source archive from PyPI. Exits with 1 when a test passes on stock asyncio and not on aioxide, alone neither.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

NEEDED = [
    "blockbuster",
    "coverage",
    "exceptiongroup",
    "hypothesis",
    "psutil",
    "pytest",
    "pytest-mock",
    "pytest-timeout",
    "trio",
    "trustme",
]


def unpack(version: str, folder: Path) -> Path:
    """Downloads and unpacks the source archive."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
    subprocess.run([*command, f"anyio=={version}"], check=True)
    (archive,) = folder.glob("anyio-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"anyio-{version}"


def run(suite: Path, name: str, chosen: list[str], folder: Path) -> dict[str, str]:
    """Runs the chosen tests; returns each one's outcome. Stock asyncio's is kept in a folder that is kept."""
    report = folder / f"{name}.xml"
    if name == "asyncio" and report.exists():
        return outcomes_of(report)
    report.unlink(missing_ok=True)
    plugin = [] if name == "asyncio" else ["-p", "aioxide.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin]
    command += [f"--junit-xml={report}", "-W", "default", "--tb=short", *chosen]
    environment = dict(os.environ, PYTHONFAULTHANDLER="1")
    with (folder / f"{name}.log").open("w") as log:
        subprocess.run(command, cwd=suite, env=environment, stdout=log, stderr=log, timeout=3000, check=False)
    if not report.exists():
        tail = (folder / f"{name}.log").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{name}: the suite did not get to its end\n{tail}")
    return outcomes_of(report)


def outcomes_of(report: Path) -> dict[str, str]:
    """Reads a report: passed, failure, error or skipped for each test."""
    outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = kinds.pop() if kinds else "passed"
    return outcomes


def node_of(test: str) -> str:
    """The argument by which pytest finds a test of a report again."""
    place, _, name = test.rpartition("::")
    parts = place.split(".")
    modules = [part for part in parts if not part.startswith("Test")]
    classes = parts[len(modules) :]
    return "::".join(["/".join(modules) + ".py", *classes, name])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=importlib.metadata.version("anyio"))
    parser.add_argument("-k", dest="chosen", default="not trio and not uvloop and not network")
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *NEEDED], check=True)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="aioxide-anyio-"))
    folder.mkdir(exist_ok=True)
    suite = folder / f"anyio-{options.version}"
    if not suite.exists():
        suite = unpack(options.version, folder)
    chosen = ["-k", options.chosen, "tests"]
    stock = run(suite, "asyncio", chosen, folder)
    ours = run(suite, "aioxide", chosen, folder)
    worse = [
        test for test, outcome in stock.items() if outcome == "passed" and ours.get(test) not in ("passed", "skipped")
    ]
    # Several tests count threads and time: one that fails is tried again alone before it counts.
    for test in list(worse):
        again = run(suite, "again", [node_of(test)], folder)
        if set(again.values()) == {"passed"}:
            print(f"  passed alone: {test}")
            ours |= again
            worse.remove(test)
    passed = [sum(outcome == "passed" for outcome in outcomes.values()) for outcomes in (stock, ours)]
    print(f"AnyIO {options.version}: stock asyncio passes {passed[0]}, aioxide {passed[1]}; {len(worse)} on stock only")
    for test in worse:
        print(f"  {ours.get(test, 'did not run')} {test}")
    print(f"logs in {folder}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
