"""The socket: who may ask, what is answered while the loop is blocked, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import aioxide
import pytest
from aioxide import monitor

from .asking import ask
from .watching import nodes, until

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def path(folder: Path) -> Any:
    yield monitor.start(folder / "m.sock")
    monitor.stop()


def test_socket_is_the_users_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    program = ask(path, ask="hello")["hello"]["program"]
    assert program["pid"] == os.getpid()
    assert program["runtime"] == "CPython {}.{}.{}".format(*sys.version_info[:3])
    monitor.stop()
    assert not path.exists()
    monitor.stop()


@pytest.mark.parametrize("eager", [False, True])
def test_steps_are_counted_and_timed_once_somebody_asks(path: Path, eager: bool) -> None:
    """The count is of all steps; the time is of those since the first question."""
    seen: list[dict[str, Any]] = []

    def look() -> None:
        tasks = ask(path, ask="snapshot")["snapshot"]["nodes"]
        seen.append(next(node["task"] for node in tasks if node["name"] == "worker"))

    async def worker() -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        for duration in [0.0, 0.02]:
            await asyncio.get_running_loop().run_in_executor(None, look)
            time.sleep(duration)
        await asyncio.get_running_loop().run_in_executor(None, look)

    async def main() -> None:
        await aioxide.Task(worker(), name="worker", eager_start=eager)

    aioxide.run(main())
    assert [task["steps"] for task in seen] == [5, 6, 7]
    first, second, third = (task["ran_us"] for task in seen)
    # The third one has slept; of the others, a busy machine decides.
    assert first <= second <= third - 20_000


def test_durations_of_entries_are_counted_once_somebody_asks(path: Path) -> None:
    """Callbacks as well as steps; a recording that goes on meanwhile takes the place of the count."""
    told: list[dict[str, Any]] = []

    def look() -> None:
        told.append(ask(path, ask="snapshot")["snapshot"]["loops"][0]["durations"])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, look)
        loop.call_soon(time.sleep, 0.02)
        for _ in range(10):
            await asyncio.sleep(0)
        await loop.run_in_executor(None, look)
        recorded = await loop.run_in_executor(None, lambda: ask(path, ask="record", ms=10_000))
        assert recorded["answer"] == "recording"
        for _ in range(1000):
            await asyncio.sleep(0)
        await loop.run_in_executor(None, look)
        timeline = await loop.run_in_executor(None, lambda: ask(path, ask="recorded"))
        assert len(timeline["timeline"]["loops"][0]["spans"]) > 1000
        await loop.run_in_executor(None, look)

    aioxide.run(main())
    first, second, third, last = told
    assert first["runs"] == 0
    assert second["runs"] > 11
    assert 20_000 <= second["longest_us"] <= second["total_us"]
    assert sum(second["histogram"]) == second["runs"]
    assert sum(second["histogram"][6:]) >= 1
    assert third["runs"] < second["runs"] + 20
    assert last["runs"] < third["runs"] + 20


def test_folder_of_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match="can be entered by others"):
        monitor.start(tmp_path / "m.sock")
    with pytest.raises(FileNotFoundError):
        monitor.start(tmp_path / "nowhere" / "m.sock")


def test_default_place_is_in_a_folder_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    path = monitor.start()
    try:
        assert path == folder / "aioxide" / f"{os.getpid()}.sock"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with pytest.raises(RuntimeError, match="open already"):
            monitor.start()
    finally:
        monitor.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_open_it(path: Path) -> None:
    try_it = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except PermissionError: print('refused')\n"
    )
    run = [sys.executable, "-c", try_it, str(path)]
    result = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("refused\n", "")
    # And where the file modes would let that user in, the server does not.
    for one in (path, *path.parents[:4]):
        if one.owner() == "root" and one != Path("/"):
            os.chmod(one, 0o777 if one == path else one.stat().st_mode | 0o755)
    ask_it = try_it.replace(
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n",
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"ask": "hello"}\\n\'); print(s.recv(100))\n',
    ).replace("except PermissionError: print('refused')", "except OSError: print(b'')")
    result = subprocess.run([sys.executable, "-c", ask_it, str(path)], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("b''\n", "")


def test_blocked_loop_is_seen_from_outside(loop: Loop, path: Path) -> None:
    seen: list[dict[str, Any]] = []
    answered = threading.Event()

    def look() -> None:
        seen.append(ask(path, ask="snapshot")["snapshot"])
        seen.append(ask(path, ask="stacks")["stacks"])
        answered.set()

    async def blocker() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        # The loop does not run before the answers are there.
        assert answered.wait(20)
        thread.join()

    async def main() -> None:
        await loop.create_task(blocker(), name="the blocker")

    loop.run_until_complete(main())
    snapshot, stacks = seen
    assert nodes(snapshot)["the blocker"]["task"]["state"] == "running"
    (thread,) = [one for one in stacks["threads"] if one.get("loop_id")]
    assert thread["thread"] == threading.main_thread().native_id
    assert thread["task"] == nodes(snapshot)["the blocker"]["id"]
    assert "blocker" in [frame["function"].rsplit(".", 1)[-1] for frame in thread["frames"]]


def test_task_is_cancelled_by_its_number_and_name(loop: Loop, path: Path) -> None:
    def kill() -> tuple[Any, Any]:
        task = nodes(ask(path, ask="snapshot")["snapshot"])["victim"]
        wrong = ask(path, ask="cancel", task=task["id"], name="another")
        return wrong, ask(path, ask="cancel", task=task["id"], name="victim")

    async def main() -> tuple[Any, Any]:
        victim = loop.create_task(asyncio.sleep(3600), name="victim")
        await asyncio.sleep(0)
        answers = await loop.run_in_executor(None, kill)
        with pytest.raises(asyncio.CancelledError):
            await victim
        return answers

    wrong, right = loop.run_until_complete(main())
    assert (wrong["answer"], wrong["kind"]) == ("error", "unknown_task")
    assert right == {"id": 0, "answer": "cancelled", "cancelled": True}
    assert ask(path, ask="cancel", task=1, name="x")["kind"] == "unknown_task"


def test_stack_of_one_task_and_history_of_those_that_ended(loop: Loop, path: Path) -> None:
    async def work() -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        task = loop.create_task(work(), name="short")
        await asyncio.sleep(0)
        number = nodes(monitor.snapshot())["short"]["id"]
        stacks = await loop.run_in_executor(None, lambda: ask(path, ask="stacks", tasks=[number, 1])["stacks"])
        (stack,) = stacks["tasks"]
        assert stack["name"] == "short"
        assert stack["frames"][0]["line"] == work.__code__.co_firstlineno + 1
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())
    monitor.snapshot()
    ended = {one["name"]: one for one in ask(path, ask="history")["history"]}
    assert ended["short"]["coroutine"].endswith("work")


def test_history_tells_how_tasks_have_ended(loop: Loop, path: Path) -> None:
    class Unknown(type):
        """A class that answers for its name with the program's own code."""

        @property
        def __name__(cls) -> str:
            raise AssertionError("code of the program ran")

    class Odd(Exception, metaclass=Unknown):
        pass

    ends = {"returns": None, "raises": KeyError(1), "is odd": Odd(), "raises a cancellation": asyncio.CancelledError()}

    async def work(start: asyncio.Event, exception: BaseException | None) -> None:
        await start.wait()
        if exception is not None:
            raise exception

    async def main() -> None:
        start = asyncio.Event()
        tasks = [loop.create_task(work(start, exception), name=name) for name, exception in ends.items()]
        tasks.append(loop.create_task(work(start, None), name="is cancelled"))
        await asyncio.sleep(0)
        # It is noted from the first question on.
        await loop.run_in_executor(None, lambda: ask(path, ask="snapshot"))
        tasks[-1].cancel()
        start.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(main())
    monitor.snapshot()
    # The newest come first; what earlier tests have left may have the same names.
    ended = {one["name"]: one for one in reversed(ask(path, ask="history")["history"])}
    found = {name: (ended[name]["why"], ended[name].get("exception", "")) for name in (*ends, "is cancelled")}
    if loop.__class__.__module__.startswith("asyncio"):
        # Tasks of C tell nobody.
        assert set(found.values()) == {("unknown", "")}
        return
    assert found == {
        "returns": ("returned", ""),
        "raises": ("raised", "KeyError"),
        "is odd": ("raised", "Odd"),
        "raises a cancellation": ("cancelled", ""),
        "is cancelled": ("cancelled", ""),
    }


