"""The wheels: one for each interpreter, with the program, the licences and the lists of what is linked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from notices import NOTICES, SBOM
from program import IN_WHEEL
from tools import DIST, ENVIRONMENT, PLATFORM, ROOT, TARGET, commit_time, environment, output, run, split_symbols

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
BUILT = TARGET / "wheels"
CHROOT = Path(os.environ.get("AIOXIDE_SID", ROOT / ".cache" / "sid"))


@dataclass(frozen=True)
class Interpreter:
    """An interpreter, and the words before a command that is to run where it is."""

    path: str
    prefix: tuple[str, ...] = ()


@cache
def interpreters() -> dict[str, Interpreter]:
    """The interpreters found, by version: of pyenv, from PATH, or in the chroot."""
    found: dict[str, Interpreter] = {}
    inside = output("scripts/sid_chroot.sh", "pythons").split() if (CHROOT / ".bootstrapped").exists() else []
    for version in VERSIONS:
        name = f"python{version}"
        candidates = [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/{name}"))]
        for path in filter(None, [*reversed(candidates), shutil.which(name)]):
            # A shim of pyenv may stand in PATH for an interpreter that it does not run.
            if subprocess.run([path, "-V"], check=False, capture_output=True).returncode == 0:
                found.setdefault(version, Interpreter(path))
        if name in inside:
            found.setdefault(version, Interpreter(f"/usr/bin/{name}", ("scripts/sid_chroot.sh", "run")))
    return found


def build(program: Path, versions: list[str]) -> list[Path]:
    """Builds a wheel for each version; takes the symbols out and puts the licences in."""
    found = interpreters()
    if missing := [version for version in versions if version not in found]:
        raise SystemExit(f"no interpreter of {', '.join(missing)}; found: {', '.join(found)}")
    shutil.rmtree(BUILT, ignore_errors=True)
    IN_WHEEL.parent.mkdir(exist_ok=True)
    shutil.copy(program, IN_WHEEL)
    try:
        for prefix in sorted({interpreter.prefix for interpreter in found.values()}):
            chosen = [found[version] for version in versions or found]
            if here := [interpreter.path for interpreter in chosen if interpreter.prefix == prefix]:
                compile_for(here, prefix)
    finally:
        IN_WHEEL.unlink(missing_ok=True)
    return [finish(wheel) for wheel in sorted(BUILT.glob("*.whl"))]


def compile_for(paths: list[str], prefix: tuple[str, ...]) -> None:
    """Runs maturin for these interpreters, here or in the chroot."""
    names = [option for path in paths for option in ("--interpreter", path)]
    options = ["--profile", "dist", "--locked", "--strip", "false", "--zig", "--compatibility", PLATFORM]
    folders = ["--target-dir", TARGET, "--out", BUILT]
    settings = {key: environment()[key] for key in ("PATH", "RUSTFLAGS")} | {"SOURCE_DATE_EPOCH": commit_time()}
    words = [f"{key}={value}" for key, value in settings.items()]
    maturin = ENVIRONMENT / "bin" / "maturin"
    run(*prefix, "env", *words, maturin, "build", *options, "--sbom-include", SBOM, *folders, *names)


def finish(wheel: Path) -> Path:
    """Takes the symbols out of a wheel, puts the licences of what is linked in, and packs it into `dist`."""
    folder = BUILT / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    python = ENVIRONMENT / "bin" / "python"
    run(python, "-m", "wheel", "unpack", "--dest", folder, wheel)
    (content,) = folder.iterdir()
    for extension in content.rglob("*.so"):
        split_symbols(extension)
    (information,) = content.glob("*.dist-info")
    shutil.copy(NOTICES, information / "licenses")
    metadata = information / "METADATA"
    text = re.sub(r"\nLicense-File: ", f"\nLicense-File: {NOTICES.name}\nLicense-File: ", metadata.read_text(), count=1)
    if NOTICES.name not in text:
        raise SystemExit(f"{wheel.name} names no licence files: license-files in pyproject.toml")
    metadata.write_text(text)
    run(python, "-m", "wheel", "pack", "--dest-dir", DIST, content, SOURCE_DATE_EPOCH=commit_time())
    shutil.rmtree(folder)
    return DIST / wheel.name


def check(wheel: Path) -> None:
    """Checks by auditwheel that a wheel needs nothing that its platform's name does not promise."""
    # It fails where a symbol is too new; what it would bring along would be a library that we mean not to need.
    checked = BUILT / "checked"
    run(ENVIRONMENT / "bin" / "auditwheel", "repair", "--plat", PLATFORM, "--wheel-dir", checked, wheel)
    if [path.name for path in checked.iterdir()] != [wheel.name]:
        raise SystemExit(f"auditwheel renamed {wheel.name}: {[path.name for path in checked.iterdir()]}")
    shutil.rmtree(checked)


def smoke(wheel: Path) -> None:
    """Installs a wheel into an empty environment and runs smoke.py there, without a compiler in PATH."""
    tag = wheel.name.split("-")[2]
    interpreter = interpreters()[f"{tag[2]}.{tag[3:]}"]
    prefix = interpreter.prefix
    place = TARGET / "smoke" / tag
    run(*prefix, "rm", "-rf", place)
    run(*prefix, interpreter.path, "-m", "venv", place)
    run(*prefix, place / "bin/python", "-m", "pip", "install", "-q", f"{wheel}[http]")
    run(*prefix, "env", "PATH=/usr/bin:/bin", place / "bin/python", "scripts/release/smoke.py")
    sys.stdout.write(f"{wheel.name} works\n")
