"""The text that Prometheus reads: everything in it was read at one instant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from ws_gateway.control.health import HealthReporter
from ws_gateway.control.metrics.metric import Meters, Metric, Sight, Type
from ws_gateway.control.metrics.table import METRICS
from ws_gateway.runtime.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TEXT_AGE_SECONDS = 0.5
"""How long a text serves further callers: it takes milliseconds on the loop that moves events, and
needs no key, so anybody may ask as often as they like."""


class Scrape:
    """Makes the text.

    Args:
        health: what `/health` and `/api/v1/queues` are told from, so that nothing is told twice.
        meters: the rest.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        health: HealthReporter,
        meters: Meters,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._meters = meters
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._text = b""
        self._made_at: float | None = None
        self._process = ProcessCollector(registry=None)

    @property
    def meters(self) -> Meters:
        """Return what is measured for operators alone."""
        return self._meters

    async def text(self) -> bytes:
        """Return the text; it may be half a second old."""
        async with self._lock:
            if self._made_at is None or self._monotonic() - self._made_at >= TEXT_AGE_SECONDS:
                report = await self._health.report()
                # Nothing below waits, nor does the report after it read its counters.
                sight = Sight(report, self._health.queues(), self._health.silences(), self._meters)
                self._text = self._render(sight)
                self._made_at = self._monotonic()
            return self._text

    def _render(self, sight: Sight) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Told(sight))
        registry.register(self._process)
        return generate_latest(registry)


class _Told(Collector):
    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def collect(self) -> Iterator[Family]:
        """Tell every metric of the table, also those without samples."""
        return (family_of(metric, self._sight) for metric in METRICS)


def family_of(metric: Metric, sight: Sight) -> Family:
    """Read one metric."""
    if metric.type is Type.HISTOGRAM:
        return _histogram_family(metric, sight)
    kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
    family = kind(metric.full_name, metric.help, labels=metric.labels)
    for labels, value in metric.read(sight):
        if not isinstance(value, Histogram):
            family.add_metric(labels, value)
    return family


def _histogram_family(metric: Metric, sight: Sight) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.full_name, metric.help, labels=metric.labels)
    for labels, value in metric.read(sight):
        if isinstance(value, Histogram):
            bounds = [*(f"{bound:g}" for bound in value.bounds), "+Inf"]
            family.add_metric(
                labels, list(zip(bounds, value.cumulative(), strict=True)), sum_value=value.total
            )
    return family
