"""What a release is checked by: licences of what is linked, the oldest Rust, the verbs that RELEASING.md names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def notices() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts/release"))
    try:
        import notices
    finally:
        sys.path.pop(0)
    return notices


@pytest.mark.parametrize(
    ("expression", "accepted"),
    [
        ("MIT", True),
        ("MIT OR Apache-2.0", True),
        ("MIT/Apache-2.0", True),
        ("MIT OR LGPL-2.1-or-later", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0", False),
        ("MIT AND GPL-3.0", False),
        ("(MIT OR Apache-2.0) AND Proprietary", False),
        ("", False),
    ],
)
def test_expression_of_licences_is_understood(notices: ModuleType, expression: str, accepted: bool) -> None:
    assert notices.accepts(expression) is accepted


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_what_is_linked_has_accepted_licences(notices: ModuleType) -> None:
    packages = notices.linked()
    names = {package["name"] for package in packages}
    # Linked into the program, into the extension, and into neither: a macro, and what only tests use.
    assert {"hyper", "clap", "pyo3"} <= names
    assert not {"serde_derive", "proptest", "aioxide"} & names
    refused = {package["name"]: package["license"] for package in packages if not notices.accepts(package["license"])}
    assert not refused


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_no_dependency_needs_a_newer_rust_than_the_project_names() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import msrv
    finally:
        sys.path.pop(0)
    assert msrv.number("1.88") == msrv.number("1.88.0") < msrv.number("1.100")
    assert msrv.asking_for_newer() == []


def test_version_is_one_in_all_places() -> None:
    text = (ROOT / "Cargo.toml").read_text()
    (version,) = re.findall(r'^version = "(.+)"$', text, re.MULTILINE)
    named = re.findall(r'^aioxide[\w-]* = \{ path = "[^"]+", version = "([^"]+)" \}$', text, re.MULTILINE)
    assert len(named) == 7
    assert set(named) == {version}
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_verbs_of_the_page_about_releases_exist() -> None:
    page = (ROOT / "RELEASING.md").read_text()
    named = {verb for line in re.findall(r"^ *make ([a-z -]+?)(?: +#|$)", page, re.MULTILINE) for verb in line.split()}
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"dist", "dist-check", "site", "msrv", "package"} <= named <= known


@pytest.mark.parametrize("script", ["clean_roots.sh", "sid_chroot.sh", "debian_root.sh"])
def test_shell_script_parses(script: str) -> None:
    subprocess.run(["sh", "-n", str(ROOT / "scripts" / script)], check=True)
