"""Files of cookies that old versions of aiohttp have pickled."""

from __future__ import annotations

import io
import pickle
from typing import Any

_ALLOWED = {
    ("http.cookies", "SimpleCookie"),
    ("http.cookies", "Morsel"),
    ("collections", "defaultdict"),
    ("builtins", "tuple"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "dict"),
}


class _Cookies(pickle.Unpickler):
    """Makes cookies and containers alone: a pickle can run anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"Forbidden class: {module}.{name}. CookieJar.load() only allows cookie-related types for security."
            )
        return super().find_class(module, name)


def load(content: bytes) -> Any:
    """The jar's dictionary. UnpicklingError: it holds something else."""
    return _Cookies(io.BytesIO(content)).load()
