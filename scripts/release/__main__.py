"""Builds what is given to others, into `dist`, and tries it: `make dist` (DIST="--pythons 3.13 --only wheels").

sdist      the source archive
program    the command `aioxide` for every Linux with glibc 2.28 or newer; goes into the wheels and the Debian package
wheels     one for each interpreter found, also in the chroot of scripts/sid_chroot.sh; checked, installed and tried
debian     the package of the program
static     the program without shared libraries, in an archive

Beside them: the licences and the list (SBOM) of what is linked, the symbols by build id, and SHA256SUMS.
Nothing is published: RELEASING.md says how that is done.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys

import notices
import program
import wheels
from tools import DIST, ENVIRONMENT, MACHINE, SYMBOLS, install_tools, run, version

STEPS = ("sdist", "wheels", "debian", "static")


def main() -> None:
    """Runs the steps that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps (default: all)")
    parser.add_argument(
        "--pythons", nargs="+", default=[], metavar="VERSION", help="wheels for these (default: all found)"
    )
    options = parser.parse_args()
    install_tools()
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    notices.licences()
    notices.sbom()
    made = []
    if "sdist" in options.only:
        run(ENVIRONMENT / "bin" / "maturin", "sdist", "--out", DIST)
        made.append(DIST / f"aioxide-{version()}.tar.gz")
    if {"wheels", "debian"} & set(options.only):
        built = program.build()
    if "wheels" in options.only:
        for wheel in wheels.build(built, options.pythons):
            wheels.check(wheel)
            wheels.smoke(wheel)
            made.append(wheel)
    if made:
        run(ENVIRONMENT / "bin" / "twine", "check", "--strict", *made)
    if "debian" in options.only:
        program.package(built)
    if "static" in options.only:
        program.build_static()
    program.pack(SYMBOLS, DIST / f"aioxide-{version()}-linux-{MACHINE}-symbols.tar.gz")
    shutil.rmtree(SYMBOLS)
    write_sums()


def write_sums() -> None:
    """Writes the checksum of each file, and lists them with their sizes."""
    lines = []
    for file in sorted(DIST.iterdir()):
        content = file.read_bytes()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {file.name}\n")
        sys.stdout.write(f"{len(content) / 1e6:8.2f} MB  {file.name}\n")
    (DIST / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
