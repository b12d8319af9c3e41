"""Maintenance: what rows mean, and when it counts as going on."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ws_gateway.domain.topic import Endpoint
from ws_gateway.errors import VenueLost
from ws_gateway.venue.maintenance import Maintenance, read_notice
from ws_gateway.venue_hosts import BybitEnvironment

MAINNET, DEMO = BybitEnvironment.MAINNET, BybitEnvironment.DEMO
NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000
PUBLIC = {Endpoint.SPOT, Endpoint.LINEAR, Endpoint.INVERSE, Endpoint.OPTION, Endpoint.SPREAD}


def row(**changes: Any) -> dict[str, Any]:
    """Write a row as the venue does."""
    return {
        "id": "4d95b2a0",
        "title": "upgrade",
        "state": "ongoing",
        "begin": str(NOW_MS - MINUTE_MS),
        "end": str(NOW_MS + MINUTE_MS),
        "href": "",
        "serviceTypes": [3, 4, 5],
        "product": [1, 2, 3, 4],
        "uidSuffix": [],
        "maintainType": 1,
        "env": 1,
    } | changes


@pytest.mark.parametrize(
    ("changes", "endpoints"),
    [
        ({}, PUBLIC | {Endpoint.PRIVATE}),
        ({"product": [1]}, {Endpoint.LINEAR, Endpoint.INVERSE, Endpoint.PRIVATE}),
        ({"product": ["2"], "serviceTypes": ["5"]}, {Endpoint.SPOT}),
        ({"product": [3], "serviceTypes": [5]}, {Endpoint.OPTION}),
        ({"product": [4], "serviceTypes": [5]}, {Endpoint.SPREAD}),
        ({"product": [2], "serviceTypes": [4]}, {Endpoint.PRIVATE}),
        ({"product": [], "serviceTypes": [5]}, PUBLIC),
        ({"serviceTypes": [1, 2, 3]}, set()),
        ({"env": "1", "product": [9], "serviceTypes": [5]}, set()),
    ],
)
def test_services_and_products_become_endpoints(
    changes: dict[str, Any], endpoints: set[Endpoint]
) -> None:
    """Market data are the public sockets of the products; the private stream is one socket."""
    notice = read_notice(row(**changes), MAINNET)
    assert notice is not None
    assert notice.endpoints == endpoints
    assert notice.begins_at is not None
    assert notice.ends_at is not None
    assert notice.begins_at < notice.ends_at


@pytest.mark.parametrize(
    ("env", "environment", "endpoints"),
    [
        (1, MAINNET, PUBLIC | {Endpoint.PRIVATE}),
        (2, MAINNET, None),
        ("2", DEMO, {Endpoint.PRIVATE}),
        (1, DEMO, PUBLIC),
        (1, BybitEnvironment.TESTNET, PUBLIC | {Endpoint.PRIVATE}),
    ],
)
def test_an_environment_hears_what_concerns_it(
    env: object, environment: BybitEnvironment, endpoints: set[Endpoint] | None
) -> None:
    """Demo has a private socket of its own and the public ones of mainnet."""
    notice = read_notice(row(env=env), environment)
    assert (notice.endpoints if notice else None) == endpoints


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.text() | _JSON,
            "state": st.sampled_from(["ongoing", "scheduled", "completed"]) | _JSON,
            "begin": _JSON,
            "end": st.integers().map(str) | _JSON,
            "serviceTypes": _JSON,
            "product": _JSON,
            "env": _JSON,
        },
    )
    | _JSON
)
def test_no_row_is_a_defect(found: object) -> None:
    """Whatever the venue may write is read, or says nothing."""
    read_notice(found, MAINNET)


class Status:
    """A venue's notices, on a clock of the test's own."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.is_away = False
        self.asked = 0
        self.now_ms = NOW_MS
        self.maintenance = Maintenance(
            self,
            environment=MAINNET,
            clock_us=lambda: self.now_ms * 1000,
            rng=Random(3),
            poll_seconds=0.005,
            retry_base_seconds=0.005,
        )

    async def system_status(self) -> list[Any]:
        """Return the rows."""
        self.asked += 1
        if self.is_away:
            raise VenueLost("rest", "away")
        return self.rows

    async def polled(self, times: int = 2) -> None:
        """Let it ask so often."""
        goal = self.asked + times + 1  # the last answer may not have been read yet
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.maintenance.run())
            async with asyncio.timeout(30):
                while self.asked < goal:  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.001)
            task.cancel()


async def test_what_goes_on_is_told_while_it_goes_on() -> None:
    """Begin and end are logged once each, however often they are read."""
    venue = Status(row(state="scheduled", product=[2]), row(id="old", state="completed"))
    with capture_logs() as logs:
        await venue.polled()
        (notice,) = venue.maintenance.notices()
        assert notice.state == "scheduled"
        assert not venue.maintenance.is_ongoing(Endpoint.SPOT)
        venue.rows = [row(product=[2])]
        await venue.polled(5)
        assert venue.maintenance.is_ongoing(Endpoint.SPOT)
        assert venue.maintenance.is_ongoing(Endpoint.PRIVATE)
        assert not venue.maintenance.is_ongoing(Endpoint.LINEAR)
        venue.rows = [row(product=[2], state="completed")]
        await venue.polled()
        assert venue.maintenance.notices() == []
        assert not venue.maintenance.is_ongoing(Endpoint.SPOT)
    assert [entry["event"] for entry in logs] == [
        "venue.maintenance_begun",
        "venue.maintenance_ended",
    ]


async def test_maintenance_that_takes_rest_away_begins_and_ends_by_the_clock() -> None:
    """What was announced is believed while nobody can say so, a quarter of an hour past its end."""
    venue = Status(row(state="scheduled", begin=NOW_MS + MINUTE_MS, end=NOW_MS + 2 * MINUTE_MS))
    await venue.polled()
    venue.is_away = True
    with capture_logs() as logs:
        await venue.polled()
        assert not venue.maintenance.is_ongoing(Endpoint.LINEAR)
        venue.now_ms = NOW_MS + MINUTE_MS
        await venue.polled(4)
        assert venue.maintenance.is_ongoing(Endpoint.LINEAR)
        assert venue.maintenance.notices()[0].state == "ongoing"
        venue.now_ms = NOW_MS + 16 * MINUTE_MS
        assert venue.maintenance.is_ongoing(Endpoint.LINEAR)
        venue.now_ms = NOW_MS + 18 * MINUTE_MS
        assert not venue.maintenance.is_ongoing(Endpoint.LINEAR)
        assert venue.maintenance.notices() == []
        await venue.polled()
    assert [entry["event"] for entry in logs if "maintenance" in entry["event"]] == [
        "venue.maintenance_begun",
        "venue.maintenance_ended",
    ]


async def test_overtime_counts_while_the_venue_says_so() -> None:
    """As long as REST answers, its word is what counts."""
    venue = Status(row(end=NOW_MS - 60 * MINUTE_MS))
    await venue.polled()
    assert venue.maintenance.is_ongoing(Endpoint.LINEAR)


def test_the_stream_may_tell_it_too() -> None:
    """Rows of the stream change what they name and nothing else."""
    maintenance = Status().maintenance
    maintenance.absorb([row(id="a"), row(id="b", product=[3]), "nonsense"])
    assert len(maintenance.notices()) == 2
    maintenance.absorb([row(id="a", state="completed")])
    assert [notice.id for notice in maintenance.notices()] == ["b"]
    assert maintenance.is_ongoing(Endpoint.OPTION)
    assert not maintenance.is_ongoing(Endpoint.LINEAR)
