"""Rust futures awaited from Python, and Python awaited from Rust, by an extension that uses aioxide-pyo3."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Run = Callable[[Awaitable[Any]], Any]

HOUR = 3600.0


class Notes(list[str]):
    """What happened, in order."""

    def __getattr__(self, event: str) -> Callable[[], None]:
        return lambda: self.append(event)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
