"""Every block of code in the pages for users runs as it stands, and so does every example in the docstrings.

A page is run from top to bottom in a folder of its own: a block with a title is a file, one of Python without a title
is a program that prints what its comments say, one of shell is run line by line. `# serves TEXT` after a line says what
its server answers; a block of text after one of shell is what the shell printed.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import aioxide
import pytest
from support import website

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Quoted from examples/rust-extension; run as doc tests of the crate; run in parts by test_examples.py; for clusters
# (the program's own tests run the queue); how a change is made.
OTHERWISE = {
    "guide/extensions.md",
    "guide/from-tokio.md",
    "guide/http.md",
    "guide/many-machines.md",
    "guide/object-model.md",
}
PAGES = sorted(
    page.relative_to(ROOT / "docs").as_posix()
    for page in [ROOT / "docs/index.md", ROOT / "docs/start.md", *(ROOT / "docs/guide").glob("*.md")]
    if page.relative_to(ROOT / "docs").as_posix() not in OTHERWISE
)
PAGE = b'<p>An example, with <a href="/1.html">a link</a> and <a href="https://elsewhere.example/">another</a>.\n'


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The language, the title and the text of each block of code."""
    return BLOCK.findall((ROOT / "docs" / page).read_text())


class Site(BaseHTTPRequestHandler):
    """Stands for example.org: every page is the same, and there is no robots.txt."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        there = self.path != "/robots.txt"
        self.send_response(200 if there else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE) if there else 0))
        self.end_headers()
        if there:
            self.wfile.write(PAGE)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Writes no log."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with website(Site) as url:
        yield url


@pytest.fixture(scope="module")
def program() -> Path:
    """The newest build of the program `aioxide`; made where there is none."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for kind in ("debug", "release") if (path := target / kind / "aioxide").exists()]
    if not built:
        command = [os.environ.get("CARGO", "cargo"), "build", "-q", "--package", "aioxide-cli"]
        subprocess.run(command, cwd=ROOT, check=True)
        built = [target / "debug" / "aioxide"]
    return max(built, key=lambda path: path.stat().st_mtime)


