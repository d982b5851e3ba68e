"""The program: for wheels and Debian against an old glibc, and alone without any; its package and its archive."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from pathlib import Path

from notices import NOTICES
from tools import (
    DIST,
    GLIBC,
    MACHINE,
    ROOT,
    TARGET,
    TRIPLE,
    commit_time,
    environment,
    output,
    run,
    split_symbols,
    version,
)

# Where maturin looks for the program (scripts/build_backend.py says more).
IN_WHEEL = ROOT / "python" / "data" / "scripts" / "aioxide"
STAGE = TARGET / "stage"
# What Debian calls a machine.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[MACHINE]
LICENCES = ("LICENSE-APACHE", "LICENSE-MIT")

CONTROL = """\
Package: aioxide
Version: {version}
Architecture: {architecture}
Maintainer: The aioxide developers <aioxide@localhost>
Installed-Size: {size}
Depends: libc6 (>= {glibc})
Recommends: ca-certificates
Section: web
Priority: optional
Description: concurrent downloader with reports
 aioxide fetch downloads many URLs at the same time and accounts for each of
 them in a report; aioxide demo shows what an event loop does.
"""


def build() -> Path:
    """Builds the program for every Linux with glibc 2.28 or newer; returns where it lies, without its symbols."""
    command = ["cargo", "zigbuild", "--profile", "dist", "--locked", "--package", "aioxide-cli"]
    run(*command, "--target", f"{TRIPLE}.{GLIBC}", "--target-dir", TARGET)
    program = STAGE / "aioxide"
    STAGE.mkdir(parents=True, exist_ok=True)
    shutil.copy(TARGET / TRIPLE / "dist" / "aioxide", program)
    split_symbols(program)
    return program


def build_static() -> Path:
    """Builds the program without any shared library; returns its archive, with manual pages and completions."""
    flags = f"{environment()['RUSTFLAGS']} -Ctarget-feature=+crt-static"
    command = ["cargo", "build", "--profile", "dist", "--locked", "--package", "aioxide-cli"]
    run(*command, "--target", TRIPLE, "--target-dir", TARGET / "static", RUSTFLAGS=flags)
    name = f"aioxide-{version()}-linux-{MACHINE}"
    folder = STAGE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = folder / "aioxide"
    shutil.copy(TARGET / "static" / TRIPLE / "dist" / "aioxide", program)
    split_symbols(program)
    if "NEEDED" in output("readelf", "--dynamic", program):
        raise SystemExit(f"{program} needs shared libraries")
    for path, text in around(program).items():
        (folder / Path(path).name).write_text(text)
    for file in (*LICENCES, "CHANGELOG.md"):
        shutil.copy(ROOT / file, folder)
    shutil.copy(NOTICES, folder)
    archive = DIST / f"{name}.tar.gz"
    pack(folder, archive)
    return archive


def pack(folder: Path, archive: Path) -> None:
    """Packs a folder; two archives of the same files are equal."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = int(commit_time())
        return member

    with gzip.GzipFile(archive, "wb", mtime=int(commit_time())) as out, tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(folder, folder.name, filter=plain)


def around(program: Path) -> dict[str, str]:
    """What the program prints about itself: manual pages and completions, by their places under /usr."""
    commands = ["demo", "fetch", "report"]
    pages = {f"share/man/man1/aioxide-{name}.1": output(program, "man", name) + "\n" for name in commands}
    return {
        "share/man/man1/aioxide.1": output(program, "man") + "\n",
        **pages,
        "share/bash-completion/completions/aioxide": output(program, "completions", "bash") + "\n",
        "share/fish/vendor_completions.d/aioxide.fish": output(program, "completions", "fish") + "\n",
        "share/zsh/vendor-completions/_aioxide": output(program, "completions", "zsh") + "\n",
    }


def package(program: Path) -> Path:
    """Makes the Debian package of the program."""
    folder = STAGE / "debian"
    shutil.rmtree(folder, ignore_errors=True)
    documents = folder / "usr/share/doc/aioxide"
    documents.mkdir(parents=True)
    binary = folder / "usr/bin/aioxide"
    binary.parent.mkdir()
    shutil.copy(program, binary)
    for path, text in around(program).items():
        place = folder / "usr" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".1"):
            place.with_suffix(".1.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            place.write_text(text)
    (documents / "copyright").write_text("\n".join((ROOT / file).read_text() for file in LICENCES))
    (documents / "changelog.gz").write_bytes(gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), mtime=0))
    (documents / f"{NOTICES.name}.gz").write_bytes(gzip.compress(NOTICES.read_bytes(), mtime=0))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 1024
    (folder / "DEBIAN").mkdir()
    control = CONTROL.format(version=version(), architecture=ARCHITECTURE, size=size, glibc=GLIBC)
    (folder / "DEBIAN/control").write_text(control)
    # A folder that a shell with another umask made would be refused.
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path == binary else 0o644)
    archive = DIST / f"aioxide_{version()}_{ARCHITECTURE}.deb"
    run("dpkg-deb", "--build", "--root-owner-group", folder, archive, SOURCE_DATE_EPOCH=commit_time())
    return archive
