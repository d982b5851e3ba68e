"""Fixtures of pytest: `pytest_plugins = ["aioxide.http.testing.fixtures"]` in a `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .answers import Answers


@pytest.fixture
def http_answers() -> Iterator[Answers]:
    """Answers of a test's own, in the place of the network; see `aioxide.http.testing.Answers`."""
    with Answers() as answers:
        yield answers
