"""Builds the documentation site into target/site, and fails at a link that leads nowhere: `make site`.

The pages are those of docs/ and CHANGELOG.md; zensical.toml says in which order. The reference is made from the sources
and stubs of the package, so nothing need be compiled.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".cache" / "site"
# zensical empties the folder .cache beside its settings: it works in a folder of its own.
WORK = ROOT / "target" / "site-work"
SOURCE = WORK / "docs"
SITE = ROOT / "target" / "site"


class Page(HTMLParser):
    """The anchors of a page, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id" or (key == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif key in ("href", "src") and value:
                self.links.append(value)


def main() -> None:
    """Collects the pages, builds the site and checks it."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    install = ["-m", "pip", "install", "-q", "-r", "scripts/site-requirements.txt"]
    subprocess.run([str(ENVIRONMENT / "bin" / "python"), *install], cwd=ROOT, check=True)
    collect()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [str(ENVIRONMENT / "bin" / "zensical"), "build", "--strict"]
    subprocess.run(command, cwd=WORK, check=True, env=os.environ | {"NO_COLOR": "1"})
    shutil.move(WORK / "site", SITE)
    dead = dead_links()
    if dead:
        sys.exit("\n".join(["links that lead nowhere:", *dead]))
    sys.stdout.write(f"{len(list(SITE.rglob('*.html')))} pages without a dead link: {SITE}/index.html\n")


def collect() -> None:
    """Puts the pages together; one that is in no menu is an error."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE)
    shutil.copy(ROOT / "zensical.toml", WORK)
    for folder in ("python", "scripts"):
        (WORK / folder).symlink_to(ROOT / folder)
    # It stands beside docs/, and its copy among the pages.
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    (SOURCE / "changelog.md").write_text(changelog, encoding="utf-8")
    listed = set(re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text()))
    there = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.md")}
    if listed != there:
        sys.exit(f"zensical.toml: not in the menu {sorted(there - listed)}, no such page {sorted(listed - there)}")


def dead_links() -> list[str]:
    """The links within the site that lead to no file, or to an anchor that its page has not."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in SITE.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        # The page for what is not found is served under any address, so its links are not relative.
        if path.name == "404.html":
            continue
        for link in page.links:
            if re.match(r"[a-z]+:|//", link):
                continue
            file, anchor = urldefrag(link)
            target = (path.parent / unquote(file)).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.exists() or (anchor and known and unquote(anchor) not in known.anchors):
                dead.append(f"{path.relative_to(SITE)}: {link}")
    return dead


if __name__ == "__main__":
    main()
