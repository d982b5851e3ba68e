"""The rows of the comparison of event loops; each case gives operations and the seconds they took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

Factory = Callable[[], asyncio.AbstractEventLoop]
# A case gets the loop factory and about how many seconds to spend; it returns operations, wall and CPU seconds.
Measure = Callable[[Factory, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Case:
    """One row: its name, how it is measured, and what aioxide should reach beside uvloop."""

    name: str
    measure: Measure
    goal: float | None = None
    limit: str = ""
    # One round of the case on a loop, where it has rounds of equal work: what instructions are counted of.
    run: Callable[[asyncio.AbstractEventLoop], int] | None = None


CASES: dict[str, Case] = {}


def case(
    name: str,
    goal: float | None = None,
    limit: str = "",
    run: Callable[[asyncio.AbstractEventLoop], int] | None = None,
) -> Callable[[Measure], Measure]:
    """Registers a case."""

    def register(measure: Measure) -> Measure:
        CASES[name] = Case(name, measure, goal, limit, run)
        return measure

    return register