@pytest.mark.slow
def test_interpreter_that_is_held_is_answered_for(folder: Path) -> None:
    # `re` keeps the interpreter's lock while it backtracks, for a time that no machine has.
    program = (
        "import re, sys\nfrom aioxide import monitor\n"
        "print(monitor.start(sys.argv[1]), flush=True)\n"
        "re.match(r'(a+)+$', 'a' * 64 + 'b')\n"
    )
    path = folder / "held.sock"
    run = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == f"{path}\n"
            answer = until(lambda: (found := ask(path, ask="snapshot"))["answer"] == "error" and found)
            assert answer["kind"] == "held"
            assert re.match(r"the program has let nobody in for [\d.]+ s", answer["text"])
            assert ask(path, ask="hello")["hello"]["program"]["pid"] == process.pid
        finally:
            process.kill()


def test_socket_goes_with_the_program_and_stays_with_the_parent_of_a_fork(folder: Path) -> None:
    program = (
        "import os, sys\nfrom aioxide import monitor\n"
        "path = monitor.start(sys.argv[1])\nmonitor.watchdog()\n"
        "pid = os.fork()\n"
        "if not pid:\n    monitor.stop(); monitor.start(sys.argv[1] + '2'); monitor.watchdog(); sys.exit()\n"
        "print(os.waitpid(pid, 0)[1], path.exists(), os.path.exists(sys.argv[1] + '2'))\n"
    )
    path = folder / "m.sock"
    run = [sys.executable, "-W", "ignore", "-c", program, str(path)]
    result = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert (result.stdout, result.stderr) == ("0 True False\n", "")
    assert not path.exists()


