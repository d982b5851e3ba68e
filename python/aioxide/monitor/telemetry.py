"""OpenTelemetry: the loops' numbers and a span for each step that blocked, where the program has set a provider.

    aioxide.loop.lag           histogram, s         how late a loop answered the watchdog's heartbeat
    aioxide.loop.blocked       counter, {step}      steps that took longer than the watchdog's limit
    aioxide.loop.tasks         gauge, {task}        tasks that are not done
    aioxide.loop.ready         gauge, {entry}       callbacks and steps that are ready
    aioxide.loop.timers        gauge, {timer}       timers that are set
    aioxide.loop.descriptors   gauge, {descriptor}  descriptors that are watched

Each has the attributes `thread.id` (of the loop's thread, as `ps -L` shows it) and `aioxide.loop.class`. The
conventions have no names for loops of Python; these follow those of Node.js (`nodejs.eventloop.*`) in form.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

Loops = Callable[[], list[dict[str, Any]]]

# One collection asks for several numbers.
FRESH = 0.05
GAUGES = {"tasks": "{task}", "ready": "{entry}", "timers": "{timer}", "descriptors": "{descriptor}"}
LAG_BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0]


class Telemetry:
    """What the watchdog tells OpenTelemetry. Called on the watchdog's thread, and the gauges on the exporter's."""

    def __init__(self, loops: Loops) -> None:
        self._ask = loops
        self._asked = float("-inf")
        self._known: list[dict[str, Any]] = []
        # A provider keeps its gauges for ever, so that each gets them once.
        self._instruments: list[tuple[Any, _Instruments]] = []
        self._reports: dict[int, dict[str, Any]] = {}

    def blocked(self, report: dict[str, Any]) -> None:
        """A loop is blocked; its span is made when that is over."""
        if _tracer() is not None:
            self._reports[report["loop"]] = report

    def beaten(self, loop: int, lag: float, ago: float, blocked: bool) -> None:
        """A heartbeat that was sent `ago` seconds before was answered after `lag` seconds."""
        instruments = self._current()
        if instruments is not None:
            found = next((one for one in self._loops() if one["id"] == loop), None)
            attributes = {} if found is None else _attributes(found)
            instruments.lag.record(lag, attributes)
            if blocked:
                instruments.blocked.add(1, attributes)
        report = self._reports.pop(loop, None)
        tracer = _tracer() if report is not None and blocked else None
        if tracer is None or report is None:
            return
        began = time.time_ns() - int(ago * 1e9)
        file, line, function = report["stack"][-1] if report["stack"] else ("", 0, "")
        frames = [f'  File "{file}", line {line}, in {function}' for file, line, function in report["stack"]]
        span = tracer.start_span(
            "asyncio step blocked",
            # The span of the program's that is current on this thread has nothing to do with it.
            context=_nothing(),
            start_time=began,
            attributes={
                "aioxide.blocked.cause": report["cause"],
                "aioxide.task.name": report["task"] or "",
                "code.file.path": file,
                "code.line.number": line,
                "code.function.name": function,
                "code.stacktrace": "\n".join(frames),
            },
        )
        span.end(began + int(lag * 1e9))

    def forget(self) -> None:
        """The watchdog has ended."""
        self._known, self._asked = [], float("-inf")
        self._reports.clear()

    def observe(self, name: str, make: Callable[[int, dict[str, Any]], Any]) -> Iterable[Any]:
        """The numbers called `name` of all loops."""
        return [make(one[name], _attributes(one)) for one in self._loops() if one.get(name) is not None]

    def _loops(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        if now - self._asked > FRESH:
            self._known, self._asked = self._ask(), now
        return self._known

    def _current(self) -> _Instruments | None:
        # Who sets a provider has imported it.
        metrics = sys.modules.get("opentelemetry.metrics")
        if metrics is None:
            return None
        provider = metrics.get_meter_provider()
        if isinstance(provider, metrics.NoOpMeterProvider) or type(provider).__name__ == "_ProxyMeterProvider":
            return None
        for known, instruments in self._instruments:
            if known is provider:
                return instruments
        instruments = _Instruments(metrics, provider, self)
        self._instruments.append((provider, instruments))
        return instruments


class _Instruments:
    """What one provider was given."""

    def __init__(self, metrics: Any, provider: Any, telemetry: Telemetry) -> None:
        meter = metrics.get_meter("aioxide.monitor", meter_provider=provider)
        about = "How late an event loop answered the watchdog's heartbeat"
        try:
            self.lag = meter.create_histogram(
                "aioxide.loop.lag", "s", about, explicit_bucket_boundaries_advisory=LAG_BOUNDS
            )
        except TypeError:  # before opentelemetry-api 1.30
            self.lag = meter.create_histogram("aioxide.loop.lag", "s", about)
        self.blocked = meter.create_counter(
            "aioxide.loop.blocked", "{step}", "Steps of an event loop that took longer than the watchdog's limit"
        )
        for name, unit in GAUGES.items():
            meter.create_observable_gauge(
                f"aioxide.loop.{name}",
                [_observer(telemetry, name, metrics.Observation)],
                unit,
                f"The {name} of an event loop",
            )


def _observer(telemetry: Telemetry, name: str, make: Any) -> Callable[[Any], Iterable[Any]]:
    return lambda _options: telemetry.observe(name, make)


def _attributes(loop: dict[str, Any]) -> dict[str, Any]:
    attributes = {"aioxide.loop.class": loop["class"]}
    if loop.get("thread") is not None:
        attributes["thread.id"] = loop["thread"]
    return attributes


def _tracer() -> Any:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return trace.get_tracer("aioxide.monitor", tracer_provider=provider)


def _nothing() -> Any:
    from opentelemetry.context import Context

    return Context()
