"""Compares the outcomes of two loops on the same tests and writes the result for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .exclusions import Exclusion, reason_for
from .processes import PASSING, Outcome

BEGIN = "<!-- conformance:{mode} begin -->"
END = "<!-- conformance:{mode} end -->"


@dataclass
class Comparison:
    """One interpreter: what stock asyncio passes, and what became of it on the other loop."""

    version: str
    full_version: str
    stock_passed: int = 0
    passed: int = 0
    loop_stock_passed: int = 0
    loop_passed: int = 0
    excluded: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    crashed: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    unstable: list[str] = field(default_factory=list)

    def summary(self) -> str:
        share = 100 * self.passed / max(1, self.stock_passed)
        line = (
            f"{self.full_version}: stock passes {self.stock_passed} ({self.loop_stock_passed} of them make a loop), "
            f"ours passes {self.passed} ({self.loop_passed}) = {share:.1f} %, {len(self.excluded)} excluded, "
            f"{len(self.failed)} FAILED, {len(self.crashed)} crashed, {len(self.hung)} hung"
        )
        return line + (f", {len(self.unstable)} passed only on a second try" if self.unstable else "")


def regressions(stock: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> list[str]:
    """Returns the tests that stock asyncio passes and the other loop does not."""
    lost = Outcome("lost", "the test did not run")
    return [
        test
        for test, outcome in stock.items()
        if outcome.outcome == "passed" and ours.get(test, lost).outcome not in PASSING
    ]


def compare(
    version: str,
    full_version: str,
    stock: Mapping[str, Outcome],
    ours: Mapping[str, Outcome],
    exclusions: list[Exclusion],
) -> Comparison:
    """Counts the tests that stock asyncio passes by what they did on the other loop.

    A test that the other loop skips although stock asyncio passes it counts as excluded, with its own reason.
    """
    result = Comparison(version, full_version)
    failing = set(regressions(stock, ours))
    for test, reference in stock.items():
        if reference.outcome != "passed":
            continue
        with_loop = reference.loops > 0
        result.stock_passed += 1
        result.loop_stock_passed += with_loop
        outcome = ours.get(test, Outcome("lost", "the test did not run"))
        if outcome.outcome == "crashed":
            result.crashed.append(test)
        elif outcome.outcome == "hung":
            result.hung.append(test)
        if test in failing:
            reason = reason_for(exclusions, test, version)
            if reason is None:
                result.failed[test] = f"{outcome.outcome}: {outcome.detail}"
            else:
                result.excluded[test] = reason
        elif outcome.outcome == "skipped":
            result.excluded[test] = f"skips itself: {outcome.detail}"
        else:
            result.passed += 1
            result.loop_passed += with_loop
    return result


def markdown(results: list[Comparison]) -> str:
    """Returns the table for docs/compat.md."""
    lines = [
        "| CPython | tests that stock asyncio passes | of these make a loop | aioxide passes | excluded | fails |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        lines.append(
            f"| {result.full_version} | {result.stock_passed} | {result.loop_stock_passed} | {result.passed} "
            f"| {len(result.excluded)} | {len(result.failed)} |"
        )
    return "\n".join(lines)


def update_document(file: Path, mode: str, results: list[Comparison]) -> bool:
    """Puts the table between the markers of ``mode``; rows of interpreters not run stay. False: no markers."""
    text = file.read_text(encoding="utf-8")
    begin, end = BEGIN.format(mode=mode), END.format(mode=mode)
    if begin not in text or end not in text:
        return False
    head, rest = text.split(begin, 1)
    old, tail = rest.split(end, 1)
    new = markdown(results).splitlines()
    rows = {_key(line): line for line in [*old.splitlines()[3:], *new[2:]] if line.startswith("| 3.")}
    table = "\n".join([*new[:2], *(rows[key] for key in sorted(rows))])
    file.write_text(f"{head}{begin}\n{table}\n{end}{tail}", encoding="utf-8")
    return True


def _key(row: str) -> tuple[int, int]:
    major, minor = row.removeprefix("| ").split(".")[:2]
    return int(major), int(minor)
