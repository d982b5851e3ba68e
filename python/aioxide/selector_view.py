"""`SelectorView`: what `loop._selector` shows, for code that looks into asyncio's selector loop."""

from __future__ import annotations

import selectors
from collections.abc import Iterator, Mapping
from typing import Any

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class SelectorView(selectors.BaseSelector):
    """The descriptors that a loop watches, as keys with ``(reader, writer)``: the handles, where there are any.

    It can be looked at, and descriptors can be taken out; the rest is the loop's own business.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return _Keys(self._loop)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        self._loop._remove_reader(key.fd)
        self._loop._remove_writer(key.fd)
        return key

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("use loop.add_reader and loop.add_writer")

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("use loop.add_reader and loop.add_writer")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise NotImplementedError("only the loop waits for its descriptors")

    def close(self) -> None:
        """Does nothing: the descriptors are the loop's."""


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """The keys by descriptor, or by an object with `fileno()`."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __len__(self) -> int:
        return len(self._loop._descriptors())

    def __iter__(self) -> Iterator[int]:
        return iter(self._loop._descriptors())

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        reader, writer = self._loop._watchers(fd)
        events = (_READ if reader is not None else 0) | (_WRITE if writer is not None else 0)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        handles = tuple(None if handle is True else handle for handle in (reader, writer))
        return selectors.SelectorKey(fileobj, fd, events, handles)
