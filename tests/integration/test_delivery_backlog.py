"""The monitor on a real broker, with times scaled down to a twenty-fifth."""

from __future__ import annotations

import asyncio

import aiormq
import httpx
import pytest
from structlog.testing import capture_logs

from rabbitmq_node import PrivateNode
from support.amqp_names import delete_topology
from support.backlog_stage import slow_consumer, watching
from support.delivery_rig import ORDERS, TICKER, TRADES, consuming, eventually
from support.http_stage import HANG, answer, answering
from support.memory_queues import MemoryQueues
from support.memory_store import MemorySubscriptions
from support.node_control import enable_management, rabbitmqctl
from ws_gateway.config import QueueType
from ws_gateway.delivery.backlog import BacklogMonitor
from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.link import Deaf, open_link
from ws_gateway.delivery.management import ManagementApi
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.subscription import Delivery
from ws_gateway.ports.delivery import QueueKind
from ws_gateway.runtime.counters import Counters


async def test_a_slow_consumer_is_named_and_the_alert_clears(
    amqp_url: str, amqp_prefix: str
) -> None:
    """The log names queue and service; once the consumer has caught up, it says that too."""
    async with watching(amqp_url, amqp_prefix) as stage:
        await stage.want("sloth", TRADES, Delivery.DEDICATED)
        queue = f"{amqp_prefix}.sloth.trade"
        with capture_logs() as logs:
            async with slow_consumer(amqp_url, queue, 0.01) as pause:
                async with stage.flowing(TRADES, 200):
                    await eventually(lambda: stage.alerts("sloth.trade") == ["slow_consumer"])
                    status = stage.queue("sloth.trade")
                    assert status.services == ("sloth",)
                    assert status.growth_per_second is not None
                    assert status.growth_per_second > 0
                pause[0] = 0
                await eventually(lambda: stage.alerts("sloth.trade") == [])
        told = [one for one in logs if one["event"].startswith("delivery.backlog_")]
        assert [one["event"] for one in told] == [
            "delivery.backlog_alert",
            "delivery.backlog_cleared",
        ]
        for one in told:
            assert (one["code"], one["queue"], one["service"]) == ("slow_consumer", queue, "sloth")


async def test_a_queue_without_a_consumer_is_told_with_its_age(
    amqp_url: str, amqp_prefix: str
) -> None:
    """A dedicated queue that nobody reads is an alert; the shared one beside it is none."""
    async with watching(amqp_url, amqp_prefix) as stage:
        await stage.want("absent", ORDERS, Delivery.DEDICATED)
        await stage.want("reader", TICKER, Delivery.SHARED)
        await stage.flow(ORDERS, 20, 1.5)
        stage.rig.feed(1, TICKER)
        await eventually(lambda: stage.alerts("absent.order") == ["no_consumer"])
        await eventually(lambda: stage.queue("absent.order").depth == stage.queue("order").depth)
        own, shared = stage.queue("absent.order"), stage.queue("order")
        assert (own.kind, shared.kind) == (QueueKind.DEDICATED, QueueKind.SHARED)
        assert own.bindings == ("order.#",)
        assert own.oldest_age_seconds is not None
        assert 0.5 < own.oldest_age_seconds < 10
        assert (own.dropped_at_least, own.dropped_at_most) == (0, 0)
        assert own.max_length == 100_000
        assert shared.alerts == ()
        assert stage.queue("ticker").services == ("reader",)
        async with slow_consumer(amqp_url, own.name, 0):
            await eventually(lambda: stage.alerts("absent.order") == [])


