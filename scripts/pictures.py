#!/usr/bin/env python3
"""Makes the pictures of the guide "Seeing inside": `aioxide top` and its page, looking into the two stuck services.

    scripts/pictures.py                  both services, terminal and page, into docs/images
    scripts/pictures.py --only python    one of them

Each picture is what somebody sees who looks for one of the troubles; what was pressed, and after how many seconds it
was found, is printed. Needs tmux and chromedriver (Debian: apt-get install tmux chromium-driver), `pip install rich`,
an interpreter with aioxide (PYTHON), the program in target/release and the example in target/release/examples:

    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo build --release -p aioxide --features watchdog --examples
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
TOP = PROJECT / "target" / "release" / "aioxide"
SIZE = (132, 34)
SESSION = "aioxide-pictures"

SERVICES = {
    "python": [os.environ.get("PYTHON", sys.executable), str(PROJECT / "examples" / "stuck_service.py")],
    "rust": [str(PROJECT / "target" / "release" / "examples" / "stuck_service")],
}

# What is looked for: the keys, the text that shows that it is found, and the picture's name if it has one of its own.
FINDS = {
    "python": [
        ("12 000 requests wait for ten connections", "1", r"Semaphore database", "groups"),
        ("two transfers wait for each other's lock", "d", r"transfer (there|back)", "deadlock"),
        ("a report blocks the loop", "1", r"in build_report at", "blocked"),
        ("the collector takes its time", "3", r"collections? of garbage", "collector"),
        ("requests wait for a server, in Rust", "1", r"HTTP request", ""),
        ("what has ended, and how", "4", r"returned", "ended"),
    ],
    "rust": [
        ("12 000 requests wait for ten connections", "1", r"Semaphore", "groups"),
        ("two transfers wait for each other's lock", "d", r"transfer (there|back)", "deadlock"),
        ("a report blocks the loop", "1", r"in \S*build_report at", "blocked"),
        ("what has ended, and how", "4", r"returned", "ended"),
    ],
}


def tmux(*arguments: str) -> str:
    command = ["tmux", "-L", SESSION, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def service(language: str, folder: Path) -> Iterator[int]:
    """Runs a stuck service until it has all of its tasks, and gives its process id."""
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(folder), AIOXIDE_MONITOR="1")
    with (
        (folder / f"{language}.log").open("w") as log,
        subprocess.Popen(SERVICES[language], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            time.sleep(12)
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def terminal(command: list[str], folder: Path) -> Iterator[None]:
    width, height = map(str, SIZE)
    shell = ["env", f"XDG_RUNTIME_DIR={folder}", "COLORTERM=truecolor", *command]
    tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, *shell)
    try:
        yield
    finally:
        subprocess.run(["tmux", "-L", SESSION, "kill-server"], check=False, capture_output=True)


def seen() -> str:
    return tmux("capture-pane", "-p")


def wait_for(pattern: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not re.search(pattern, seen()):
        if time.monotonic() > until:
            raise SystemExit(f"{pattern} was not found:\n{seen()}")
        time.sleep(0.1)


def draw(name: str, title: str) -> None:
    """Writes what the terminal shows as a picture."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=SIZE[0], file=io.StringIO(), force_terminal=True)
    for line in tmux("capture-pane", "-e", "-p").splitlines():
        # Where the project lies is nobody's business.
        console.print(Text.from_ansi(line.replace(f"{PROJECT}/", "")), no_wrap=True, crop=True)
    IMAGES.mkdir(exist_ok=True)
    svg = console.export_svg(title=title, font_aspect_ratio=0.61)
    # No font is loaded from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (IMAGES / f"{name}.svg").write_text(svg, encoding="utf-8")


def look(language: str, folder: Path) -> None:
    with service(language, folder) as pid:
        title = f"aioxide top {pid}"
        with terminal([str(TOP), "top", str(pid)], folder):
            began = time.monotonic()
            wait_for("waiting on", 60)
            for what, keys, pattern, name in FINDS[language]:
                asked = time.monotonic()
                tmux("send-keys", "Escape")
                time.sleep(0.3)
                tmux("send-keys", *keys)
                wait_for(pattern, 60)
                found, all_of_it = time.monotonic() - asked, time.monotonic() - began
                # What was seen may have stood there before.
                time.sleep(1)
                if name:
                    draw(f"top-{language}-{name}", title)
                print(f"{language}: {what}: found by {keys!r} after {found:.1f} s ({all_of_it:.1f} s)", flush=True)
        page(language, pid, folder)


class Browser:
    """A headless Chromium, by the WebDriver protocol."""

    def __init__(self) -> None:
        self.driver = subprocess.Popen(["chromedriver", "--port=9515"], stdout=subprocess.DEVNULL)
        self.session = "http://127.0.0.1:9515/session"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,1000"]
        options = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}
        time.sleep(2)
        made = self.ask("POST", "", {"capabilities": {"alwaysMatch": options}})
        self.session += "/" + made["sessionId"]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.session + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def click(self, text: str) -> None:
        # In one go: the page draws itself anew each second.
        script = "[...document.querySelectorAll('a, button')].find(e => e.textContent === arguments[0]).click()"
        self.ask("POST", "/execute/sync", {"script": script, "args": [text]})

    def picture(self, path: Path) -> None:
        # Where the project and the interpreter lie is nobody's business; in one go, as above.
        script = """
            const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (texts.nextNode()) {
                const text = texts.currentNode;
                text.data = text.data.replaceAll(arguments[0], "").replace(/\\/\\S+\\/lib\\/python/g, "…/lib/python");
            }
        """
        self.ask("POST", "/execute/sync", {"script": script, "args": [f"{PROJECT}/"]})
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def close(self) -> None:
        self.ask("DELETE", "")
        self.driver.terminate()
        self.driver.wait()


def page(language: str, pid: int, folder: Path) -> None:
    """Takes pictures of the page: as it opens, and a task of the deadlock."""
    command = [str(TOP), "top", str(pid), "--web"]
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(folder))
    browser = Browser()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
            browser.ask("POST", "/url", {"url": address})
            time.sleep(20)
            browser.picture(IMAGES / f"page-{language}.png")
            browser.click("transfer back")
            time.sleep(4)
            browser.picture(IMAGES / f"page-{language}-deadlock.png")
            print(f"{language}: the page", flush=True)
        finally:
            process.terminate()
            browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SERVICES, help="one of the services")
    options = parser.parse_args()
    for language in [options.only] if options.only else SERVICES:
        with tempfile.TemporaryDirectory() as folder:
            look(language, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
