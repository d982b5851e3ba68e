"""The project keeps its own rules: documents at the top, sizes, places of `unsafe`, arrows between crates."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 1000
LONGEST_OF_EXTENSION = 600

# Crate -> those of ours that it may use.
ARROWS = {
    "aioxide-core": set(),
    "aioxide": {"aioxide-core", "aioxide-monitor"},
    "aioxide-http": {"aioxide"},
    "aioxide-cli": {"aioxide-http", "aioxide", "aioxide-monitor"},
    "aioxide-monitor": {"aioxide-core"},
    "aioxide-pyo3": set(),
    "aioxide-py-http": {"aioxide-http", "aioxide", "aioxide-core", "aioxide-pyo3"},
    "aioxide-py-monitor": {"aioxide-core", "aioxide-monitor"},
    "aioxide-py": {
        "aioxide-http",
        "aioxide-py-http",
        "aioxide-py-monitor",
        "aioxide",
        "aioxide-core",
        "aioxide-pyo3",
    },
}

# Where `unsafe` may stand, and why; a folder ends in a slash. A new place is a decision.
UNSAFE = {
    "crates/aioxide-core/src/sys/": "system calls",
    "crates/aioxide-core/src/task/": "the cell of a task is one raw allocation",
    "crates/aioxide-core/tests/forked_child.rs": "a process is forked",
    "crates/aioxide-core/src/models.rs": "loom's models run the raw cell's own functions",
    "crates/aioxide/src/net/source.rs": "a read into memory that is not cleared before",
    "crates/aioxide/src/watchdog/stack.rs": "a function that runs in a signal's handler",
    "crates/aioxide-http/src/rt.rs": "hyper's buffer is filled without a copy",
    "crates/aioxide-py-http/src/whole.rs": "a bytes object is filled piece by piece",
    "crates/aioxide-py-http/src/local.rs": "what one thread owns lies in objects that any thread may hold",
    "crates/aioxide-pyo3/src/": "the calls of another extension's C functions",
    "crates/aioxide-py/src/bridge/": "the C functions for other extensions, and their futures",
    "crates/aioxide-py/src/ffi/": "the calls of the interpreter",
    "crates/aioxide-py/src/interp/": "places in the interpreter's objects that are read",
    "crates/aioxide-py/src/awaitable/": "instances made without a constructor, and the slots of their types",
    "crates/aioxide-py/src/kernel/": "the loop's own address; handles, made without a constructor and kept",
    "crates/aioxide-py/src/task/": "our data behind the interpreter's part of an instance; the step",
    "crates/aioxide-py/src/future/": "our data behind the interpreter's part of an instance",
    "crates/aioxide-py/src/queue/": "methods that are added to classes of Python; the number that is a limit",
    "crates/aioxide-py/src/event_loop/mod.rs": "methods that are added to the class past PyO3",
    "tests/probe/src/lib.rs": "a descriptor that a test gives away",
}

# Arrows between rooms of the extension that run up (`ORDER` of scripts/rooms.py). The list may only shrink.
DEBTS: set[str] = set()

# Programs that are quoted word for word.
QUOTED = {"examples/lesson.py"}


@cache
def files(*suffixes: str) -> list[Path]:
    """The project's files, not what is built or installed beside them."""
    outside = {"target", "dist", "downloads", "__pycache__"}
    found = []
    for folder in ("benches", "crates", "examples", "python", "scripts", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and not outside & set(path.relative_to(ROOT).parts):
                found.append(path)
    assert found
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code(path: Path) -> str:
    """A Rust file without its comments and texts."""
    return str(rooms().bare(path.read_text()))


def test_first_line_tells_what_a_file_holds() -> None:
    untold = []
    for path in files(".rs", ".py", ".pyi"):
        if name(path) in QUOTED:
            continue
        if path.suffix == ".rs":
            told = path.read_text().startswith("//! ")
        else:
            lines = [line for line in path.read_text().splitlines()[:2] if not line.startswith("#!")]
            told = lines[0].startswith('"""') and bool(ast.get_docstring(ast.parse(path.read_text())))
        if not told:
            untold.append(name(path))
    assert not untold, f"no sentence at the top: {untold}"


def test_no_file_is_too_long() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in files(".rs", ".py", ".pyi", ".c")}
    too_long = {file: length for file, length in lengths.items() if length > LONGEST}
    assert not too_long, f"over {LONGEST} lines: {too_long}"
    extension = {file: length for file, length in lengths.items() if file.startswith("crates/aioxide-py/src/")}
    too_long = {file: length for file, length in extension.items() if length > LONGEST_OF_EXTENSION}
    assert not too_long, f"over {LONGEST_OF_EXTENSION} lines: {too_long}"


