"""The description of the metrics as it is committed: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterator

from ws_gateway.control.metrics.metric import Metric
from ws_gateway.control.metrics.table import SECTIONS

_HEAD = """\
# Metrics

`GET /metrics` answers all of these in Prometheus' text format, without a key. Made by
`make contract` from the table in `control/metrics/table.py`; do not edit.

All values of one scrape are of one instant, so the counter identity holds in every scrape:

    received = confirmed + in_flight + spooled + suppressed + shed + rejected

[`deploy/prometheus/rules.yml`](../deploy/prometheus/rules.yml) has it as a recording rule, with
ratios, quantiles and alerts. Counters begin at 0 at each start. Labels are bounded: connections,
endpoints, event classes, channels, queues, services; never a topic or a symbol. The `process_*`
metrics beside these are what `prometheus-client` tells of any process.
"""


def render() -> str:
    """Return the text."""
    return "\n".join([_HEAD, *(line for name in SECTIONS for line in _section(name))])


def _section(name: str) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield "| metric | type | labels | says |"
    yield "|---|---|---|---|"
    for metric in SECTIONS[name]:
        yield _row(metric)
    yield ""


def _row(metric: Metric) -> str:
    labels = " ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.full_name}` | {metric.type.value} | {labels} | {metric.help} |"
