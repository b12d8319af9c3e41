"""What RabbitMQ says: whether it takes us, and whether the queues stand as they should."""

from __future__ import annotations

from urllib.parse import urlsplit

from ws_gateway.config import Settings
from ws_gateway.delivery.link import Deaf, Link, open_link
from ws_gateway.delivery.topology import Names, in_time, look_at_queues
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.errors import BrokerLost

_CONNECT_SECONDS = 5.0


async def check_broker(settings: Settings) -> list[Finding]:
    """Log in, and look at every shared queue without making any."""
    url = settings.amqp_url.get_secret_value()
    where = urlsplit(url).netloc.rpartition("@")[2]
    try:
        link = await open_link(url, Deaf(), deadline_seconds=_CONNECT_SECONDS)
    except BrokerLost as exc:
        return [
            failed(
                "broker",
                f"{where}: {exc}",
                "start RabbitMQ there, or correct WSG_AMQP_URL (host, port, user, virtual host)",
            ),
            skipped("queues", "the broker is away"),
        ]
    try:
        return [ok("broker", f"{where} takes the login"), await _check_queues(link, settings)]
    finally:
        await link.close(1.0)


async def _check_queues(link: Link, settings: Settings) -> Finding:
    names = Names(settings.amqp_prefix)
    try:
        missing, drifted = await in_time(look_at_queues(link, names, settings.queue_type))
    except BrokerLost as exc:
        return failed("queues", str(exc), "see the broker's log")
    count = len(names.queues())
    if drifted:
        return warning(
            "queues",
            f"{len(drifted)} of {count} stand otherwise than wanted: {drifted[0]}",
            "they are used as they are; migrate them as the text says",
        )
    if missing:
        return ok("queues", f"{len(missing)} of {count} are not there yet: serve declares them")
    return ok("queues", f"all {count} stand as wanted, type {settings.queue_type}")