def test_unsafe_stands_only_where_it_may() -> None:
    keyword = re.compile(r"\bunsafe\b(?!_)")
    used = {name(path) for path in files(".rs") if keyword.search(code(path))}
    elsewhere = {file for file in used if not any(file == place or file.startswith(place) for place in UNSAFE)}
    assert not elsewhere, f"unsafe code in {sorted(elsewhere)}"
    unused = {place for place in UNSAFE if not any(file == place or file.startswith(place) for file in used)}
    assert not unused, f"these need no permission: {sorted(unused)}"


def test_nothing_is_released_in_the_statement_that_borrows_it() -> None:
    """What is dropped may come back: `drop(x.borrow_mut().take())` and `*x.borrow_mut() = y` drop during the borrow."""
    drops = re.compile(r"drop\([^;]*\.borrow_mut\(\)|^\s*\*[\w.]+\.borrow_mut\(\) = ", re.MULTILINE)
    found = [name(path) for path in files(".rs") if "aioxide-py/src" in name(path) and drops.search(code(path))]
    assert not found, f"use `take` or `replace` of the RefCell: {found}"


@pytest.mark.parametrize("crate", ["aioxide", "aioxide-http"])
def test_unsafe_is_denied_where_it_is_an_exception(crate: str) -> None:
    assert "#![deny(unsafe_code)]" in (ROOT / "crates" / crate / "src/lib.rs").read_text()


def test_unsafe_is_forbidden_in_the_program() -> None:
    assert "#![forbid(unsafe_code)]" in (ROOT / "crates/aioxide-cli/src/main.rs").read_text()


def dependencies(manifest: Path) -> set[str]:
    """The names under a manifest's `[dependencies]` and their like for tests, builds and targets."""
    names = set()
    section = ""
    for line in manifest.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "dependencies" in section and (found := re.match(r"([A-Za-z0-9_-]+)", line)):
            names.add(found[1])
        if found := re.search(r"dependencies\.([A-Za-z0-9_-]+)\]$", line):
            names.add(found[1])
    return names


def test_crates_use_each_other_in_one_direction() -> None:
    assert {path.name for path in (ROOT / "crates").iterdir() if (path / "Cargo.toml").exists()} == set(ARROWS)
    for crate, allowed in ARROWS.items():
        ours = dependencies(ROOT / "crates" / crate / "Cargo.toml") & set(ARROWS)
        assert ours <= allowed, f"{crate} depends on {sorted(ours - allowed)}"


def rooms():
    """The module behind `make rooms`."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import rooms
    finally:
        sys.path.pop(0)
    return rooms


def test_rooms_use_only_those_below_them() -> None:
    crate = rooms().Crate("aioxide-py")
    up = {(crate.room(one), crate.room(other)): f"{one} -> {other}" for one, other in crate.arrows_up}
    found = {" -> ".join(arrow) for arrow in up}
    new = {arrow: file for arrow, file in up.items() if " -> ".join(arrow) not in DEBTS}
    assert not new, f"a room uses one above it: {new}"
    assert found == DEBTS, f"paid, to be struck out of DEBTS: {sorted(DEBTS - found)}"


def test_page_shows_the_rooms_as_they_are() -> None:
    module = rooms()
    drawn = module.picture(module.Crate("aioxide-py"))
    assert drawn in module.PAGE.read_text(), "run `make rooms`"


def test_four_crates_know_python() -> None:
    knowing = [crate for crate in ARROWS if "pyo3" in dependencies(ROOT / "crates" / crate / "Cargo.toml")]
    assert knowing == ["aioxide-pyo3", "aioxide-py-http", "aioxide-py-monitor", "aioxide-py"]


def test_engine_knows_nothing_of_http_and_tls() -> None:
    # backtrace: only with the feature `sample`, for a watchdog.
    known = {"backtrace", "libc", "loom", "criterion", "proptest", "tokio"}
    assert dependencies(ROOT / "crates/aioxide-core/Cargo.toml") <= known


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "docs/style.md", "docs/guide/object-model.md"])
def test_pages_for_contributors_name_files_and_verbs_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    source = ROOT / "crates/aioxide-py/src"
    # The guide's own example is made while it is read.
    made = {"tests/test_latch.py", "crates/aioxide-py/src/sync/latch.rs", "sync/latch.rs"}
    named = set(re.findall(r"[\w./-]+/[\w.-]+\.(?:rs|py|pyi|md)\b", text)) - made
    folders = (ROOT, source, (ROOT / page).parent)
    missing = [name for name in named if not any((folder / name).exists() for folder in folders)]
    verbs = set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)", text, re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert not missing, f"{page} names {missing}"
    assert verbs <= known, f"{page} names verbs that do not exist: {sorted(verbs - known)}"


def test_page_of_what_is_relied_on_names_tests_that_exist() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "relied-on.md").read_text())
    assert len(named) > 70
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()]
    assert not missing


PAGES = sorted(name(path) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_headings_of_decisions_are_unique() -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    assert len(headings) == len(set(headings)) > 50
