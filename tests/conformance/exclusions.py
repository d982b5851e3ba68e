"""Reads the list of tests that need not pass, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import tomllib

FILE = Path(__file__).with_name("exclusions.toml")


@dataclass
class Exclusion:
    """Patterns of test ids and why they are excused; empty ``python`` means every version."""

    tests: list[str]
    reason: str
    python: list[str]
    classes_only: bool
    used: bool = False

    def covers(self, test: str, version: str) -> bool:
        return self.applies_to(version) and any(fnmatchcase(test, pattern) for pattern in self.tests)

    def applies_to(self, version: str) -> bool:
        return not self.python or version in self.python


def read(file: Path = FILE, *, classes: bool) -> list[Exclusion]:
    """Returns the exclusions that hold in this mode.

    Each `[[exclude]]` has `tests` (patterns without `test.test_asyncio.`), `reason`, and where needed `python`
    (versions) and `classes_only` (holds only when aioxide's Task, Future and so on are put in too).
    """
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    found = [
        Exclusion(
            tests=list(entry["tests"]),
            reason=str(entry["reason"]),
            python=list(entry.get("python", [])),
            classes_only=bool(entry.get("classes_only", False)),
        )
        for entry in table.get("exclude", [])
    ]
    return [exclusion for exclusion in found if classes or not exclusion.classes_only]


def reason_for(exclusions: list[Exclusion], test: str, version: str) -> str | None:
    """Returns why ``test`` is excused on ``version``, marking each exclusion that says so as used."""
    matching = [exclusion for exclusion in exclusions if exclusion.covers(test, version)]
    for exclusion in matching:
        exclusion.used = True
    return matching[0].reason if matching else None
