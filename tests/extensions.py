"""Builds the Rust extensions of the tests and examples, and imports them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@cache
def build(package: str) -> ModuleType:
    """Builds a package of the workspace for this interpreter, in the workspace's own target directory; imports it."""
    cargo = shutil.which(os.environ.get("CARGO", "cargo"))
    if cargo is None:
        pytest.skip("needs cargo")
    # As maturin has them: what it has built is used again.
    signature = f"cpython-{sys.version_info.major}.{sys.version_info.minor}-64bit"
    environment = os.environ | {"PYO3_PYTHON": sys.executable, "PYO3_ENVIRONMENT_SIGNATURE": signature}
    environment["PYO3_BUILD_EXTENSION_MODULE"] = "1"
    subprocess.run([cargo, "build", "-q", "--package", package], cwd=ROOT, env=environment, check=True)
    target = Path(environment.get("CARGO_TARGET_DIR", ROOT / "target"))
    return load(package, target / "debug")


def load(package: str, folder: Path) -> ModuleType:
    """Imports the module that was built there."""
    name = package.replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, folder / f"lib{name}.so")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
