"""`TaskGroup`: asyncio's, with what runs per task in Rust; Python 3.10 has it too."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from . import _aioxide, state

__all__ = ["TaskGroup"]

if TYPE_CHECKING:
    _Stock = asyncio.TaskGroup
elif sys.version_info >= (3, 11):
    from asyncio.taskgroups import TaskGroup as _Stock
else:
    from .before_311 import TaskGroup as _Stock


class TaskGroup(_aioxide._TaskGroupCore, _Stock):
    """Tasks that are all done when the block is left; if one fails, the others are cancelled.

    # Cancel safety
    A cancelled exit cancels the tasks and waits for them.

    A class that overrides one of the private methods is obeyed: it is asyncio's in all but its name.

    # Examples

        async with aioxide.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(0.01, "one"))
            two = group.create_task(asyncio.sleep(0.01, "two"))
        assert (one.result(), two.result()) == ("one", "two")

    asyncio: `asyncio.TaskGroup`; no difference. Python 3.10 has none: there it does what 3.13 does, and its
    exception groups are those of the package `exceptiongroup`, which is installed with aioxide.
    """


state.keep(TaskGroup)

if not TYPE_CHECKING:
    _aioxide._equip_groups(TaskGroup, _Stock)
