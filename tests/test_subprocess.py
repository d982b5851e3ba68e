"""Subprocesses: their exits, pipes, signals and arguments."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio import subprocess
from pathlib import Path
from typing import Any

import pytest

PYTHON = sys.executable


def test_output_and_status(run: Any) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 3
        assert await process.wait() == 3

    run(main())


def test_input_through_cat(run: Any) -> None:
    data = os.urandom(500_000)

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert (await process.communicate(data))[0] == data

    run(main())


def test_shell(run: Any) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("echo $WORD; exit 7", stdout=subprocess.PIPE, env={"WORD": "x"})
        assert (await process.communicate())[0] == b"x\n"
        assert process.returncode == 7

    run(main())


@pytest.mark.parametrize(("method", "number"), [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM)])
def test_signals(run: Any, method: str, number: int) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        getattr(process, method)()
        assert await process.wait() == -number
        with pytest.raises(ProcessLookupError):
            process.kill()

    run(main())


def test_many_wait_for_one_process(run: Any) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        waiters = [asyncio.ensure_future(process.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.gather(*waiters) == [0, 0, 0]

    run(main())


def test_many_processes_at_once(run: Any) -> None:
    async def one(status: int) -> int:
        process = await asyncio.create_subprocess_shell(f"exit {status}")
        return await process.wait()

    async def main() -> None:
        assert await asyncio.gather(*map(one, range(20))) == list(range(20))

    run(main())


def test_missing_program_and_folder(run: Any) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await asyncio.create_subprocess_exec("/no/such/program")
        assert caught.value.filename == "/no/such/program"
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("true", cwd="/no/such/folder")

    run(main())


def test_arguments_of_popen(run: Any, tmp_path: Path) -> None:
    script = "import os, sys; print(os.getcwd(), os.getsid(0) == os.getpid(), os.environ['WORD'], os.read({}, 1))"

    async def main() -> None:
        reading, writing = os.pipe()
        os.write(writing, b"x")
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", script.format(reading), cwd=tmp_path, start_new_session=True, pass_fds=(reading,),
            env={"WORD": "word"}, stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        os.close(reading)
        os.close(writing)
        assert out.decode().split() == [os.path.realpath(tmp_path), "True", "word", "b'x'"]

    run(main())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_preexec_function_runs_in_the_child(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", preexec_fn=(tmp_path / "made").touch)
        assert await process.wait() == 0
        assert (tmp_path / "made").exists()

    run(main())


def test_error_stream_into_output(run: Any) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell(
            "echo one; echo two >&2", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, err = await process.communicate()
        assert (out, err) == (b"one\ntwo\n", None)

    run(main())


def test_text_mode_is_refused(run: Any) -> None:
    async def main() -> None:
        for wrong in ({"universal_newlines": True}, {"text": True}, {"encoding": "utf-8"}, {"bufsize": 1}):
            with pytest.raises(ValueError, match="must be"):
                await asyncio.create_subprocess_exec("true", **wrong)  # type: ignore[arg-type]

    run(main())


class Noting(asyncio.SubprocessProtocol):
    """Notes what the transport tells it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.events.append((fd, data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append((fd, "lost"))

    def process_exited(self) -> None:
        self.events.append("exited")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)


def test_transport_and_protocol(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Noting, "sh", "-c", "read word; echo $word >&2; exit 5")
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_pid() > 0
        assert transport.get_returncode() is None
        assert transport.get_extra_info("subprocess").pid == transport.get_pid()
        pipe: Any = transport.get_pipe_transport(0)
        pipe.write(b"word\n")
        await protocol.lost
        assert transport.get_returncode() == 5
        assert (2, b"word\n") in protocol.events
        assert {(0, "lost"), (1, "lost"), (2, "lost"), "exited"} <= set(protocol.events)
        assert protocol.events[-1] == "lost"
        transport.close()

    run(main())


def test_closing_the_transport_kills_the_process(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Noting, "sleep", "1000", stdin=None, stdout=None, stderr=None)
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL

    run(main())


def test_streams_made_by_hand_as_anyio_does(run: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        def factory() -> subprocess.SubprocessStreamProtocol:
            return subprocess.SubprocessStreamProtocol(limit=100, loop=loop)

        transport, protocol = await loop.subprocess_exec(factory, "echo", "hello", stdin=None, stderr=None)
        process = subprocess.Process(transport, protocol, loop)
        assert await process.communicate() == (b"hello\n", None)
        assert process.returncode == 0

    run(main())


def test_cancelled_wait_leaves_the_process_running(run: Any) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 0.01)
        assert process.returncode is None
        process.kill()
        await process.wait()

    run(main())
