"""`copy` and `pickle` of locks, queues and the like: by what asyncio's classes have in their `__dict__`."""

from __future__ import annotations

import copyreg
import types
from typing import Any

__all__ = ["keep"]


def keep(*classes: type[Any]) -> None:
    """Gives classes whose state is in Rust the methods by which `copy` and `pickle` get at it."""
    for each in classes:
        each.__getstate__ = _get_state  # type: ignore[assignment]
        each.__setstate__ = _set_state
        each.__reduce_ex__ = _reduce_ex  # type: ignore[assignment]


def _get_state(self: Any) -> dict[str, Any]:
    kind = type(self)
    names = [
        name
        for base in kind.__mro__
        for name, found in vars(base).items()
        if isinstance(found, types.GetSetDescriptorType) and name.startswith("_") and not name.startswith("__")
    ]
    names += [name for name in copyreg._slotnames(kind) if hasattr(self, name)]  # type: ignore[attr-defined]
    state = {name: getattr(self, name) for name in names}
    if state.get("_loop") is None:
        # In asyncio it is the class's until somebody waits.
        state.pop("_loop", None)
    return {**state, **vars(self)}


def _reduce_ex(self: Any, protocol: Any) -> str | tuple[Any, ...]:
    # Protocols 0 and 1 make an `object`, which a class in Rust cannot be made of: they get what protocol 2 has.
    return object.__reduce_ex__(self, max(protocol, 2))


def _set_state(self: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        setattr(self, name, value)
