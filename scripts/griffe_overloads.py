"""For the documentation: a stub's function that has only overloads is shown, with the docstring of the last of them."""

from __future__ import annotations

from typing import Any

import griffe


class Overloads(griffe.Extension):
    """Makes a function of the overloads of a stub, which griffe leaves without one."""

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        for name, overloads in mod.overloads.items():
            if name in mod.members or not overloads:
                continue
            last = overloads[-1]
            function = griffe.Function(
                name, lineno=last.lineno, parameters=last.parameters, returns=last.returns, docstring=last.docstring
            )
            function.overloads = list(overloads)
            function.labels |= last.labels
            mod.set_member(name, function)
