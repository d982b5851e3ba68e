"""The licences of what is linked, and the list of it (SBOM) by cargo-cyclonedx."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from tools import DIST, ROOT, TARGET, TRIPLE, output, run

NOTICES = TARGET / "THIRD-PARTY.txt"
SBOM = TARGET / "aioxide-cli.cyclonedx.json"
# What is given away, and what that is made of.
GIVEN = ("aioxide-cli", "aioxide-py")
# Licences that what is linked may have: each allows linking into a program of any licence. A new one is a decision.
ACCEPTED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
}
TEXTS = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)
RULE = "=" * 80


def licences() -> Path:
    """Writes the licence of each crate that is linked; fails for one that is not among the accepted."""
    packages = linked()
    refused = [
        f"{name(package)}: {package['license']}" for package in packages if not accepts(package["license"] or "")
    ]
    if refused:
        raise SystemExit("\n".join(["licences that scripts/release/notices.py does not accept:", *refused]))
    by_text: dict[str, list[str]] = {}
    for package in packages:
        folder = Path(package["manifest_path"]).parent
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and TEXTS.match(path.name)]
        texts = [path.read_text(encoding="utf-8", errors="replace").strip() for path in files]
        for text in texts or [f"Its archive has no text of the licence; {package['repository']} has."]:
            by_text.setdefault(text, []).append(f"{name(package)} ({package['license']})")
    parts = [f"{RULE}\n{chr(10).join(users)}\n{RULE}\n\n{text}\n" for text, users in by_text.items()]
    opening = "aioxide is linked with the crates below. Under each stand its licences.\n"
    NOTICES.parent.mkdir(parents=True, exist_ok=True)
    NOTICES.write_text("\n".join([opening, *parts]), encoding="utf-8")
    shutil.copy(NOTICES, DIST)
    return NOTICES


def name(package: dict[str, Any]) -> str:
    """A package's name and version."""
    return f"{package['name']} {package['version']}"


def linked() -> list[dict[str, Any]]:
    """The packages of others that are linked into what is given away; macros and what only builds use are not."""
    metadata = json.loads(output("cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TRIPLE))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [key for key, package in packages.items() if package["name"] in GIVEN]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            key = dependency["pkg"]
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            is_macro = any("proc-macro" in target["kind"] for target in packages[key]["targets"])
            if is_linked and not is_macro and key not in seen:
                seen.add(key)
                waiting.append(key)
    found = [packages[key] for key in seen if packages[key]["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def accepts(expression: str) -> bool:
    """Whether the accepted licences are enough for an expression of licences."""
    words = re.findall(r"\(|\)|/|\bAND\b|\bOR\b|[\w.-]+(?: WITH [\w.-]+)?", expression)
    known = {"(": "(", ")": ")", "/": " or ", "OR": " or ", "AND": " and "}
    # Only these words and truth values are left.
    return bool(words) and bool(eval("".join(known.get(word, str(word in ACCEPTED)) for word in words)))


def sbom() -> Path:
    """Lists what is linked into the program, as CycloneDX; maturin lists what is linked into the extension."""
    manifest = ROOT / "crates" / "aioxide-cli" / "Cargo.toml"
    options = ["--format", "json", "--target", TRIPLE, "--override-filename", "aioxide-cli.cyclonedx"]
    run("cargo", "cyclonedx", "--manifest-path", manifest, *options)
    SBOM.parent.mkdir(parents=True, exist_ok=True)
    # It writes one for each crate of the workspace, beside its manifest.
    for written in ROOT.glob("*/*/aioxide-cli.cyclonedx.json"):
        if written.parent == manifest.parent:
            shutil.move(written, SBOM)
        else:
            written.unlink()
    shutil.copy(SBOM, DIST)
    return SBOM
