"""Finds the interpreters to test with and makes an environment with the loop under test for each."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
# What cannot concern another loop: the proactor, Windows, and asyncio's own selector transports on mock sockets.
LEFT_OUT = ("test_proactor_events", "test_selector_events", "test_windows_events", "test_windows_utils")


@dataclass(frozen=True)
class Interpreter:
    """An interpreter with CPython's test package."""

    path: str
    version: str
    full_version: str
    modules: tuple[str, ...]


def examine(path: str) -> Interpreter | None:
    """Asks an interpreter for its version and its asyncio tests; None if it has none or does not start."""
    code = (
        "import json, pathlib, platform, sys, test.test_asyncio as t\n"
        "modules = sorted(p.stem for p in pathlib.Path(t.__file__).parent.glob('test_*.py'))\n"
        "print(json.dumps(['%d.%d' % sys.version_info[:2], platform.python_version(), modules]))\n"
    )
    try:
        result = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version, full_version, modules = json.loads(result.stdout)
    kept = tuple(module for module in modules if module not in LEFT_OUT)
    return Interpreter(path, version, full_version, kept)


def find() -> list[Interpreter]:
    """Returns one interpreter per version: of pyenv where it has one, else from PATH."""
    found = []
    for version in VERSIONS:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}"))
        on_path = shutil.which(f"python{version}")
        for candidate in [*map(str, reversed(pyenv)), *([on_path] if on_path else [])]:
            interpreter = examine(candidate)
            if interpreter is not None and interpreter.version == version:
                found.append(interpreter)
                break
    return found


def with_package(interpreter: Interpreter, requirement: str, cache: Path) -> Interpreter:
    """Makes (once) an environment for the interpreter, installs ``requirement`` in it and returns its python."""
    folder = cache / f"venv-{interpreter.version}"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter.path, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", requirement], check=True)
    return Interpreter(str(python), interpreter.version, interpreter.full_version, interpreter.modules)
