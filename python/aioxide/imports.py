"""`when_imported`: does something to a module as soon as the program has imported it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_Action = Callable[[ModuleType], None]


def when_imported(name: str, action: _Action) -> None:
    """Calls `action` with the module: at once if it is imported, else right after its import, before any use."""
    module = sys.modules.get(name)
    if module is not None and not _is_being_imported(module):
        action(module)
        return
    if module is not None:
        # Its import has led here: what it will have is not there yet.
        if type(module) is ModuleType:
            module.__class__ = _Unfinished
        _FINDER.actions.setdefault(name, []).append(action)
        return
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.actions.setdefault(name, []).append(action)


def _is_being_imported(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _Unfinished(ModuleType):
    """A module that was being imported when it was waited for: the action comes before the first look at it later."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and not getattr(self.__spec__, "_initializing", False):
            self.__class__ = ModuleType  # type: ignore[assignment]  # as it was
            _FINDER.imported(self)
            return getattr(self, name)
        return super().__getattribute__(name)


class _Finder:
    """Finds what the other finders find; takes itself out of the way when everything that was waited for has come."""

    def __init__(self) -> None:
        self.actions: dict[str, list[_Action]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.actions:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]  # an attribute of it by another
                return spec
        return None

    def imported(self, module: ModuleType) -> None:
        for action in self.actions.pop(module.__name__, ()):
            action(module)
        if not self.actions and self in sys.meta_path:
            sys.meta_path.remove(self)


class _Loader:
    """Another loader, told from by one thing: what waits for the module is called when it has been run."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module looks as if nobody had waited for it.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._finder.imported(module)


_FINDER: Any = _Finder()
