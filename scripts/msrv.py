"""Whether the project still builds with the oldest Rust that it names (`rust-version` in Cargo.toml): `make msrv`.

No dependency may ask for a newer one. What the code itself uses is checked by that toolchain, where rustup has it, and
by clippy's `incompatible_msrv` (in `make lint`) everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")


def number(version: str | None) -> tuple[int, ...]:
    """1.88 and 1.88.0 as numbers that can be compared."""
    parts = [int(part) for part in (version or "0").split(".")]
    return (*parts, *[0] * (3 - len(parts)))


def packages() -> list[dict[str, Any]]:
    """The packages of the workspace and all that they depend on."""
    command = [CARGO, "metadata", "--format-version", "1", "--locked"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return list(found["packages"])


def named() -> str:
    """The version that the project names."""
    (version,) = {package["rust_version"] for package in packages() if package["name"] == "aioxide-core"}
    return str(version)


def asking_for_newer() -> list[str]:
    """What asks for a newer Rust than the project names."""
    ours = named()
    return [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in packages()
        if number(package["rust_version"]) > number(ours)
    ]


def main() -> None:
    """Compares what the dependencies ask for, then checks with the toolchain itself."""
    ours = named()
    if newer := asking_for_newer():
        sys.exit("\n".join([f"the project names Rust {ours}, but:", *newer]))
    sys.stdout.write(f"no dependency asks for more than Rust {ours}\n")
    command = ["rustup", "toolchain", "list"] if shutil.which("rustup") else ["true"]
    toolchains = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    if not any(line.startswith(f"{ours}.") or line.startswith(f"{ours}-") for line in toolchains.splitlines()):
        sys.stdout.write(f"rustup has no toolchain {ours}: not compiled with it\n")
        return
    target = ["--target-dir", f"target/rust-{ours}"]
    subprocess.run(["cargo", f"+{ours}", "check", "--workspace", "--locked", *target], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
