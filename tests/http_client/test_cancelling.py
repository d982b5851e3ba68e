"""The random cancellations of `http_client.cancelling`, a few of them."""

from __future__ import annotations

import pytest

from .cancelling import main


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_left_of_what_is_cancelled(seed: int) -> None:
    found = main(300, seed * 1000)
    assert found["cancelled"] > 20
    assert found["ended"] > 20
    assert found["descriptors"] == 0
    assert found["reports"] == 0
