"""The runner of other libraries' suites: what it counts, what it tries again, and what its files may say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="the script reads TOML")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def suites() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suites", ROOT / "scripts" / "suites.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["suites"] = module
    spec.loader.exec_module(module)
    return module


class Scripted:
    """Stands for an environment: gives outcomes from a table, by run and test."""

    def __init__(self, suite: Any, folder: Path, outcomes: dict[str, Any]) -> None:
        self.suite, self.folder = suite, folder
        self.outcomes = outcomes
        self.runs: list[tuple[str, list[str]]] = []

    def run(self, name: str, tests: list[str], *, aioxide: bool) -> dict[str, str]:
        self.runs.append((name, tests))
        found: dict[str, str] = self.outcomes[name]
        return {test: found[test] for test in tests or found if test in found}


def test_every_file_says_what_it_must(suites: ModuleType) -> None:
    found = suites.read([])
    assert len(found) >= 5
    for suite in found:
        assert suite.version
        assert bool(suite.arguments) != bool(suite.left_out), f"{suite.name}: tests, or why there are none"
        for entry in suite.deselected + suite.differences:
            assert set(entry) == {"tests", "reason"}
            assert entry["tests"]
            assert len(entry["reason"]) > 10


def test_suite_runs_on_the_pythons_that_it_is_for(suites: ModuleType) -> None:
    suite = suites.Suite("some", "1", oldest="3.11", newest="3.12")
    assert suite.refuses("3.10.13") == "it is for Python 3.11 or newer"
    assert suite.refuses("3.13.0") == "what its tests need is for Python 3.12 at most"
    assert [suite.refuses(version) for version in ("3.11.7", "3.12.1")] == ["", ""]


def test_outcomes_are_compared_by_test(suites: ModuleType, tmp_path: Path) -> None:
    listed = {"tests": ["t.py::listed[*"], "reason": "patches asyncio's own class"}
    suite = suites.Suite("example", "1.0", arguments=["t.py"], differences=[listed])
    stock = dict.fromkeys(["same", "listed[a]", "lucky", "broken", "lost", "flaky"], "passed") | {"stock": "failed"}
    ours = {"same": "passed", "listed[a]": "failed", "lucky": "failed", "broken": "failed", "flaky": "failed"}
    outcomes = {
        "asyncio": stock,
        "aioxide": ours | {"stock": "failed"},
        "again": {"lucky": "passed", "broken": "failed", "flaky": "failed"},
        "again-asyncio": {"broken": "passed", "lost": "passed", "flaky": "failed"},
    }
    named = {name: {f"t.py::{test}": outcome for test, outcome in table.items()} for name, table in outcomes.items()}
    result = suites.examine(Scripted(suite, tmp_path, named), None, fresh=True)
    assert result.failed == ["t.py::broken", "t.py::lost"]
    assert list(result.listed) == ["t.py::listed[a]"]
    assert result.unstable == ["t.py::lucky"]
    assert result.unstable_on_stock == ["t.py::flaky"]
    assert (result.stock, result.passed) == (5, 2)


def test_many_failures_are_not_tried_again(suites: ModuleType, tmp_path: Path) -> None:
    tests = [f"t.py::{number}" for number in range(suites.MANY + 1)]
    outcomes = {"asyncio": dict.fromkeys(tests, "passed"), "aioxide": dict.fromkeys(tests, "failed")}
    environment = Scripted(suites.Suite("example", "1.0"), tmp_path, outcomes)
    result = suites.examine(environment, None, fresh=True)
    assert result.failed == tests
    assert [name for name, _ in environment.runs] == ["asyncio", "aioxide"]


def test_table_keeps_the_rows_of_suites_that_did_not_run(suites: ModuleType, tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"before\n{suites.BEGIN}\n{suites.END}\nafter\n")
    one, two, none = (suites.Suite(name, "1.0") for name in ("one", "two", "none"))
    none.left_out = "its source archive has no tests"
    suites.update(document, [suites.Comparison(two, 10, 9, {"t": "reason"})], [], "3.11.7")
    suites.update(document, [suites.Comparison(one, 3, 3)], [none], "3.11.7")
    suites.update(document, [suites.Comparison(two, 11, 9, {"t": "reason"}, ["u"])], [], "3.9.1")
    lines = document.read_text().splitlines()
    assert lines[2:7] == [
        "| suite | version | 3.9.1 | 3.11.7 |",
        "| --- | --- | --- | --- |",
        "| none | 1.0, left out: its source archive has no tests |  |  |",
        "| one | 1.0 |  | 3 |",
        "| two | 1.0 | 9 of 11, **1 fail** | 9 of 10 |",
    ]
    assert (lines[0], lines[-1]) == ("before", "after")
    # Of another version nothing is known any more.
    two.version = "2.0"
    suites.update(document, [suites.Comparison(two, 12, 12)], [], "3.15.0rc1")
    lines = document.read_text().splitlines()
    assert (lines[2], lines[6]) == ("| suite | version | 3.9.1 | 3.11.7 | 3.15.0rc1 |", "| two | 2.0 |  |  | 12 |")
