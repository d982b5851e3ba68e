"""`Subprocesses`: child processes whose end is told by a descriptor, in any thread, without a child watcher."""

from __future__ import annotations

import os
import sys
from asyncio import base_subprocess, events, log, unix_events
from typing import TYPE_CHECKING, Any

__all__ = ["Subprocesses"]


class Subprocesses(unix_events._UnixSelectorEventLoop):
    """The part of `EventLoop` that starts child processes and hears of their end.

    asyncio: a child watcher of the policy, before 3.14; a thread for each child where that is all there is. Here the
    kernel's pidfd is watched as any descriptor is. Without pidfd asyncio's own way is taken.
    """

    if TYPE_CHECKING:
        # What asyncio's own loop and `LoopCore` have in private: no stub knows it.
        def __getattr__(self, name: str) -> Any: ...

    async def _make_subprocess_transport(  # noqa: PLR0917 - as asyncio calls it
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> base_subprocess.BaseSubprocessTransport:
        if not self._has_pidfd_watcher() or has_foreign_watcher():
            return await super()._make_subprocess_transport(  # type: ignore[misc]
                protocol, args, shell, stdin, stdout, stderr, bufsize, extra, **kwargs
            )
        waiter = self.create_future()
        transport = unix_events._UnixSubprocessTransport(  # type: ignore[attr-defined]
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **kwargs
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    if sys.version_info >= (3, 14):
        # Before 3.14 the watcher is the policy's; from then on each loop has one, here from its first use on.
        @property
        def _watcher(self) -> Any:
            if self._child_watcher is None:
                by_pidfd = unix_events.can_use_pidfd()
                kind = unix_events._PidfdChildWatcher if by_pidfd else unix_events._ThreadedChildWatcher
                self._child_watcher = kind()
            return self._child_watcher

        def _has_pidfd_watcher(self) -> bool:
            return isinstance(self._watcher, unix_events._PidfdChildWatcher)

    else:

        def _has_pidfd_watcher(self) -> bool:
            return can_use_pidfd()

    def _watch_child(self, transport: Any) -> None:
        pid = transport.get_pid()
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # no descriptor left: a thread can still wait
            watcher = unix_events._ThreadedChildWatcher if hasattr(unix_events, "_ThreadedChildWatcher") else None
            watcher = watcher or unix_events.ThreadedChildWatcher
            watcher().add_child_handler(pid, self._child_watcher_callback, transport)
        else:
            self._add_reader(pidfd, self._child_ended, pid, pidfd, transport)

    def _child_ended(self, pid: int, pidfd: int, transport: Any) -> None:
        self._remove_reader(pidfd)
        os.close(pidfd)
        try:
            status = os.waitpid(pid, 0)[1]
        except ChildProcessError:
            # Somebody else has reaped it.
            returncode = 255
            log.logger.warning("child process pid %d exit status already read:  will report returncode 255", pid)
        else:
            returncode = os.waitstatus_to_exitcode(status)
        self._child_watcher_callback(pid, returncode, transport)


def has_foreign_watcher() -> bool:
    """Whether the program has set a child watcher that is not one of asyncio's."""
    watcher = getattr(getattr(events, "_event_loop_policy", None), "_watcher", None)
    return watcher is not None and not type(watcher).__module__.startswith("asyncio.")


def can_use_pidfd() -> bool:
    """Whether the kernel tells the end of a child by a descriptor (Linux 5.3)."""
    global _can_use_pidfd  # noqa: PLW0603 - asked of the kernel once a process
    if _can_use_pidfd is None:
        try:
            os.close(os.pidfd_open(os.getpid()))
            _can_use_pidfd = True
        except (AttributeError, OSError):
            _can_use_pidfd = False
    return _can_use_pidfd


_can_use_pidfd: bool | None = None
