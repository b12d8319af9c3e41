"""The text that Prometheus reads: everything in it was read at one instant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import ProcessCollector, generate_latest
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
                # Nothing waits from where the report reads its counters to where all is read.
                sight = Sight(report, self._health.queues(), self._health.silences(), self._meters)
                families = [family_of(metric, sight) for metric in METRICS]
                families += self._process.collect()
                self._text = await _render(families)
                self._made_at = self._monotonic()
            return self._text


class _Told(Collector):
    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        """Tell the one family."""
        yield self._family


async def _render(families: Iterable[Family]) -> bytes:
    """Write the text; events go on after each family, because writing takes longer than reading."""
    parts = []
    for family in families:
        parts.append(generate_latest(_Told(family)))
        await asyncio.sleep(0)
    return b"".join(parts)


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
