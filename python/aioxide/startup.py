"""Switches a process to aioxide as soon as it imports asyncio: by `AIOXIDE=1`, or because its parent was switched.

`AIOXIDE_MONITOR=1` opens the monitor's socket at the same moment, on whatever loop the process runs.

`aioxide_startup.pth`, which stands beside the package, asks for the variables at each start of the interpreter. What it
calls imports nothing of asyncio, so that a process which does not use asyncio pays a millisecond or two.
"""

from __future__ import annotations

import functools
import os
import site
import sys
from types import ModuleType
from typing import Any

from . import other_loops
from .imports import when_imported

VARIABLE = "AIOXIDE"
_HOOK = "aioxide_startup.pth"


def begin(*, tasks: bool = True) -> None:
    """Installs aioxide when asyncio is imported. `tasks`: as in `aioxide.install`."""

    def switch(asyncio: ModuleType) -> None:
        try:
            from .installation import install

            install(tasks=tasks)
        except ImportError as error:  # in a subinterpreter, for one
            sys.stderr.write(f"aioxide: this process stays on asyncio's own loop: {error}\n")

    other_loops.care()  # now, as one of those modules may be what imports asyncio
    when_imported("asyncio", switch)


@functools.cache  # in a virtual environment `site` runs each line of a .pth file twice
def monitor() -> None:
    """Opens the monitor's socket when asyncio is imported, and another one in each child that is forked."""

    def open_socket() -> None:
        try:
            from .monitor import start

            start()
        except (ImportError, OSError, RuntimeError) as error:
            sys.stderr.write(f"aioxide: the monitor of process {os.getpid()} is not started: {error}\n")

    def begin(asyncio: ModuleType) -> None:
        open_socket()
        # Behind the monitor's own, which has forgotten the parent's socket by then.
        os.register_at_fork(after_in_child=open_socket)

    when_imported("asyncio", begin)


def obeys_variable() -> bool:
    """Whether a process that this interpreter starts looks at the variable: whether its `site` finds the hook."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    return not sys.flags.no_site and any(os.path.isfile(os.path.join(folder, _HOOK)) for folder in folders)


class InChild:
    """Pickled into what multiprocessing tells a new process about its parent: unpickling it switches the child."""

    def __init__(self, tasks: bool) -> None:
        self.tasks = tasks

    def __reduce__(self) -> tuple[Any, ...]:
        # By its text: a child whose interpreter has no aioxide begins all the same.
        return exec, (
            "try:\n    from aioxide.startup import begin\nexcept ImportError:\n    pass\n"
            f"else:\n    begin(tasks={self.tasks})",
        )