class Reader:
    """Does what a page says, in a folder."""

    def __init__(self, folder: Path, site: str, program: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        commands = folder / "commands"
        commands.mkdir()
        (commands / "aioxide").symlink_to(program)
        path = [str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIOXIDE", "PYTEST"))
        }
        self.environment |= {"PATH": os.pathsep.join(path), "COLUMNS": "80"}
        self.site = site
        self.printed = ""

    def do(self, language: str, title: str, text: str) -> None:
        text = text.replace("https://example.org/", self.site)
        if title:
            (self.folder / title).write_text(text)
        elif language == "python":
            (self.folder / "program.py").write_text(text)
            assert self.run("python program.py").splitlines() == re.findall(r"# prints (.*)", text)
        elif language == "sh":
            self.printed = "".join(self.line(line) for line in text.splitlines() if line)
        elif language == "text":
            assert self.printed == text
        elif language == "rust":
            # It is a doc test of the crate, which names its pages.
            assert "seeing-inside.md" in (ROOT / "crates/aioxide/src/lib.rs").read_text()
        else:
            raise AssertionError(f"no way to run a block of {language}")

    def line(self, line: str) -> str:
        if line.startswith("pip install "):
            return self.installable(line)
        command, _, comment = line.partition("    # serves ")
        if comment:
            return self.serve(command.strip(), comment)
        return self.run(line)

    def installable(self, line: str) -> str:
        """What is installed is there already; the extras must be those of the package."""
        (requirement,) = shlex.split(line)[2:]
        extras = re.fullmatch(r"aioxide(?:\[(\w+)\])?", requirement)
        assert extras
        project = (ROOT / "pyproject.toml").read_text()
        assert extras[1] is None or f"optional-dependencies = {{ {extras[1]} =" in project
        return ""

    def run(self, command: str) -> str:
        options = {"shell": True, "text": True, "cwd": self.folder, "env": self.environment, "timeout": 60}
        result = subprocess.run(command, check=False, capture_output=True, **options)
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result.stdout

    def serve(self, command: str, answer: str) -> str:
        """Starts a server on a free port, asks it and ends it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for file in self.folder.glob("*.py"):
            file.write_text(file.read_text().replace("8000", str(port)))
        with (self.folder / "log.txt").open("w+") as log:
            command = f"exec env {command.replace('8000', str(port))}"
            options = {"shell": True, "cwd": self.folder, "env": self.environment}
            server = subprocess.Popen(command, stdout=log, stderr=log, **options)
            try:
                found = self.ask(port, server)
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(30)
            log.seek(0)
            assert found == answer, (command, log.read())
        for file in self.folder.glob("*.py"):
            file.write_text(file.read_text().replace(str(port), "8000"))
        return ""

    @staticmethod
    def ask(port: int, server: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and server.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
                    return str(response.read().decode())
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)  # it is still starting
        return "no answer"


NEEDS = {"guide/services.md": ("fastapi", "uvicorn", "gunicorn", "uvicorn_worker"), "guide/from-aiohttp.md": ("httpx",)}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_does_what_it_says(page: str, site: str, program: Path, tmp_path: Path) -> None:
    for name in NEEDS.get(page, ()):
        pytest.importorskip(name)
    reader = Reader(tmp_path, site, program)
    for block in blocks(page):
        reader.do(*block)


def test_pages_are_the_site_s() -> None:
    assert len(PAGES) >= 9
    assert all(blocks(page) for page in PAGES)


@pytest.mark.parametrize("block", blocks("guide/extensions.md"))
def test_page_of_extensions_quotes_the_example(block: tuple[str, str, str]) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "examples/rust-extension").rglob("*.[rp][sy]"))
    assert textwrap.dedent(block[2]) in textwrap.dedent(sources) or block[2] in sources


def test_page_of_tokio_is_run_by_the_crate() -> None:
    assert {language for language, _, _ in blocks("guide/from-tokio.md")} == {"rust"}
    assert 'include_str!("../../../docs/guide/from-tokio.md")' in (ROOT / "crates/aioxide/src/lib.rs").read_text()


def stubs() -> dict[str, str]:
    """The docstrings of the functions and classes in the stubs, which the reference shows."""
    tree = ast.parse((ROOT / "python/aioxide/_aioxide.pyi").read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = ast.get_docstring(node) or found.get(node.name, "")
    return found


def example(text: str) -> str:
    """The example in a docstring."""
    lines = text.partition("# Examples\n")[2].splitlines()
    kept = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        kept.append(line)
    return textwrap.dedent("\n".join(kept)).strip()


def documentation(name: str) -> str:
    """What is shown of a public name: its own docstring, or that of the stub where it shows asyncio's."""
    own = inspect.getdoc(getattr(aioxide, name)) or ""
    return own if "# Examples" in own else stubs().get(name) or own


# asyncio's own objects under a second name, and an error that is raised by extensions.
ELSEWHERE = {"BrokenBarrierError", "QueueEmpty", "QueueFull", "QueueShutDown", "RustPanic"}


@pytest.mark.parametrize("name", sorted(aioxide.__all__))
def test_public_name_is_documented(name: str) -> None:
    """As the standard library's are: a sentence, and an example or the name that asyncio has for it."""
    text = documentation(name)
    own = inspect.getdoc(getattr(aioxide, name)) or ""
    assert re.match(r"[A-Z][^\n]+[.:]$|[A-Z][^\n]+\n", text.splitlines()[0] + "\n"), text
    assert own, name
    theirs = getattr(asyncio, name, None)
    assert name in ELSEWHERE or example(text) or "`asyncio." in text or own == inspect.getdoc(theirs), text


EXAMPLES = {name: text for name in sorted(aioxide.__all__) if (text := example(documentation(name)))}


def test_examples_are_many() -> None:
    assert len(EXAMPLES) >= 25


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_a_docstring_runs(name: str, tmp_path: Path) -> None:
    text = EXAMPLES[name]
    if re.search(r"\bawait\b|\basync\b|get_running_loop", text) and "aioxide.run(" not in text:
        text = f"async def main():\n{textwrap.indent(text, ' ' * 4)}\n\naioxide.run(main())"
    file = tmp_path / "example.py"
    file.write_text(f"import asyncio, aioxide\n\n{text}\n")
    result = subprocess.run(
        [sys.executable, "-X", "dev", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_menu_of_the_site_has_every_page() -> None:
    listed = set(re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text()))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed - {"changelog.md"} == there, "zensical.toml lists the pages"
