"""OpenTelemetry: the loops' numbers, and a span for each step that blocked; nothing where no provider is set."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aioxide import monitor

from .watching import until

pytest.importorskip("opentelemetry.sdk")

Loop = asyncio.AbstractEventLoop
LIMIT = 0.05


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Collects what a provider of metrics has; it is taken back, as a process may set one only once."""
    import opentelemetry.metrics._internal as internal
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(internal, "_METER_PROVIDER", provider)

    def collect() -> dict[str, list[Any]]:
        """The points of each metric."""
        data = reader.get_metrics_data()
        scopes = [scope for one in data.resource_metrics for scope in one.scope_metrics] if data else []
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}

    yield collect
    provider.shutdown()


@contextmanager
def watching(**settings: Any) -> Iterator[list[monitor.Report]]:
    reports: list[monitor.Report] = []
    monitor.watchdog(limit=LIMIT, deadlocks=False, callback=reports.append, **settings)
    try:
        yield reports
    finally:
        monitor.unwatch()


async def answered(beats: int) -> None:
    """Until the loop has answered so many heartbeats."""
    while not (lags := monitor.lag()) or lags[0]["beats"] < beats:
        await asyncio.sleep(0.005)


def test_numbers_of_a_loop(loop: Loop, metrics: Any) -> None:
    async def main() -> dict[str, list[Any]]:
        waiting = [loop.create_task(asyncio.Event().wait()) for _ in range(5)]
        timers = [loop.call_later(1000, print) for _ in range(3)]
        await answered(3)
        # As an exporter does: on a thread of its own.
        found: dict[str, list[Any]] = await loop.run_in_executor(None, metrics)
        for one in (*waiting, *timers):
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return found

    with watching():
        found = loop.run_until_complete(asyncio.wait_for(main(), 20))
        (tasks,) = found["aioxide.loop.tasks"]
        assert 6 <= tasks.value <= 7
        assert tasks.attributes == {
            "aioxide.loop.class": f"{type(loop).__module__}.{type(loop).__qualname__}",
            "thread.id": threading.get_native_id(),
        }
        (timers,) = found["aioxide.loop.timers"]
        assert 3 <= timers.value <= 5
        assert len(found["aioxide.loop.ready"]) == len(found["aioxide.loop.descriptors"]) == 1
        (lag,) = found["aioxide.loop.lag"]
        assert lag.count >= 2
        assert 0.0001 in lag.explicit_bounds
    # Nothing runs any more: no numbers, and no error in the exporter.
    assert "aioxide.loop.tasks" not in metrics()


def test_watchdog_that_is_started_again_tells_each_number_once(loop: Loop, metrics: Any) -> None:
    for _ in range(2):
        with watching():
            loop.run_until_complete(asyncio.wait_for(answered(2), 20))
            found = loop.run_until_complete(loop.run_in_executor(None, metrics))
    assert len(found["aioxide.loop.tasks"]) == 1


def test_step_that_blocked_is_a_span_of_its_length(loop: Loop, metrics: Any, spans: Any) -> None:
    async def handler(reports: list[monitor.Report]) -> None:
        until(lambda: [one for one in reports if one["task"] == "the blocker"])
        threading.Event().wait(LIMIT)

    async def main(reports: list[monitor.Report]) -> None:
        await answered(1)
        await loop.create_task(handler(reports), name="the blocker")
        while not named("the blocker"):
            await asyncio.sleep(0.005)

    def named(task: str) -> list[Any]:
        return [span for span in spans() if span.attributes["aioxide.task.name"] == task]

    with watching(every=0.0) as reports:
        loop.run_until_complete(asyncio.wait_for(main(reports), 20))
        (count,) = metrics()["aioxide.loop.blocked"]
    assert count.value >= 1
    span = named("the blocker")[0]
    assert (span.name, span.parent) == ("asyncio step blocked", None)
    assert span.end_time - span.start_time >= 2 * LIMIT * 1e9 * 0.9
    assert span.attributes["aioxide.blocked.cause"] in ("call", "held")
    assert "in handler" in span.attributes["code.stacktrace"].replace("<locals>.", "").replace(
        "test_step_that_blocked_is_a_span_of_its_length.", ""
    )


def test_nothing_is_told_without_a_provider_or_where_it_is_not_wanted(loop: Loop, spans: Any, metrics: Any) -> None:
    async def main(reports: list[monitor.Report]) -> None:
        await answered(1)
        until(lambda: reports)
        await answered(4)

    with watching(telemetry=False) as reports:
        loop.run_until_complete(asyncio.wait_for(main(reports), 20))
    assert not spans()
    assert not metrics()
