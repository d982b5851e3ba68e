"""The fuzzing of `http_client.fuzzing`, for a moment."""

from __future__ import annotations

import time

import aioxide
import pytest

from .fuzzing import fuzz


@pytest.mark.slow
def test_good_answers_come_whole_and_broken_ones_are_exceptions() -> None:
    found = aioxide.run(fuzz(7, time.monotonic() + 60, 400))
    assert sum(found.values()) == 400
    assert found["whole"] > 100
    assert found["ClientPayloadError"] > 5
