"""The licences of what is linked, and the list of it (SBOM): by cargo-about and cargo-cyclonedx."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools import DIST, ROOT, TARGET, TRIPLE, run

NOTICES = TARGET / "THIRD-PARTY.txt"
SBOM = TARGET / "aioxide-cli.cyclonedx.json"


def licences() -> Path:
    """Writes the licence of each crate that is linked; fails for one that about.toml does not accept."""
    NOTICES.parent.mkdir(parents=True, exist_ok=True)
    settings = ["--config", "scripts/release/about.toml", "--fail", "--output-file", NOTICES]
    run("cargo", "about", "generate", "--workspace", "--locked", *settings, "scripts/release/notices.hbs")
    shutil.copy(NOTICES, DIST)
    return NOTICES


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
