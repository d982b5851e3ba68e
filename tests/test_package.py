"""What is built holds what it must: the wheel, the source archive, and the extension of the examples."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOOK = "aioxide_startup.pth"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("maturin") is None, reason="needs maturin"),
]


def build(*command: str) -> None:
    """Runs a command of this environment, whose programs come first."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_wheel_has_the_hook_and_the_program_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIOXIDE_NO_PROGRAM", raising=False)
    options = ["--no-deps", "--no-build-isolation", "--config-settings", "build-args=--profile dev"]
    build("pip", "wheel", "-q", *options, "--wheel-dir", str(tmp_path), ".")
    (wheel,) = tmp_path.glob("aioxide-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (program,) = [name for name in archive.namelist() if name.endswith(".data/scripts/aioxide")]
        place = Path(archive.extract(program, tmp_path))
        place.chmod(0o755)
        version = subprocess.run([str(place), "--version"], capture_output=True, text=True, check=True).stdout
        assert version.split() == ["aioxide", wheel.name.split("-")[1]]
        # It is in the wheel, and no longer among the sources.
        assert not (ROOT / "python/data/scripts/aioxide").exists()
        files = archive.namelist()
        (hook,) = [name for name in files if name.endswith(HOOK)]
        text = archive.read(hook).decode()
    assert hook.endswith(f".data/purelib/{HOOK}")
    assert {"aioxide/py.typed", "aioxide/_aioxide.pyi", "aioxide/startup.py"} <= set(files)
    # Each start of the interpreter runs it: each line looks at its variable before it imports anything of ours.
    for line, variable in zip(text.splitlines(), ["AIOXIDE", "AIOXIDE_MONITOR"], strict=True):
        assert line.startswith(f'import os; os.environ.get("{variable}", "0") not in ("", "0") and ')


def test_source_archive_has_the_hook(tmp_path: Path) -> None:
    build("maturin", "sdist", "--out", str(tmp_path))
    (archive,) = tmp_path.glob("aioxide-*.tar.gz")
    with tarfile.open(archive) as tar:
        files = {name.partition("/")[2] for name in tar.getnames()}
    assert {f"python/data/purelib/{HOOK}", "python/aioxide/py.typed", "pyproject.toml", "README.md"} <= files


def test_extension_of_the_examples_is_built_by_pip(tmp_path: Path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--config-settings", "build-args=--profile dev"]
    build("pip", "wheel", "-q", *options, "--wheel-dir", str(tmp_path), "examples/rust-extension")
    (wheel,) = tmp_path.glob("rust_extension-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = "import rust_extension; print(rust_extension.RateLimiter(per_second=1), rust_extension.Cache)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert "RateLimiter" in result.stdout
