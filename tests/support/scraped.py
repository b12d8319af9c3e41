"""A scrape as Prometheus reads it, with the identity that must hold in every one."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families


class Scraped:
    """What one answer of `/metrics` says; the identity has to hold unless a test breaks it.

    Attributes:
        text: as it came.
        families: by the name their samples have, histograms by that of the whole.
    """

    def __init__(self, text: str, *, adds_up: bool = True) -> None:
        self.text = text
        self.families: dict[str, Family] = {}
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert name not in self.families, f"{name} is told twice"
            self.families[name] = family
        if adds_up:
            self._check_identity()

    def values(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name that have these labels, by the values of the others.

        These stand in the order of their names.
        """
        found: dict[tuple[str, ...], float] = {}
        for sample in self.samples():
            if sample[0] == name and labels.items() <= sample[1].items():
                others = tuple(value for key, value in sample[1].items() if key not in labels)
                assert others not in found, (name, sample[1])
                found[others] = sample[2]
        return found

    def value(self, name: str, **labels: str) -> float:
        """Return the only sample of a name and these labels."""
        (value,) = self.values(name, **labels).values()
        return value

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Tell every sample: its name, its labels, its value."""
        for family in self.families.values():
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def _check_identity(self) -> None:
        whereabouts = (
            self.value("ws_gateway_events_confirmed_total")
            + self.value("ws_gateway_events_in_flight")
            + self.value("ws_gateway_events_spooled")
            + sum(self.values("ws_gateway_events_suppressed_total").values())
            + sum(self.values("ws_gateway_events_shed_total").values())
            + sum(self.values("ws_gateway_events_rejected_total").values())
        )
        assert self.value("ws_gateway_events_received_total") == whereabouts, self.text


async def scrape(http: httpx.AsyncClient) -> Scraped:
    """Scrape as Prometheus does: without a key."""
    answer = await http.get("/metrics", headers={"X-API-Key": ""})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Scraped(answer.text)
