"""Times of every kind: whatever can be added to a float and compared with one; and clocks that a program brings."""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest import mock

import aioxide
import pytest

NAN, INFINITE, HUGE = float("nan"), float("inf"), 10**400


class WithFloat:
    """No number for asyncio: it cannot be added or compared."""

    def __float__(self) -> float:
        return 0.0


class WithIndex:
    def __index__(self) -> int:
        return 0


class Seconds(float):
    """A float that adds and compares as it likes."""

    def __radd__(self, other: float) -> Any:
        return Seconds(other)

    def __le__(self, other: Any) -> bool:
        return True


@pytest.fixture(params=["asyncio", "aioxide"])
def module(request: pytest.FixtureRequest) -> Any:
    return asyncio if request.param == "asyncio" else aioxide


def outcome(call: Callable[[], Any]) -> str:
    try:
        return repr(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def refused(operator: str, left: str, right: str) -> str:
    return f"TypeError: '{operator}' not supported between instances of '{left}' and '{right}'"


def not_added(kind: str) -> str:
    return f"TypeError: unsupported operand type(s) for +: 'float' and '{kind}'"


WRONG = [("5", "str"), (b"1", "bytes"), ([], "list"), (WithFloat(), "WithFloat"), (WithIndex(), "WithIndex")]


@pytest.mark.parametrize(("value", "kind"), [*WRONG, (1j, "complex")])
def test_sleep_refuses_what_cannot_be_compared(run: Any, module: Any, value: Any, kind: str) -> None:
    async def main() -> str:
        try:
            await module.sleep(value)
        except TypeError as error:
            return f"TypeError: {error}"
        return "slept"

    assert run(main()) == refused("<=", kind, "int")


@pytest.mark.parametrize("value", [False, -HUGE, -INFINITE, Fraction(1, 1000), Seconds(5), 0.0])
def test_sleep_takes_any_number(run: Any, module: Any, value: Any) -> None:
    assert run(module.sleep(value, "result")) == "result"


@pytest.mark.parametrize(("value", "message"), [(HUGE, "int too large to convert to float"), (Decimal(1), None)])
def test_sleep_fails_as_the_sum_does(run: Any, module: Any, value: Any, message: str | None) -> None:
    with pytest.raises((OverflowError, TypeError)) as caught:
        run(module.sleep(value))
    assert str(caught.value) == (message or "unsupported operand type(s) for +: 'float' and 'decimal.Decimal'")


def test_no_number_as_a_delay_ends_at_once_or_is_refused(run: Any, module: Any) -> None:
    if sys.version_info < (3, 13):
        # Nothing else is in the loop's timers: behind another one asyncio's may wait for that.
        assert run_alone(module.sleep(NAN, "result")) == "result"
    else:
        with pytest.raises(ValueError, match="Invalid delay: NaN"):
            run(module.sleep(NAN))


def run_alone(awaitable: Any) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(awaitable)
    finally:
        loop.close()


@pytest.mark.parametrize(("value", "kind"), [*WRONG, (Decimal(1), "decimal.Decimal")])
@pytest.mark.parametrize("name", ["call_later", "timeout"])
def test_a_delay_is_added_to_the_time(loop: Any, module: Any, name: str, value: Any, kind: str) -> None:
    if name == "timeout" and sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout is new in 3.11")

    async def main() -> str:
        if name == "call_later":
            return outcome(lambda: loop.call_later(value, print))
        return outcome(lambda: module.timeout(value))

    assert loop.run_until_complete(main()) == not_added(kind)


def test_a_deadline_is_compared_with_the_time() -> None:
    """asyncio finds it out in the iteration that looks at the timer, which ends the run."""
    loop = aioxide.new_event_loop()
    try:
        for value, kind in [*WRONG, (1j, "complex")]:
            assert outcome(lambda value=value: loop.call_at(value, print)) == refused(">=", kind, "float")
    finally:
        loop.close()
    loop = asyncio.SelectorEventLoop()
    loop.call_at("5", print)  # type: ignore[arg-type]
    loop.call_soon(print)
    with pytest.raises(TypeError) as caught:
        loop.run_forever()
    assert f"TypeError: {caught.value}" == refused(">=", "str", "float")
    loop.close()


@pytest.mark.parametrize("value", [0, -HUGE, HUGE, Fraction(1, 3), Decimal(5), True, Seconds(3), INFINITE, -INFINITE])
def test_a_timer_shows_the_deadline_as_it_was_given(loop: Any, value: Any) -> None:
    handle = loop.call_at(value, print)
    assert handle.when() == value
    assert type(handle.when()) is type(value)
    handle.cancel()


def test_a_timer_of_a_fraction_fires(run: Any, loop: Any) -> None:
    async def main() -> None:
        fired = loop.create_future()
        handle = loop.call_later(Fraction(1, 1000), fired.set_result, 1)
        assert isinstance(handle.when(), float)
        assert await fired == 1
        fired = loop.create_future()
        loop.call_at(Fraction(0), fired.set_result, 2)
        assert await fired == 2

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new in 3.11")
@pytest.mark.parametrize(("value", "kind"), [*WRONG, (1j, "complex"), (object(), "object")])
def test_reschedule_compares_with_the_time(run: Any, module: Any, value: Any, kind: str) -> None:
    async def main() -> None:
        async with module.timeout(10) as timeout:
            assert outcome(lambda: timeout.reschedule(value)) == refused("<=", kind, "float")
            assert timeout.when() is value
            timeout.reschedule(None)
        entered = module.timeout_at(value)
        with pytest.raises(TypeError) as caught:
            async with entered:
                pass
        assert f"TypeError: {caught.value}" == refused("<=", kind, "float")

    run(main())


async def rescheduled(timeout: Any, when: Any) -> None:
    async with timeout:
        timeout.reschedule(when)
        await asyncio.sleep(5)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new in 3.11")
def test_reschedule_takes_any_number(run: Any, module: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with module.timeout(10) as timeout:
            for value in (Fraction(10**9), Decimal(10**9), HUGE, INFINITE, 10**9):
                timeout.reschedule(value)
                assert timeout.when() is value
                await asyncio.sleep(0)
        for late in (-HUGE, -INFINITE, Fraction(loop.time())):
            with pytest.raises(TimeoutError):
                await rescheduled(module.timeout(10), late)

    run(main())


LIMITS: list[tuple[dict[str, Any], Any]] = [
    ({}, (16384, 65536)),
    ({"high": 10}, (2, 10)),
    ({"low": 3}, (3, 12)),
    ({"high": True}, (0, True)),
    ({"low": True}, (True, 4)),
    ({"high": 0.5}, (0.0, 0.5)),
    ({"low": 1.5}, (1.5, 6.0)),
    ({"high": Fraction(9, 2)}, (1, Fraction(9, 2))),
    ({"high": Decimal("2.5"), "low": Decimal(1)}, (Decimal(1), Decimal("2.5"))),
    ({"low": INFINITE}, (INFINITE, INFINITE)),
    ({"high": HUGE}, (HUGE // 4, HUGE)),
    ({"low": 2**63}, (2**63, 2**65)),
    ({"high": -0.0}, (-0.0, -0.0)),
    ({"high": 1, "low": 2}, "ValueError: high (1) must be >= low (2) must be >= 0"),
    ({"high": INFINITE}, "ValueError: high (inf) must be >= low (nan) must be >= 0"),
    ({"high": NAN}, "ValueError: high (nan) must be >= low (nan) must be >= 0"),
    ({"high": -3}, "ValueError: high (-3) must be >= low (-1) must be >= 0"),
    ({"high": "5"}, "TypeError: unsupported operand type(s) for //: 'str' and 'int'"),
    ({"low": "5"}, refused(">=", "str", "int")),
    ({"low": WithFloat()}, "TypeError: unsupported operand type(s) for *: 'int' and 'WithFloat'"),
    ({"low": WithFloat(), "high": 3}, refused(">=", "int", "WithFloat")),
]


@pytest.mark.parametrize(("limits", "expected"), LIMITS, ids=range(len(LIMITS)))
def test_limits_of_the_write_buffer_stay_as_they_were_given(
    run: Any, loop: Any, limits: dict[str, Any], expected: Any
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        found = outcome(lambda: transport.set_write_buffer_limits(**limits))
        if isinstance(expected, str):
            assert found == expected
            assert transport.get_write_buffer_limits() == (16384, 65536)
        else:
            assert found == "None"
            low, high = transport.get_write_buffer_limits()
            assert repr((low, high)) == repr(expected)
            assert (transport._low_water, transport._high_water) == (low, high)
            transport.set_write_buffer_limits(high=100, low=10)
            assert transport.get_write_buffer_limits() == (10, 100)
        transport.abort()
        theirs.close()
        await asyncio.sleep(0)

    run(main())


def test_a_fraction_of_a_byte_pauses_at_the_first(run: Any, loop: Any) -> None:
    class Paused(asyncio.Protocol):
        calls = 0

        def pause_writing(self) -> None:
            self.calls += 1

    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(Paused, sock=ours)
        while not transport.get_write_buffer_size():
            transport.write(bytes(100_000))
        transport.set_write_buffer_limits(high=math.inf, low=0)
        before = protocol.calls
        transport.set_write_buffer_limits(high=transport.get_write_buffer_size() + 0.5)
        assert protocol.calls == before
        transport.abort()
        theirs.close()
        await asyncio.sleep(0)

    run(main())


# Clocks of a program's own.


def test_timers_go_by_a_clock_in_the_place_of_the_loops(loop: Any) -> None:
    async def main() -> None:
        fired: list[str] = []
        start = loop.time()
        with mock.patch.object(loop, "time", return_value=start) as clock:
            first = loop.call_later(1000, fired.append, "later")
            loop.call_at(start + 500, fired.append, "at")
            assert first.when() == start + 1000
            await asyncio.sleep(0)
            assert not fired
            clock.return_value = start + 500
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert fired == ["at"]
            clock.return_value = first.when()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert fired == ["at", "later"]
        await asyncio.sleep(0.001)
        assert abs(loop.time() - start) < 60

    loop.run_until_complete(main())


@pytest.mark.parametrize("stops", [False, True])
def test_a_derived_loop_has_a_clock_of_its_own(loop_factory: Any, stops: bool) -> None:
    made = loop_factory()
    made.close()

    class Fast(type(made)):  # type: ignore[misc]
        """A thousand times as fast, or one that stands still until it is told."""

        stands = 7.0

        def time(self) -> float:
            return self.stands if stops else super().time() * 1000

    loop = Fast()
    log: list[Any] = []

    async def main() -> None:
        start = loop.time()
        if stops:
            loop.call_later(5, log.append, "five")
            loop.call_soon(setattr, loop, "stands", 12.0)
        await asyncio.sleep(5 if stops else 0.05)
        log.append(loop.time() - start >= (5 if stops else 0.05))
        if stops:
            return
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_future(), 0.03)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert log == (["five", True] if stops else [True])


def test_an_error_of_the_clock_leaves_the_loop(loop_factory: Any) -> None:
    loop = loop_factory()
    loop.call_later(0.001, print)
    with mock.patch.object(loop, "time", side_effect=ZeroDivisionError("no time")), pytest.raises(ZeroDivisionError):
        loop.run_forever()
    loop.close()


def test_a_clock_may_be_taken_back_while_a_timer_waits(loop: Any) -> None:
    async def main() -> None:
        fired = loop.create_future()
        loop.time = lambda: 5.0
        loop.call_later(-1, fired.set_result, "now")
        assert await fired == "now"
        del loop.time
        assert loop.time() != 5.0
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
