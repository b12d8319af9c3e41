"""`ws-gateway doctor`: one line per thing, with what to do about it; exit code 1 if one failed."""

from __future__ import annotations

import json
from typing import Any

import aiormq
import pytest

from support.programs import run_command
from support.site import KEYS, Site

VENUE_KEYS: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}
RECORDED = {"WSG_RECORD_DIR": "frames"}
CHECKS = {
    "disk",
    "recording",
    "http_port",
    "dns",
    "database",
    "schema",
    "broker",
    "queues",
    "rest",
    "clock",
    "websocket",
    "key",
    "login",
}


async def _examined(site: Site, **settings: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Run it; answers the exit code, the findings by check, and all it wrote."""
    code, out, err = await run_command(
        ["doctor", "--json"],
        {**site.settings, **RECORDED, **KEYS, **settings},
        site.folder,
        seconds=60,
    )
    told = json.loads(out)
    assert told["is_well"] == (code == 0)
    # A check may find several things, like names that are resolved: one that failed is the one.
    ordered = sorted(told["findings"], key=lambda one: one["verdict"] == "failed")
    return code, {one["check"]: one for one in ordered}, out + err


async def test_all_is_well_where_everything_stands(site: Site) -> None:
    """Every check is there, none fails, and nothing was made at the broker."""
    async with site.venue(**VENUE_KEYS) as venue:
        code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url)
        assert code == 0, said
        assert set(found) == CHECKS
        assert {one["verdict"] for one in found.values()} <= {"ok", "warning"}
        assert "not there yet" in found["queues"]["found"]
        assert found["login"]["verdict"] == "ok"
        assert "read-only" in found["key"]["found"]
        assert "on the volume of WSG_DATA_DIR; 1.1 GB stay free" in found["recording"]["found"]
        async with site.gateway(venue.url) as gateway:
            port = str(gateway.http.base_url.port)
            ran = {**site.settings, "WSG_HTTP_PORT": port}
            code, found, said = await _examined(
                site, WSG_BYBIT_WS_URL=venue.url, WSG_HTTP_PORT=port
            )
            assert code == 0, said
            assert "stand as wanted" in found["queues"]["found"]
            assert found["schema"]["verdict"] == "ok"
            assert "runs already" in found["http_port"]["remedy"]
            assert (await run_command(["doctor", "--alive"], ran, site.folder))[0] == 0
        assert (await run_command(["doctor", "--alive"], ran, site.folder))[0] == 1


@pytest.mark.parametrize(
    ("check", "settings"),
    [
        ("broker", {"WSG_AMQP_URL": "amqp://who:secret-word@127.0.0.1:1/"}),
        ("database", {"WSG_DATABASE_URL": "postgresql://who:secret-word@127.0.0.1:1/none"}),
        ("rest", {"WSG_BYBIT_REST_URL": "http://127.0.0.1:1"}),
        ("dns", {"WSG_BYBIT_REST_URL": "http://no-such-host.invalid"}),
        ("login", {"WSG_BYBIT_API_SECRET": "secret-word"}),
        ("key", {"WSG_BYBIT_API_KEY": "unknown", "WSG_BYBIT_API_SECRET": "secret-word"}),
        ("disk", {"WSG_DATA_DIR": "/proc/nothing"}),
        ("recording", {"WSG_RECORD_DIR": "/proc/nothing"}),
    ],
)
async def test_what_is_wrong_is_named_with_what_to_do(
    site: Site, check: str, settings: dict[str, str]
) -> None:
    """The others are looked at all the same, and no secret is shown."""
    async with site.venue(**VENUE_KEYS) as venue:
        code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url, **settings)
    assert code == 1
    assert found[check]["verdict"] == "failed", said
    assert found[check]["remedy"]
    assert set(found) == CHECKS
    assert "secret-word" not in said


async def test_a_drifted_queue_is_told_with_the_way_to_migrate(site: Site) -> None:
    """The gateway runs on with it, so it is a warning."""
    queue = f"{site.prefix}.trade"
    connection = await aiormq.connect(site.amqp_url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(queue, durable=True, arguments={"x-max-length": 7})
    finally:
        await connection.close()
    async with site.venue(**VENUE_KEYS) as venue:
        code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url)
    assert code == 0, said
    assert found["queues"]["verdict"] == "warning"
    assert "x-max-length is 7 instead of 100000" in found["queues"]["found"]


async def test_a_recording_without_room_is_told_before_it_is_begun(site: Site) -> None:
    """With what it would leave free; a gateway runs without it, so it is a warning."""
    async with site.venue(**VENUE_KEYS) as venue:
        full = {"WSG_BYBIT_WS_URL": venue.url, "WSG_RECORD_KEEP_FREE_BYTES": str(10**18)}
        code, found, said = await _examined(site, **full)
        assert code == 0, said
        assert found["recording"]["verdict"] == "warning"
        assert "stay free, and a file takes up to 67 MB" in found["recording"]["found"]
        assert "WSG_RECORD_KEEP_FREE_BYTES" in found["recording"]["remedy"]
