"""`EventLoopPolicy`, on the Pythons that have policies (to 3.15), without their deprecation warnings."""

from __future__ import annotations

import asyncio
from asyncio import events, unix_events
from typing import TYPE_CHECKING, Any

from .runners import new_event_loop

# Public until 3.13, private and deprecated in 3.14 and 3.15, gone in 3.16. Read from the module that defines it:
# the name in `asyncio` warns.
_BASE: Any = getattr(unix_events, "_DefaultEventLoopPolicy", getattr(unix_events, "DefaultEventLoopPolicy", None))

HAVE_POLICIES = _BASE is not None

if TYPE_CHECKING:

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """Makes loops of aioxide; everything else is the default policy's. Python 3.16 will have no policies.

        asyncio: `asyncio.DefaultEventLoopPolicy`, to be given to `asyncio.set_event_loop_policy`.
        """

elif HAVE_POLICIES:

    class EventLoopPolicy(_BASE):
        """Makes loops of aioxide; everything else is the default policy's. Python 3.16 will have no policies.

        asyncio: `asyncio.DefaultEventLoopPolicy`, to be given to `asyncio.set_event_loop_policy`.
        """

        _loop_factory = staticmethod(new_event_loop)


def current_policy() -> Any:
    """Returns the policy that is set, or None while the default one has not been made."""
    return getattr(events, "_event_loop_policy", None)


def set_policy(policy: Any) -> None:
    """Sets the policy without a warning; None stands for the default one, made when needed."""
    setter = getattr(events, "_set_event_loop_policy", None) or events.set_event_loop_policy
    setter(policy)


def is_default(policy: Any) -> bool:
    """Whether the program never chose this policy: the default one, or none yet."""
    return policy is None or type(policy) is _BASE
