"""Puts a third-party loop where asyncio's own loop class stands, before CPython's tests are imported."""

from __future__ import annotations

import asyncio
import importlib
from asyncio import events, unix_events
from collections.abc import Callable
from typing import Any

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# A third-party loop can have no selector chosen for it, so these would run the epoll class's tests again.
DUPLICATES = frozenset({"PollEventLoopTests", "SelectEventLoopTests"})


def load(spec: str) -> Any:
    """Imports ``module:attribute``."""
    module, _, name = spec.partition(":")
    value: Any = importlib.import_module(module)
    for part in filter(None, name.split(".")):
        value = getattr(value, part)
    return value


class LoopClass:
    """Stands for ``asyncio.SelectorEventLoop``: can be called, subclassed, patched and used in ``isinstance``.

    It is no class, so that the loops it gives are the factory's own and no subclass of them: a subclass is a
    loop that a fast path may not be taken for.
    """

    def __init__(self, factory: LoopFactory) -> None:
        sample = factory()
        sample.close()
        object.__setattr__(self, "_factory", factory)
        object.__setattr__(self, "_loop_type", type(sample))
        object.__setattr__(self, "made", 0)

    def __call__(self, selector: Any = None) -> asyncio.AbstractEventLoop:
        if selector is not None:
            selector.close()
        object.__setattr__(self, "made", self.made + 1)
        return self._factory()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._loop_type,)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._loop_type)

    def __subclasscheck__(self, cls: type) -> bool:
        return issubclass(cls, self._loop_type)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop_type, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loop_type, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._loop_type, name)


def substitute_loop(factory: LoopFactory) -> LoopClass:
    """Makes every way to a new loop in asyncio lead to ``factory``; returns the stand-in, which counts the loops."""
    stand_in = LoopClass(factory)
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, stand_in)
    policies = [name for name in vars(unix_events) if name.endswith("DefaultEventLoopPolicy")]
    for name in policies:
        vars(unix_events)[name]._loop_factory = stand_in
    if not policies:
        asyncio.new_event_loop = events.new_event_loop = stand_in
    return stand_in


def adapt_test_utils(stand_in: LoopClass) -> None:
    """Makes the helpers that CPython's tests share ask nothing private of a loop.

    ``new_test_loop()`` gives the loop under test. With a generator of times it stays CPython's own loop with a
    made-up clock: the clock of a real loop cannot be turned.
    """
    from test.test_asyncio import utils

    stock_new_test_loop = utils.TestCase.new_test_loop
    stock_close_loop = utils.TestCase.close_loop

    def new_test_loop(self: Any, gen: Any = None) -> asyncio.AbstractEventLoop:
        if gen is not None:
            return stock_new_test_loop(self, gen)
        loop = stand_in()
        self.set_event_loop(loop)
        return loop

    def close_loop(loop: Any) -> None:
        if hasattr(loop, "_default_executor"):
            stock_close_loop(loop)
        else:
            if not loop.is_closed():
                loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    utils.TestCase.new_test_loop = new_test_loop
    utils.TestCase.close_loop = staticmethod(close_loop)
