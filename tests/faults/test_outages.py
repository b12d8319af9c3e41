"""Everything around the gateway goes away for seconds; `make outages` takes a minute each.

What holds, each time: no private event is lost or out of order, no hole is without a marker, the
counters add up at every look, no answer is missing, and everything flows again by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from rabbitmq_node import PrivateNode
from support.needs import skip_without
from support.outage_stage import PREFIX, Load, run_outage, staged
from support.outages import OUTAGES, small_disk
from support.site import Site
from ws_gateway.storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.xdist_group("own_broker")

SECONDS = 2.5
LOAD = Load(symbols=6, rate=20, trade_every=0.05, buffer_events=400)
TRIED = (
    "broker frozen",
    "queues deleted",
    "broker and database killed",
    "gateway killed, broker frozen",
    "disk full, black hole",
)
"""Those that no other test has in another form."""


@pytest.mark.parametrize("name", TRIED)
async def test_an_outage_under_load_costs_only_what_is_announced(
    name: str,
    tmp_path: Path,
    own_broker: PrivateNode,
    own_postgres: EmbeddedPostgres,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever goes away comes back to a gateway that lost nothing without a word."""
    outage = OUTAGES[name]
    with ExitStack() as stack:
        if outage.is_on_small_disk:
            try:
                stack.enter_context(small_disk(tmp_path / "data"))
            except PermissionError as exc:
                skip_without("mount", str(exc))
        site = Site(tmp_path, own_broker.url, await own_postgres.start(), PREFIX)
        async with staged(site, own_broker, outage, LOAD, own_postgres) as stage:
            figures = await run_outage(stage, outage, SECONDS)
    assert figures.broken == []
    assert figures.private.sent > 50
    assert figures.scrapes > 20
    for key, value in asdict(figures).items():
        record_property(key, value)