async def test_a_full_queue_is_told_and_what_it_drops_is_counted(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Of a queue that stands with a lower limit the monitor knows that limit."""
    queue = f"{amqp_prefix}.tight.trade"
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(queue, durable=True, arguments={"x-max-length": 50})
        async with watching(amqp_url, amqp_prefix) as stage:
            await stage.want("tight", TRADES, Delivery.DEDICATED)
            await eventually(lambda: stage.queue("tight.trade").max_length == 50)
            problem = stage.queue("tight.trade").problem
            assert problem is not None
            assert "x-max-length is 50 instead of 100000" in problem
            stage.rig.feed(200, TRADES)
            await stage.rig.until_delivered()
            await eventually(lambda: "capacity_near" in stage.alerts("tight.trade"))
            dropped = sum(stage.rig.counters.routed.values()) - 50
            await eventually(lambda: stage.queue("tight.trade").dropped_at_most == dropped)
            assert stage.queue("tight.trade").dropped_at_least == dropped
            await channel.queue_purge(queue)
            await eventually(lambda: stage.alerts("tight.trade") == [])
    finally:
        await channel.queue_delete(queue)
        await connection.close()


async def test_figures_of_a_broker_that_is_away_are_not_shown_as_current(
    amqp_url: str, amqp_prefix: str
) -> None:
    """They are those of the last look, and raise no alert."""
    async with watching(amqp_url, amqp_prefix) as stage:
        await stage.want("absent", TRADES, Delivery.DEDICATED)
        await stage.flow(TRADES, 20, 1.0)
        await eventually(lambda: stage.alerts("absent.trade") == ["no_consumer"])
        link = stage.monitor._link
        assert link is not None
        link.abort("cut")
        await link.lost
        status = stage.queue("absent.trade")
        assert (status.is_current, status.alerts) == (False, ())
        assert status.looked_at is not None
        await eventually(lambda: stage.queue("absent.trade").is_current)


async def test_a_shared_queue_deleted_by_hand_is_soon_declared_again_and_its_streams_marked(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Another queue takes everything, so nothing comes back; the look finds it all the same."""
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        async with watching(amqp_url, amqp_prefix) as stage:
            tail = f"{amqp_prefix}.tail"
            await channel.queue_declare(tail, auto_delete=True)
            await channel.queue_bind(tail, stage.rig.names.exchange, "#")
            stage.rig.feed(3, TRADES)
            stage.rig.feed(3, TICKER)
            await stage.rig.until_delivered()
            queue = stage.rig.names.queue("trade")
            await channel.queue_delete(queue)
            async with consuming(amqp_url, tail) as reader:
                await eventually(
                    lambda: any("declared again" in str(one["payload"]) for one in reader.envelopes)
                )
                stage.rig.feed(1, TRADES)
                await eventually(lambda: len(reader.facts) == 7)
            marked = [one for one in reader.envelopes if "declared again" in str(one["payload"])]
            assert [(one["event_type"], one["kind"]) for one in marked] == [("trade", "gap")]
            assert reader.checked().problems == []
            await eventually(lambda: stage.rig.publisher.status().problems == ())
            await channel.queue_declare(queue, passive=True)
    finally:
        await connection.close()


@pytest.mark.parametrize("queue_type", [QueueType.QUORUM, QueueType.STREAM])
async def test_other_types_are_watched_as_well(
    amqp_url: str, amqp_prefix: str, queue_type: QueueType
) -> None:
    """A quorum queue tells its depth; a stream is shown and never judged."""
    async with watching(amqp_url, amqp_prefix, queue_type=queue_type) as stage:
        await stage.want("s", TRADES, Delivery.DEDICATED)
        stage.rig.feed(10, TRADES)
        await stage.rig.until_delivered()
        name = f"{amqp_prefix}.s.trade"
        await eventually(lambda: queue_type in [q.queue_type for q in stage.seen if q.name == name])
        if queue_type is QueueType.QUORUM:
            await eventually(lambda: stage.alerts("s.trade") == ["no_consumer"])
        else:
            await asyncio.sleep(1)  # several looks
        status = stage.queue("s.trade")
        assert (status.queue_type, status.problem) == (queue_type.value, None)
        if queue_type is QueueType.QUORUM:
            routed = sum(stage.rig.counters.routed.values())
            await eventually(lambda: stage.queue("s.trade").depth == routed)
        else:
            assert (status.max_length, status.dropped_at_most, status.alerts) == (None, None, ())


async def test_policies_tighten_limits_and_are_no_drift(own_broker: PrivateNode) -> None:
    """A lower limit of a policy is respected: no complaint, and known where management is."""
    management = ManagementApi(await enable_management(own_broker), own_broker.url, "p")
    definition = '{"max-length": 70, "message-ttl": 3600000}'
    await rabbitmqctl(
        own_broker, "set_policy", "tight", "^p\\.", definition, "--apply-to", "queues"
    )
    try:
        async with watching(own_broker.url, "p", management=management) as stage:
            await stage.want("s", TRADES, Delivery.DEDICATED)
            assert stage.rig.publisher.status().problems == ()
            await eventually(lambda: stage.queue("trade").policy == "tight")
            async with slow_consumer(own_broker.url, "p.s.trade", 0.5):
                stage.rig.feed(60 + 50, TRADES)
                await eventually(lambda: "capacity_near" in stage.alerts("s.trade"))
                await eventually(lambda: stage.queue("s.trade").consumer_names != ())
                status = stage.queue("s.trade")
            assert (status.problem, status.max_length, status.policy) == (None, 70, "tight")
            assert status.consumer_names[0].endswith("of guest at 127.0.0.1")
            assert status.unacknowledged is not None
    finally:
        await management.close()
        await delete_topology(own_broker.url, "p")


async def test_a_policy_that_makes_a_quorum_queue_refuse_is_told(own_broker: PrivateNode) -> None:
    """There it goes before the queue's own drop-head; at a classic queue it does not."""
    management = ManagementApi(await enable_management(own_broker), own_broker.url, "p")
    definition = '{"max-length": 10, "overflow": "reject-publish"}'
    await rabbitmqctl(
        own_broker, "set_policy", "tight", "^p\\.", definition, "--apply-to", "queues"
    )
    try:
        async with watching(
            own_broker.url, "p", management=management, queue_type=QueueType.QUORUM
        ) as stage:
            await stage.want("s", TRADES, Delivery.DEDICATED)
            async with stage.flowing(TRADES, 20):
                await eventually(lambda: stage.rig.counters.nacked > 0)
                await eventually(lambda: "refusing" in stage.alerts("s.trade"))
            assert stage.queue("s.trade").dropped_at_least == 0
    finally:
        await management.close()
        await delete_topology(own_broker.url, "p")


async def test_no_queue_is_called_missing_before_it_was_declared_for_the_first_time(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Whoever is quicker at a first start: what is about to be declared is no fault."""
    names, declared, missed = Names(amqp_prefix), False, 0

    def miss() -> None:
        nonlocal missed
        missed += 1

    store = MemorySubscriptions()
    keeper = DedicatedKeeper(MemoryQueues(store), names, QueueType.CLASSIC, lambda _: None)
    monitor = BacklogMonitor(
        names,
        QueueType.CLASSIC,
        keeper,
        Counters(),
        missed=miss,
        is_declared=lambda: declared,
    )
    link = await open_link(amqp_url, Deaf(), deadline_seconds=30, name="look")
    try:
        assert not await monitor.look(link), "it is to look again soon"
        assert len(monitor.queues()) > 10
        assert {one.problem for one in monitor.queues()} == {None}
        declared = True
        assert await monitor.look(link)
        words = [one.problem or "" for one in monitor.queues()]
        assert all("cannot be looked at" in one for one in words), words
        assert missed == len(words), "now it would be told, and mended"
    finally:
        await link.close(5)


async def test_queues_that_are_never_declared_are_missing_after_a_while(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Patience with a publisher that cannot declare them ends."""
    now = 0.0
    monitor = BacklogMonitor(
        names := Names(amqp_prefix),
        QueueType.CLASSIC,
        DedicatedKeeper(
            MemoryQueues(MemorySubscriptions()), names, QueueType.CLASSIC, lambda _: None
        ),
        Counters(),
        is_declared=lambda: False,
        monotonic=lambda: now,
    )
    link = await open_link(amqp_url, Deaf(), deadline_seconds=30, name="look")
    try:
        assert not await monitor.look(link)
        now = 31.0
        assert await monitor.look(link)
        assert all(one.problem for one in monitor.queues())
    finally:
        await link.close(5)


@pytest.mark.parametrize(
    "answers",
    [[answer("no", 401)], [answer("[")], [answer('{"a": 1}')], [answer("[1]")], [HANG]],
)
async def test_a_management_api_that_fails_is_done_without(
    answers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it answers, or does not, is told once and taken for nothing."""
    monkeypatch.setattr("ws_gateway.delivery.management.TIMEOUT_SECONDS", 0.2)
    async with answering(*answers) as venue:
        api = ManagementApi(venue.url, "amqp://u:p@h/some%2Fhost", "p")
        try:
            with capture_logs() as logs:
                assert await api.queues() == {}
                assert await api.queues() == {}
            assert [one["event"] for one in logs] == ["delivery.management_unread"]
            assert venue.targets[0].startswith("/api/queues/some%2Fhost?")
        finally:
            await api.close()


def test_login_comes_from_the_amqp_url_where_the_other_has_none() -> None:
    """User and password need not be written twice, and never stand in the base URL."""
    api = ManagementApi("http://m:15672", "amqp://u%40x:p@h/", "p")
    assert str(api._client.base_url) == "http://m:15672/api/"
    assert isinstance(api._client.auth, httpx.BasicAuth)
