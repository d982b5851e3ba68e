"""Runs a test-suite on aioxide's loop: `pytest -p aioxide.pytest_plugin`.

Whatever asks asyncio for a loop gets one of aioxide: pytest-asyncio's tests, AnyIO's, unittest's. A suite that chooses
its loop by itself, by the fixture `event_loop_policy`, a policy or a loop factory, is obeyed.
"""

from __future__ import annotations

import pytest

from .installation import install, uninstall


def pytest_configure(config: pytest.Config) -> None:
    """Puts aioxide's loop in place for the whole session."""
    install()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Puts asyncio's loop back."""
    uninstall()
