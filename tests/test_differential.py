"""Random programs leave the same log on aioxide as on stock asyncio; and the search itself finds what is wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from differential.program import NESTING, draw, reductions
from differential.run import differs, search, search_with_processes
from differential.world import World

COUNT = int(os.environ.get("AIOXIDE_PROGRAMS", "2000"))


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="a cancellation's count and message are kept as from 3.11 on")
@pytest.mark.filterwarnings("ignore")
def test_programs_leave_the_same_log(loop_factory: Any, loop_name: str) -> None:
    if loop_name == "asyncio":
        count, package = 200, asyncio
    else:
        import aioxide

        count, package = COUNT, aioxide
    found = search(count, 0, loop_factory, package)
    assert found is None, str(found)


def test_program_of_a_seed_is_always_the_same() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.filterwarnings("ignore")
def test_programs_do_enough_to_tell() -> None:
    logs = [World(asyncio.SelectorEventLoop).run(draw(seed)) for seed in range(300)]
    text = "\n".join(line for log in logs for line in log)
    words = ["gather [", "shield", "wait_for", "has the lock", "get ", "cancelled", "callback of"]
    words += ["as_completed [", "wait (["]
    words += [", while KeyError", "cancel of t", "result of t", "somebody waits for the future"]
    if sys.version_info >= (3, 11):
        words += ["reschedule", "group_spawn 't"]
    if "condition" in NESTING:
        words += ["was notified", "waited for level", "has the bounded", "barrier 1"]
    for word in words:
        assert word in text, word
    assert sum(len(log) for log in logs) > 2000


@pytest.mark.filterwarnings("ignore")
def test_planted_fault_is_found_and_made_small() -> None:
    async def gather(*awaitables: Any, return_exceptions: bool) -> Any:
        await asyncio.sleep(0)  # the fault: one iteration too many
        return await asyncio.gather(*awaitables, return_exceptions=return_exceptions)

    package = SimpleNamespace(gather=gather)
    found = search(500, 0, asyncio.SelectorEventLoop, package)
    assert found is not None
    assert found.program.size() < draw(found.seed).size() / 2
    for smaller in reductions(found.program):
        assert differs(smaller, asyncio.SelectorEventLoop, package) is None, smaller
    assert "gather" in str(found.program)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gather", "told"), [("os._exit(1)", "a process died; the seeds under way were ["), ("1 / 0", "seed ")]
)
def test_several_processes_tell_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gather: str, told: str
) -> None:
    (tmp_path / "planted.py").write_text(f"import os\n\ndef gather(*awaitables, **options):\n    {gather}\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = search_with_processes(600, 0, "asyncio:SelectorEventLoop", "planted", 2)
    assert str(found).startswith(told), str(found)
