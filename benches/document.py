"""Where a benchmark's table stands in `docs/benchmarks.md`: between two comments that name it."""

from __future__ import annotations

from pathlib import Path


def update(document: Path, name: str, python: str, text: str) -> None:
    """Puts a table between the markers of its name and of Python's minor version, or else of its name alone."""
    content = document.read_text(encoding="utf-8")
    minor = ".".join(python.split(".")[:2])
    for marker in (f"{name} {minor}", name):
        begin, end = f"<!-- {marker} begin -->", f"<!-- {marker} end -->"
        if begin in content:
            head, rest = content.split(begin, 1)
            document.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
            return
    raise SystemExit(
        f"{document} has no place for the table: <!-- {name} {minor} begin --> and <!-- {name} {minor} end -->"
    )
