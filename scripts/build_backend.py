"""What pip calls to build the package: maturin, after the program `aioxide` was put among the wheel's scripts.

The program is the one of crates/aioxide-cli, as it is: it starts in a millisecond, handles its signals itself and
needs no interpreter. With AIOXIDE_NO_PROGRAM set it is left out, which halves the time of a build.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # noqa: F401  the hooks that stay maturin's
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

ROOT = Path(__file__).resolve().parent.parent
# Where maturin looks for what goes into the wheel's scripts (`data` in pyproject.toml).
PROGRAM = ROOT / "python" / "data" / "scripts" / "aioxide"


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Builds a wheel of the extension and the program; returns its name."""
    if os.environ.get("AIOXIDE_NO_PROGRAM", "0") not in ("", "0"):
        return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    build_program(profile(config_settings))
    try:
        return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    finally:
        PROGRAM.unlink()


def profile(config_settings: Any) -> str:
    """The profile that the extension is built with: `--config-settings "build-args=--profile dev"`."""
    arguments = shlex.split((config_settings or {}).get("build-args", ""))
    return arguments[arguments.index("--profile") + 1] if "--profile" in arguments else "release"


def build_program(profile: str) -> None:
    """Builds the program and puts it where maturin finds it."""
    cargo = os.environ.get("CARGO", "cargo")
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    command = [cargo, "build", "--profile", profile, "--package", "aioxide-cli", "--target-dir", str(target)]
    sys.stdout.write(f"Building the program: {' '.join(command)}\n")
    sys.stdout.flush()
    subprocess.run(command, cwd=ROOT, check=True)
    place(target / ("debug" if profile == "dev" else profile) / "aioxide")


def place(program: Path) -> None:
    """Copies the program, without its symbols, to where maturin finds it."""
    PROGRAM.parent.mkdir(exist_ok=True)
    shutil.copy(program, PROGRAM)
    if strip := shutil.which("strip"):
        subprocess.run([strip, str(PROGRAM)], check=True)
