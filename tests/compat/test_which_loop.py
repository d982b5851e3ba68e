"""Programs that choose a loop by themselves run on aioxide when they are told to, also where uvloop is installed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aioxide
import httpx
import nest_asyncio
import pytest
import uvloop
from conftest import accepts, wait_until

OURS = aioxide.EventLoop.__module__
SERVERS = {
    "uvicorn": "uvicorn asgi_app:app --port PORT",
    "uvicorn-asyncio": "uvicorn asgi_app:app --port PORT --loop asyncio",
    "uvicorn-workers": "uvicorn asgi_app:app --port PORT --workers 2",
    "hypercorn": "hypercorn asgi_app:app --bind 127.0.0.1:PORT",
    "granian": "granian --interface asgi --port PORT asgi_app:app",
    "granian-asyncio": "granian --interface asgi --port PORT --loop asyncio asgi_app:app",
    "gunicorn": "gunicorn --worker-class asgi --bind 127.0.0.1:PORT asgi_app:app",
    "gunicorn-uvicorn": "gunicorn --worker-class uvicorn_worker.UvicornWorker --bind 127.0.0.1:PORT asgi_app:app",
}


def loop_of(spawn: Any, port: int, *command: str) -> tuple[str, str]:
    """Starts a server; returns the module of the loop that it runs on, and its output."""
    server = spawn(*command)
    wait_until(lambda: accepts(("127.0.0.1", port)), server)
    loop = httpx.get(f"http://127.0.0.1:{port}/", timeout=30).text.split()[0]
    server.send_signal(signal.SIGTERM)
    return loop, server.communicate(timeout=30)[0]


@pytest.mark.parametrize("name", SERVERS)
def test_server_runs_on_aioxide(spawn: Any, free_port: int, name: str) -> None:
    command = SERVERS[name].replace("PORT", str(free_port)).split()
    loop, output = loop_of(spawn, free_port, "-m", "aioxide", "-m", *command)
    assert loop == OURS, output
    assert "aioxide is installed, but" not in output


def test_variable_reaches_a_server_and_its_workers(spawn: Any, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOXIDE", "1")
    command = ["-m", "uvicorn", "asgi_app:app", "--workers", "2", "--port", str(free_port)]
    assert loop_of(spawn, free_port, *command)[0] == OURS


@pytest.mark.parametrize(
    "command", ["uvicorn asgi_app:app --loop uvloop", "granian --interface asgi --loop uvloop asgi_app:app"]
)
def test_loop_that_is_asked_for_by_name_is_obeyed_and_reported(spawn: Any, free_port: int, command: str) -> None:
    arguments = [*command.split(), "--port", str(free_port)]
    loop, output = loop_of(spawn, free_port, "-m", "aioxide", "-m", *arguments)
    assert loop == "uvloop"
    assert "aioxide is installed, but this program asks uvloop for its event loop" in output


def test_policy_of_another_package_is_obeyed_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def kind() -> type:
        return type(asyncio.get_running_loop())

    aioxide.install()
    try:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        assert asyncio.run(kind()) is uvloop.Loop
    finally:
        asyncio.set_event_loop_policy(None)
        aioxide.uninstall()
    assert asyncio.run(kind()) is asyncio.SelectorEventLoop
    assert [record.name for record in caplog.records] == ["aioxide"]


def test_nest_asyncio_is_refused() -> None:
    program = (
        "import aioxide, asyncio, nest_asyncio\n"
        "aioxide.install()\n"
        "try:\n    nest_asyncio.apply()\nexcept ValueError as error:\n    print(error)\n"
        "print(asyncio.run(asyncio.sleep(0, 'runs')))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    refused, runs = result.stdout.splitlines()
    assert nest_asyncio.__name__ in refused
    assert runs == "runs"
    # Here its own import of asyncio brings aioxide along.
    program = program.replace(
        "import aioxide, asyncio, nest_asyncio\naioxide.install()", "import nest_asyncio, asyncio"
    )
    environment = os.environ | {"AIOXIDE": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    refused, runs = result.stdout.splitlines()
    assert nest_asyncio.__name__ in refused
    assert runs == "runs"


SUITE = """
import asyncio, os, pytest, unittest

@pytest.mark.asyncio
async def test_with_pytest_asyncio():
    assert type(asyncio.get_running_loop()).__module__ == os.environ["EXPECTED"]

@pytest.mark.anyio
async def test_with_anyio():
    assert type(asyncio.get_running_loop()).__module__ == os.environ["EXPECTED"]

@pytest.fixture
def anyio_backend():
    return "asyncio"

class TestCase(unittest.IsolatedAsyncioTestCase):
    async def test_with_unittest(self):
        assert type(asyncio.get_running_loop()).__module__ == os.environ["EXPECTED"]
"""
POLICY = """
class Loop(asyncio.SelectorEventLoop):
    pass

class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Loop

@pytest.fixture
def event_loop_policy():
    return Policy()
"""
FACTORIES = """
import asyncio

class Loop(asyncio.SelectorEventLoop):
    pass

def pytest_asyncio_loop_factories(config, item):
    return {"own": Loop}
"""


def run_suite(folder: Path, expected: str, *options: str, chosen: str = "") -> str:
    """Runs pytest with the plugin in a folder; returns what it prints."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "aioxide.pytest_plugin", "--rootdir", str(folder)]
    environment = os.environ | {"EXPECTED": expected}
    result = subprocess.run(
        [*command, *options, "-k", chosen, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr


@pytest.mark.parametrize("options", [[], ["-n", "2"]])
def test_suite_runs_on_aioxide_under_its_own_names(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    output = run_suite(tmp_path, OURS, *options)
    assert "3 passed" in output, output
    assert "[aioxide]" not in output


def test_policy_of_the_suite_is_obeyed(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE + POLICY)
    assert "1 passed" in (output := run_suite(tmp_path, "test_suite", chosen="pytest_asyncio")), output


def test_loop_factory_of_the_suite_is_obeyed(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text(FACTORIES)
    assert "1 passed" in (output := run_suite(tmp_path, "conftest", chosen="pytest_asyncio")), output
