"""The search for leaks of `make refleaks` sees one, of references (on a debug CPython), blocks and descriptors."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from refleaks.run import check

kept: list[Any] = []


async def clean(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.sleep(0)


async def leaves_objects(loop: asyncio.AbstractEventLoop) -> None:
    kept.append([object() for _ in range(3)])


async def leaves_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    kept.append(os.memfd_create("left"))


@pytest.mark.slow
def test_clean_behaviour_passes() -> None:
    assert check("clean", clean, 2, 4)


@pytest.mark.slow
@pytest.mark.parametrize("leaking", [leaves_objects, leaves_descriptors])
def test_leak_is_found(leaking: Any, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert not check("leaking", leaking, 2, 4)
        assert "LEAK leaking" in capsys.readouterr().out
    finally:
        for thing in kept:
            if isinstance(thing, int):
                os.close(thing)
        kept.clear()
