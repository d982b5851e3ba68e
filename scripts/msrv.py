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

ROOT = Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")


def number(version: str | None) -> tuple[int, ...]:
    """1.88 and 1.88.0 as numbers that can be compared."""
    parts = [int(part) for part in (version or "0").split(".")]
    return (*parts, *[0] * (3 - len(parts)))


def main() -> None:
    """Compares what the dependencies ask for, then checks with the toolchain itself."""
    command = [CARGO, "metadata", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    (ours,) = {package["rust_version"] for package in packages if package["name"] == "aioxide-core"}
    newer = [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in packages
        if number(package["rust_version"]) > number(ours)
    ]
    if newer:
        sys.exit("\n".join([f"the project names Rust {ours}, but:", *newer]))
    sys.stdout.write(f"{len(packages)} packages build with Rust {ours}, by what they say\n")
    command = ["rustup", "toolchain", "list"] if shutil.which("rustup") else ["true"]
    toolchains = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    if not any(line.startswith(f"{ours}.") or line.startswith(f"{ours}-") for line in toolchains.splitlines()):
        sys.stdout.write(f"rustup has no toolchain {ours}: not compiled with it\n")
        return
    target = ["--target-dir", f"target/rust-{ours}"]
    subprocess.run(["cargo", f"+{ours}", "check", "--workspace", "--locked", *target], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
