"""Where a benchmark's table stands in `docs/benchmarks.md`: between two comments that name it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit that is measured, and whether code differs from it; "unknown" outside of a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "crates", "python", "benches")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def update(document: Path, name: str, python: str, text: str) -> None:
    """Puts a table between the markers of its name and of Python's minor version, or else of its name alone.

    The table begins with the commit that was measured.
    """
    content = document.read_text(encoding="utf-8")
    minor = ".".join(python.split(".")[:2])
    for marker in (f"{name} {minor}", name):
        begin, end = f"<!-- {marker} begin -->", f"<!-- {marker} end -->"
        if begin in content:
            head, rest = content.split(begin, 1)
            table = f"{begin}\nCommit {commit()}, {text}\n{end}"
            document.write_text(f"{head}{table}{rest.split(end, 1)[1]}", encoding="utf-8")
            return
    raise SystemExit(
        f"{document} has no place for the table: <!-- {name} {minor} begin --> and <!-- {name} {minor} end -->"
    )
