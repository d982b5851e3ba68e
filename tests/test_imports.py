"""What waits for a module is called once it is imported, and before anybody uses it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aioxide.imports import when_imported

TEXT = """
from aioxide.imports import when_imported
{wait}
def apply():
    return "theirs"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("waited_for_")]:
        del sys.modules[name]


def replace(module: ModuleType) -> None:
    theirs = module.apply
    module.__dict__["apply"] = lambda: f"ours, {theirs()}"


def test_module_that_is_imported_later(folder: Path) -> None:
    (folder / "waited_for_later.py").write_text(TEXT.format(wait=""))
    when_imported("waited_for_later", replace)
    assert importlib.import_module("waited_for_later").apply() == "ours, theirs"
    again: list[str] = []
    when_imported("waited_for_later", lambda module: again.append(module.__name__))
    assert again == ["waited_for_later"]


@pytest.mark.parametrize("use", ["import", "from"])
def test_module_whose_import_leads_to_the_wait(folder: Path, use: str) -> None:
    """As that of a library that imports asyncio, where a variable has asyncio bring aioxide along."""
    name = f"waited_for_{use}"
    wait = f"import test_imports\nwhen_imported({name!r}, test_imports.replace)"
    (folder / f"{name}.py").write_text(TEXT.format(wait=wait))
    sys.modules["test_imports"] = sys.modules[__name__]
    space: dict[str, Any] = {}
    exec(f"import {name}" if use == "import" else f"from {name} import apply", space)
    apply = space["apply"] if use == "from" else space[name].apply
    assert callable(apply)
    assert apply() == "ours, theirs"
    assert type(sys.modules[name]) is ModuleType
