"""Tries an installed aioxide: the README's Python programs, the command `aioxide`, and the three ways to switch it on.

    python scripts/release/smoke.py [README]

Run by the environment's own Python; needs nothing but the package with its extra `http`, and no network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

README = Path(__file__).resolve().parent.parent.parent / "README.md"
PROGRAM = Path(sys.executable).with_name("aioxide")
PAGE = b"<p>An example.\n"


class Site(BaseHTTPRequestHandler):
    """What the programs ask example.org for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Writes no log."""


def check(what: str, found: object, expected: object) -> None:
    """Ends the process where something is not as it should be."""
    if found != expected:
        sys.exit(f"{what}: {found!r} in place of {expected!r}")
    sys.stdout.write(f"ok: {what}\n")


def ask(*command: str | Path, **settings: str) -> str:
    """What a command prints; a failure or a word on the standard error ends the process."""
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=os.environ | settings)
    if result.returncode != 0 or result.stderr:
        sys.exit(f"{words} ended with {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout


def main() -> None:
    """Runs every check in a folder that is thrown away."""
    readme = Path(sys.argv[1]) if len(sys.argv) > 1 else README
    for tool in ("cargo", "rustc"):
        check(f"no {tool} in PATH", shutil.which(tool), None)
    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        os.chdir(folder)
        url = f"http://127.0.0.1:{server.server_port}/"
        examples(readme, url)
        switches()
        program(url)
        server.shutdown()


def examples(readme: Path, url: str) -> None:
    """The README's programs print what they say."""
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    check("the README has programs", len(blocks) >= 3, True)
    for number, text in enumerate(blocks, 1):
        Path("example.py").write_text(text.replace("https://example.org/", url), encoding="utf-8")
        says = re.findall(r"# prints (.*)", text)
        check(f"program {number} of the README", ask(sys.executable, "example.py").splitlines(), says)


def switches() -> None:
    """The loop is aioxide's by the environment and by `-m aioxide`, and asyncio's without."""
    code = "import asyncio; print(type(asyncio.new_event_loop()).__module__.partition('.')[0])"
    check("without a switch", ask(sys.executable, "-c", code), "asyncio\n")
    check("AIOXIDE=1", ask(sys.executable, "-c", code, AIOXIDE="1"), "aioxide\n")
    check("python -m aioxide", ask(sys.executable, "-m", "aioxide", "-c", code), "aioxide\n")
    lines = ask(sys.executable, "-m", "aioxide", "--version").splitlines()
    check("every fast path is found", [line for line in lines[1:] if not line.endswith(": yes")], [])


def program(url: str) -> None:
    """The command `aioxide` demonstrates and downloads."""
    version = ask(sys.executable, "-c", "import aioxide; print(aioxide.__version__)")
    check("aioxide --version", ask(PROGRAM, "--version"), f"aioxide {version}")
    demo = ask(PROGRAM, "demo", "--delay", "5", "--repeat", "4", "--json")
    check("aioxide demo", all(f'"{name}"' in demo for name in ("sync", "threaded", "asyncio")), True)
    Path("urls.txt").write_text("".join(f"{url}{number}.html\n" for number in range(20)), encoding="utf-8")
    ask(PROGRAM, "fetch", "-i", "urls.txt", "-o", "files", "--report", "report.jsonl", "--quiet")
    files = sorted(Path("files").iterdir())
    check("aioxide fetch: files", ({file.read_bytes() for file in files}, len(files)), ({PAGE}, 20))
    report = Path("report.jsonl").read_text(encoding="utf-8").splitlines()
    check("aioxide fetch: the report", sum('"ok"' in line for line in report), 20)


if __name__ == "__main__":
    main()
