"""Private and public events have a broker connection each: neither suffers for the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from support.delivery_rig import ORDERS, TRADES, Rig, consuming, delivering, eventually
from support.proxy import TcpProxy, address, through
from ws_gateway.ports.delivery import BrokerState, Carries

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]

WORDS = {Carries.PRIVATE: b"private events", Carries.PUBLIC: b"public events"}
"""What tells the connections apart for a proxy: they say their names when they log in."""


def states(rig: Rig) -> dict[Carries, BrokerState]:
    """Tell the state of each connection."""
    return {one.carries: one.state for one in rig.publisher.status().connections}


async def test_a_private_event_overtakes_a_full_public_backlog_and_what_is_on_its_way(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """Public events fill their window and their lane; orders arrive and are confirmed all the same.

    On one connection they waited behind the whole window.
    """
    proxy = await open_proxy(*address(amqp_url, 5672))
    url = through(amqp_url, proxy)
    async with delivering(
        url, amqp_prefix, window=50, max_events=1000, deadline_seconds=120
    ) as rig:
        await rig.until_ready()
        proxy.hold(WORDS[Carries.PUBLIC])
        rig.feed(600)
        await eventually(lambda: rig.outbox.public.unconfirmed == 50)
        assert rig.counters.shed["no_room"] > 0
        async with consuming(amqp_url, rig.names.queue("order")) as orders:
            rig.feed(20, ORDERS)
            await eventually(lambda: len(orders.facts) == 20)
        await eventually(lambda: rig.counters.confirmed == 20)
        rig.assert_balance()
        assert rig.outbox.public.unconfirmed == 50
        assert rig.publisher.in_flight >= 400
        proxy.release()
        await rig.until_delivered()
        async with consuming(amqp_url, rig.names.queue("trade")) as trades:
            wanted = rig.counters.confirmed - 20
            await eventually(lambda: len(trades.facts) == wanted)
        assert trades.checked().problems == []
        assert orders.checked().problems == []
        assert rig.counters.resent == 0


@pytest.mark.parametrize("lost", list(Carries))
async def test_one_connection_is_lost_while_the_other_goes_on(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy, lost: Carries
) -> None:
    """The status says which; nothing is lost, and everything is somewhere all the while."""
    (stands,) = set(Carries) - {lost}
    topics = {Carries.PRIVATE: ORDERS, Carries.PUBLIC: TRADES}
    queues = {Carries.PRIVATE: "order", Carries.PUBLIC: "trade"}
    proxy = await open_proxy(*address(amqp_url, 5672))
    async with delivering(through(amqp_url, proxy), amqp_prefix, window=50) as rig:
        await rig.until_ready()
        await proxy.refuse(WORDS[lost])
        await eventually(lambda: states(rig)[lost] is not BrokerState.READY)
        for topic in topics.values():
            rig.feed(100, topic)
        rig.assert_balance()
        await eventually(lambda: rig.counters.confirmed == 100)
        assert states(rig)[stands] is BrokerState.READY
        status = rig.publisher.status()
        assert status.state is not BrokerState.READY
        assert status.last_error
        assert [one.carries for one in status.connections if one.last_error] == [lost]
        assert rig.publisher.in_flight == 100
        rig.assert_balance()
        await proxy.refuse(None)
        await rig.until_delivered()
        await rig.until_ready()
        assert (rig.counters.confirmed, rig.counters.shed.total()) == (200, 0)
        assert rig.publisher.status().last_error is None
        for carries, queue in queues.items():
            async with consuming(amqp_url, rig.names.queue(queue)) as consumer:
                await eventually(lambda c=consumer: len(c.facts) >= 100)  # type: ignore[misc]
            checker = consumer.checked()
            assert checker.problems == [], carries
            assert len({one["event_id"] for one in consumer.facts}) == 100


async def test_a_stop_waits_for_what_either_connection_owes(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """Private events go out while public ones are kept back; only then is everything drained."""
    proxy = await open_proxy(*address(amqp_url, 5672))
    async with delivering(through(amqp_url, proxy), amqp_prefix, deadline_seconds=120) as rig:
        await rig.until_ready()
        for carries, topic in ((Carries.PUBLIC, ORDERS), (Carries.PRIVATE, TRADES)):
            proxy.hold(WORDS[carries])
            before = rig.counters.confirmed
            rig.feed(10, TRADES)
            rig.feed(10, ORDERS)
            await eventually(lambda least=before + 10: rig.counters.confirmed == least)  # type: ignore[misc]
            assert not await rig.publisher.drain(0.2)
            assert rig.publisher.in_flight == 10, topic
            proxy.release()
            await rig.until_delivered()
        await rig.publisher.close(1.0)
        assert set(states(rig).values()) == {BrokerState.CLOSED}
        assert rig.counters.confirmed == 40
