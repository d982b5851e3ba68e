"""What the steps of `make dist` share: folders, the environment with the tools, and how a command is run."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DIST = ROOT / "dist"
# Built here, not beside what developers build: other flags, another linker.
TARGET = ROOT / "target" / "dist"
SYMBOLS = DIST / "symbols"
ENVIRONMENT = ROOT / ".cache" / "dist"
CARGO_TOOLS = ROOT / ".cache" / "cargo-tools"

MACHINE = platform.machine()
TRIPLE = f"{MACHINE}-unknown-linux-gnu"
GLIBC = "2.28"
PLATFORM = f"manylinux_{GLIBC.replace('.', '_')}_{MACHINE}"


@cache
def version() -> str:
    """The version of the workspace, which is that of everything here."""
    (found,) = re.findall(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    return str(found)


@cache
def commit_time() -> str:
    """Seconds of the newest commit: the time of every file in an archive, so that two builds are equal."""
    return output("git", "log", "-1", "--format=%ct")


def run(*command: str | Path, **settings: str) -> None:
    """Runs a command in the project's folder with the tools first in PATH; shows it before."""
    words = [str(word) for word in command]
    sys.stdout.write(f"+ {shlex.join(words)}\n")
    sys.stdout.flush()
    subprocess.run(words, cwd=ROOT, env=environment() | settings, check=True)


def output(*command: str | Path) -> str:
    """What a command prints."""
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=ROOT, env=environment(), check=True, text=True, stdout=subprocess.PIPE
    ).stdout.strip()


@cache
def environment() -> dict[str, str]:
    """The environment of every command: its tools, and paths of this machine left out of what is built."""
    zig = [str(folder) for folder in ENVIRONMENT.glob("lib/python*/site-packages/ziglang")]
    path = [str(ENVIRONMENT / "bin"), *zig, str(CARGO_TOOLS / "bin"), os.environ.get("PATH", "")]
    cargo_home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    flags = [
        os.environ.get("RUSTFLAGS", ""),
        f"--remap-path-prefix={cargo_home}=/cargo",
        f"--remap-path-prefix={ROOT}=/aioxide",
        "-Clink-arg=-Wl,--build-id=sha1",
    ]
    return os.environ | {"PATH": os.pathsep.join(path), "RUSTFLAGS": " ".join(filter(None, flags))}


def install_tools() -> None:
    """Makes the environment with the tools from PyPI, and builds those from crates.io."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        run(sys.executable, "-m", "venv", ENVIRONMENT)
    run(ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "-q", "-r", "scripts/release/requirements.txt")
    environment.cache_clear()
    if not (CARGO_TOOLS / "bin" / "cargo-cyclonedx").exists():
        run("cargo", "install", "-q", "--locked", "--debug", "--root", CARGO_TOOLS, "cargo-cyclonedx")


def split_symbols(binary: Path) -> None:
    """Takes the symbols out of a binary, into a file that gdb finds by the binary's build id."""
    (build_id,) = re.findall(r"Build ID: ([0-9a-f]+)", output("readelf", "--notes", binary)) or [""]
    if not build_id:
        raise SystemExit(f"{binary} has no build id")
    symbols = SYMBOLS / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    symbols.parent.mkdir(parents=True, exist_ok=True)
    run("objcopy", "--only-keep-debug", "--compress-debug-sections", binary, symbols)
    run("strip", "--strip-unneeded", binary)