def test_peer_that_goes_in_the_middle_harms_nobody(path: Path) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            # One too many is told so, and ended.
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(b'{"ask": "snapshot"}\n{"ask')

    def is_answered() -> bool:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            return bool(ask(path, ask="hello")["answer"] == "hello")
        return False

    until(is_answered)


def test_program_ends_while_it_is_asked(folder: Path) -> None:
    program = (
        "import asyncio, sys\nfrom aioxide import monitor\n"
        "async def main():\n"
        "    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(5000)]\n"
        "    print(monitor.start(sys.argv[1]), flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.readline)\n"
        "asyncio.run(main())\n"
    )
    path = folder / "m.sock"
    run = [sys.executable, "-c", program, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(run, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"ask": "snapshot"}\n' * 50)
            connection.recv(100)
            _, errors = process.communicate("\n", timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert process.returncode != -signal.SIGSEGV


def test_socket_of_a_parent_that_died_is_free_while_its_child_lives(folder: Path) -> None:
    path = folder / "m.sock"
    code = (
        "import os, sys, warnings\n"
        "from aioxide import monitor\n"
        "warnings.simplefilter('ignore')\n"
        f"monitor.start({str(path)!r})\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True)\n"
        "    sys.stdin.readline()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        parent.kill()
        parent.wait()
        with socket.socket(socket.AF_UNIX) as connection, pytest.raises(ConnectionRefusedError):
            connection.connect(os.fspath(path))
        # A program that is begun again finds its place free.
        assert monitor.start(path) == path
        monitor.stop()
