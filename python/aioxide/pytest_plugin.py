"""Runs a test-suite on aioxide's loop: `pytest -p aioxide.pytest_plugin`.

pytest-asyncio's tests take the loop from the hook, everything that asks asyncio itself gets it by `install()`, and
AnyIO's tests by a fixture of the test-suite: `anyio_backend -> ("asyncio", {"loop_factory": aioxide.new_event_loop})`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from .installation import install, uninstall
from .runners import new_event_loop


def pytest_configure(config: pytest.Config) -> None:
    """Puts aioxide's loop in place for the whole session."""
    install()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Puts asyncio's loop back."""
    uninstall()


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Gives pytest-asyncio (1.4 and later) the one factory of this plugin."""
    return {"aioxide": new_event_loop}
