"""A broker that is slow, not gone."""

from __future__ import annotations

from conftest import OpenProxy
from support.delivery_rig import consuming, delivering, eventually
from support.proxy import address, through


async def test_slow_broker_that_answers_all_the_time_is_kept(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """A backlog older than the publish deadline drains over one connection, each event once."""
    proxy = await open_proxy(*address(amqp_url, 5672))
    async with delivering(through(amqp_url, proxy), amqp_prefix, deadline_seconds=2.5) as rig:
        await rig.until_ready()
        connections = proxy.accepted
        proxy.bytes_per_second = 400_000.0
        rig.feed(3000)  # about 1.8 MB: nearly two deadlines' worth
        await rig.until_delivered(60)
        assert rig.counters.resent == 0
        assert proxy.accepted == connections
        proxy.bytes_per_second = None
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len(consumer.facts) == 3000)
        assert consumer.checked().problems == []
