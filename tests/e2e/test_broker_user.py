"""The users that the deployment gives to gateway and services, on a real broker."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiormq
import pytest

from rabbitmq_node import PrivateNode
from support.delivery_rig import consuming, eventually
from support.node_control import rabbitmqctl
from support.programs import clean_environ
from support.site import KEYS, Site

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY, PAGE = CHECKOUT / "deploy", CHECKOUT / "docs" / "deploy.md"
CONSUMERS = CHECKOUT / "docs" / "consumers.md"
PREFIX = "ws-gateway"  # the one that the definitions are about


async def login(node: PrivateNode, folder: Path) -> str:
    """Import the definitions, and a service's user; answers the URL of the gateway's user."""
    text = (DEPLOY / "rabbitmq" / "definitions.template.json").read_text(encoding="utf-8")
    file = folder / "definitions.json"
    definitions = json.loads(text.replace("@gateway@", "gw-1").replace("@operator@", "op-1"))
    definitions["users"].append({"name": "strategy-1", "password": "s-1", "tags": ""})
    none, only = "^$", r"^ws-gateway\.(orderbook|strategy-1\..*)$"  # as the page says
    assert f"strategy-1 '{none}' '{none}' '{only}'" in PAGE.read_text(encoding="utf-8")
    definitions["permissions"].append(
        {"user": "strategy-1", "vhost": "/", "configure": none, "write": none, "read": only}
    )
    own, along = r"^ws-gateway\.reader\.", r"^ws-gateway\.(events$|reader\.)"
    assert own in CONSUMERS.read_text(encoding="utf-8")
    definitions["users"].append({"name": "look-1", "password": "l-1", "tags": ""})
    definitions["permissions"].append(
        {"user": "look-1", "vhost": "/", "configure": own, "write": own, "read": along}
    )
    file.write_text(json.dumps(definitions), encoding="utf-8")
    await rabbitmqctl(node, "import_definitions", str(file))
    return node.url.replace("guest:guest@", "gateway:gw-1@")


async def is_refused(url: str, exchange: str | None = None, queue: str | None = None) -> bool:
    """Try to make something that bears another name."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        try:
            if exchange is not None:
                await channel.exchange_declare(exchange, exchange_type="topic")
            else:
                await channel.queue_declare(queue or "")
        except aiormq.exceptions.ChannelAccessRefused:
            return True
        return False
    finally:
        await connection.close()


async def tail(url: str) -> tuple[int | None, str]:
    """Read along with one user's rights; answers exit code and words."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ws_gateway", "tail", "orderbook", "--count", "2"),
        env=clean_environ({"WSG_AMQP_URL": url, "WSG_AMQP_PREFIX": PREFIX}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    words, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, words.decode()


@pytest.mark.xdist_group("own_broker")
async def test_the_gateways_user_may_do_what_it_must_and_nothing_else(
    site: Site, own_broker: PrivateNode, tmp_path: Path
) -> None:
    """Public and private events, a dedicated queue; and a service reads its own queue alone."""
    url = await login(own_broker, tmp_path)
    assert url != own_broker.url
    site = replace(site, amqp_url=url, prefix=PREFIX)
    keys: dict[str, Any] = {
        "api_key": KEYS["WSG_BYBIT_API_KEY"],
        "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
    }
    async with site.venue(trade_every=0.2, **keys) as venue, site.gateway(venue.url, **KEYS) as gw:
        wish = {"category": "linear", "requesting_service": "strategy-1"}
        own = await gw.add("orderbook", "BTCUSDT", delivery="dedicated", **wish)
        await gw.add("order")
        await gw.until_ready()
        service = own_broker.url.replace("guest:guest@", "strategy-1:s-1@")
        async with consuming(service, f"{PREFIX}.strategy-1.orderbook") as books:
            await eventually(lambda: len(books.facts) > 5)
        async with consuming(url, f"{PREFIX}.order") as orders:
            await eventually(lambda: len(orders.facts) > 1)
        with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
            async with consuming(service, f"{PREFIX}.order"):
                pass
        code, words = await tail(service)
        assert code == 2
        assert "its user may not read along" in words
        code, words = await tail(own_broker.url.replace("guest:guest@", "look-1:l-1@"))
        assert code == 0, words
        assert "BTCUSDT" in words
        health = await gw.health()
        assert health["broker"]["status"] == "ready"
        assert health["broker"]["problems"] == []
        await gw.remove(own)
        await eventually(lambda: bool(gw.logged("delivery.dedicated_queue_removed")))
    assert await is_refused(url, exchange="billing")
    assert await is_refused(url, queue="billing.events")
    assert await is_refused(url, queue="x.ws-gateway.order")
