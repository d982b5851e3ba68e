"""The lesson's program, with aioxide's HTTP session in aiohttp's place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LESSON = Path(__file__).parent.parent.parent / "examples" / "lesson.py"
SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass
# A hundred connect at once: the kernel drops what does not find a place in the queue, and tries again late.
ThreadingHTTPServer.request_queue_size = 200
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("how", ["python -m aioxide", "aioxide.run"])
def test_lesson_runs_with_ours(how: str, tmp_path: Path) -> None:
    text = LESSON.read_text()
    assert "import aiohttp  # or: from aioxide import http as aiohttp" in text
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            text = text.replace("import aiohttp  # or: from", "from")
            text = text.replace("https://www.jython.org", f"http://127.0.0.1:{port}/jython")
            text = text.replace("https://realpython.com", f"http://127.0.0.1:{port}/")
            command = [sys.executable, "-W", "error"]
            if how == "aioxide.run":
                text = text.replace("asyncio.run(", "__import__('aioxide').run(")
            else:
                command += ["-m", "aioxide"]
            program = tmp_path / "lesson.py"
            program.write_text(text)
            result = subprocess.run(
                [*command, str(program)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.terminate()
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert (result.stdout.count("J"), result.stdout.count("R")) == (80, 80)
    assert "Downloaded 160 sites" in result.stdout
