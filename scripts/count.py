"""How large the project's Rust is: files, lines, lines of code and `unsafe`, per crate (`make count`).

`--at REV` counts what a commit held, beside the present state; `--longest N` lists the longest files.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator

from rooms import ROOT, bare


def present() -> Iterator[tuple[str, str]]:
    """The sources as they are now: name, text."""
    for path in sorted((ROOT / "crates").glob("*/src/**/*.rs")):
        yield path.relative_to(ROOT).as_posix(), path.read_text()


def committed(revision: str) -> Iterator[tuple[str, str]]:
    """The sources as a commit holds them."""
    git = ["git", "-C", str(ROOT)]
    names = subprocess.check_output([*git, "ls-tree", "-r", "--name-only", revision, "crates"], text=True)
    for name in names.splitlines():
        if re.fullmatch(r"crates/[^/]+/src/.+\.rs", name):
            yield name, subprocess.check_output([*git, "show", f"{revision}:{name}"], text=True)


def count(sources: Iterator[tuple[str, str]]) -> dict[str, list[int]]:
    """Crate -> files, lines, lines of code, blocks of `unsafe`, unsafe functions, impls and traits."""
    counts: dict[str, list[int]] = {}
    for name, text in sources:
        code = bare(text)
        found = [
            1,
            len(text.splitlines()),
            sum(bool(line.strip()) for line in code.splitlines()),
            len(re.findall(r"\bunsafe\s*\{", code)),
            len(re.findall(r"\bunsafe\s+(?:extern|fn|impl|trait)\b", code)),
        ]
        for crate in (name.split("/")[1], "all"):
            sums = counts.setdefault(crate, [0] * len(found))
            counts[crate] = [one + other for one, other in zip(sums, found, strict=True)]
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at", metavar="REV", help="a commit to compare with")
    parser.add_argument("--longest", metavar="N", type=int, default=5, help="how many of the longest files to list")
    options = parser.parse_args()
    now = count(present())
    before = count(committed(options.at)) if options.at else {}
    columns = ["files", "lines", "code", "unsafe {}", "unsafe items"]
    print(f"{'':<14}" + "".join(f"{column:>20}" for column in columns))
    for crate, counts in sorted(now.items(), key=lambda item: (item[0] == "all", item[0])):
        old = before.get(crate, [None] * len(counts))
        cells = [f"{number}" if was is None else f"{was} -> {number}" for was, number in zip(old, counts, strict=True)]
        print(f"{crate:<14}" + "".join(f"{cell:>20}" for cell in cells))
    longest = sorted(((len(text.splitlines()), name) for name, text in present()), reverse=True)
    for length, name in longest[: options.longest]:
        print(f"{length:>6} {name}")


if __name__ == "__main__":
    main()
