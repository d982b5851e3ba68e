"""`AIOXIDE_MONITOR=1` opens the socket of a program that knows nothing of it, and of its children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .asking import ask

# Forks when it is told so, says who it is, and waits until it is told to go on.
PROGRAM = """
import os, sys
if len(sys.argv) > 1:
    import asyncio
child = os.fork() if sys.argv[1:] == ["fork"] else -1
os.write(1, b"%d\\n" % os.getpid())
sys.stdin.readline()
if child > 0:
    os.waitpid(child, 0)
"""


def run(folder: Path, *arguments: str, switch: str = "1") -> subprocess.Popen[str]:
    environment = os.environ | {"AIOXIDE_MONITOR": switch, "XDG_RUNTIME_DIR": str(folder)}
    return subprocess.Popen(
        # From 3.12 on Python warns of a fork beside the monitor's thread.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sockets(folder: Path) -> set[str]:
    return {path.name for path in (folder / "aioxide").glob("*")} if (folder / "aioxide").exists() else set()


@pytest.mark.parametrize("how", ["asyncio", "fork"])
def test_variable_opens_a_socket_for_each_process(tmp_path: Path, how: str) -> None:
    with run(tmp_path, how) as process:
        assert process.stdout is not None
        pids = {process.stdout.readline().strip() for _ in range(2 if how == "fork" else 1)}
        assert sockets(tmp_path) == {f"{pid}.sock" for pid in pids}
        for pid in pids:
            answer = ask(tmp_path / "aioxide" / f"{pid}.sock", ask="hello")
            assert answer["hello"]["program"]["pid"] == int(pid)
        _, errors = process.communicate("\n\n")
    assert (process.returncode, errors, sockets(tmp_path)) == (0, "", set())


@pytest.mark.parametrize(("how", "switch"), [((), "1"), (("asyncio",), "0"), (("asyncio",), "")])
def test_without_asyncio_or_when_switched_off_nothing_is_opened(
    tmp_path: Path, how: tuple[str, ...], switch: str
) -> None:
    with run(tmp_path, *how, switch=switch) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert sockets(tmp_path) == set()
        _, errors = process.communicate("\n")
    assert (process.returncode, errors) == (0, "")


def test_folder_that_is_no_good_is_told_and_the_program_runs(tmp_path: Path) -> None:
    (tmp_path / "aioxide").mkdir(mode=0o755)
    (tmp_path / "aioxide").chmod(0o755)
    with run(tmp_path, "asyncio") as process:
        _, errors = process.communicate("\n")
    assert process.returncode == 0
    assert "is not started" in errors
    assert "can be entered by others" in errors
