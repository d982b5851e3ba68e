"""`timeout`, `timeout_at` and `Timeout`: asyncio's, with what runs per block in Rust; Python 3.10 has them too."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, final

from . import _aioxide, state
from ._aioxide import timeout, timeout_at

__all__ = ["Timeout", "timeout", "timeout_at"]

_STATES = ("CREATED", "ENTERED", "EXPIRING", "EXPIRED", "EXITED")

if TYPE_CHECKING:
    _Stock = asyncio.Timeout
elif sys.version_info >= (3, 11):
    from asyncio.timeouts import Timeout as _Stock
    from asyncio.timeouts import _State
else:
    from .before_311 import Timeout as _Stock
    from .before_311 import TimeoutState as _State


@final
class Timeout(_aioxide._TimeoutCore, _Stock):  # type: ignore[misc]  # final in asyncio
    """A block that is cancelled when its time is up, which raises TimeoutError out of it.

    # Cancel safety
    A cancellation that is not the timeout's own goes through it.

    # Examples

        try:
            async with aioxide.timeout(0.01) as limit:
                await asyncio.sleep(60)
        except asyncio.TimeoutError:
            assert limit.expired()

    asyncio: `asyncio.Timeout`; no difference. Python 3.10 has none: there it does what 3.13 does.
    """


state.keep(Timeout)

if not TYPE_CHECKING:
    _aioxide._equip_timeouts(Timeout, _Stock, [getattr(_State, name) for name in _STATES])
