"""`ws-gateway doctor`: one line per thing, with what to do about it; exit code 1 if one failed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aiormq
import httpx
import pytest

from support.programs import Venue, run_command
from support.site import KEYS, Site
from support.tls import Authority, encrypted_key

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
    "certificate",
    "rest",
    "clock",
    "websocket",
    "key",
    "permissions",
    "expiry",
    "login",
}
OF_A_KEY = ("key", "permissions", "expiry", "login")
HEDGE = {"hedge": {"api_key": "hedge-key", "api_secret": "hedge-secret"}}


async def _findings(site: Site, **settings: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run it; answers the exit code, the findings in their order, and all it wrote."""
    code, out, err = await run_command(
        ["doctor", "--json"],
        {**site.settings, **RECORDED, **KEYS, **settings},
        site.folder,
        seconds=60,
    )
    told = json.loads(out)
    assert told["is_well"] == (code == 0)
    return code, told["findings"], out + err


async def _examined(site: Site, **settings: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Run it; answers the exit code, the findings by check, and all it wrote."""
    code, findings, said = await _findings(site, **settings)
    # A check may find several things, like names that are resolved: one that failed is the one.
    ordered = sorted(findings, key=lambda one: one["verdict"] == "failed")
    return code, {one["check"]: one for one in ordered}, said


async def _give_key(venue: Venue, **terms: object) -> None:
    """Change the terms of an account's key."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(f"http://127.0.0.1:{venue.port}/sim/key", json=terms)
    assert answer.status_code == 200, answer.text


async def test_all_is_well_where_everything_stands(site: Site) -> None:
    """Every check is there, none fails, and nothing was made at the broker."""
    async with site.venue(**VENUE_KEYS) as venue:
        code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url)
        assert code == 0, said
        assert set(found) == CHECKS
        assert found.pop("certificate")["verdict"] == "skipped"  # there is no TLS here
        assert {one["verdict"] for one in found.values()} <= {"ok", "warning"}
        assert "not there yet" in found["queues"]["found"]
        assert found["login"]["verdict"] == "ok"
        assert "read-only" in found["key"]["found"]
        assert "wallet can be read" in found["permissions"]["found"]
        assert found["expiry"]["found"] == "the key does not end"
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


@pytest.mark.parametrize(
    ("terms", "check", "verdict", "words"),
    [
        ({"permissions": {}}, "permissions", "failed", "refuses it the wallet, open orders of"),
        (
            {"permissions": {"ContractTrade": ["Order"], "Spot": ["SpotTrade"]}},
            "permissions",
            "failed",
            "positions of linear",
        ),
        ({"expires_in_seconds": 86_400 * 1.5}, "expiry", "failed", "in 1 days"),
        ({"expires_in_seconds": 86_400 * 9.5}, "expiry", "warning", "in 9 days"),
        ({"expires_in_seconds": -60}, "key", "failed", "expired"),
    ],
)
async def test_a_key_that_will_not_do_is_an_error_and_not_ok(
    site: Site, terms: dict[str, Any], check: str, verdict: str, words: str
) -> None:
    """Whether it lacks a permission, has ended, or ends within days; with what to do."""
    async with site.venue(**VENUE_KEYS) as venue:
        await _give_key(venue, **terms)
        code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url)
    assert found[check]["verdict"] == verdict, said
    assert words in found[check]["found"]
    assert found[check]["remedy"]
    assert code == (1 if verdict == "failed" else 0), said
    assert set(found) == CHECKS


async def test_every_account_has_lines_of_its_own(site: Site) -> None:
    """One account's bad key is told as its own, and the other's as well."""
    async with site.venue(**VENUE_KEYS, account="hedge:hedge-key:hedge-secret") as venue:
        await _give_key(venue, account="hedge", expires_in_seconds=86_400)
        code, findings, said = await _findings(
            site, WSG_BYBIT_WS_URL=venue.url, WSG_ACCOUNTS=json.dumps(HEDGE)
        )
    assert code == 1
    for account in ("main", "hedge"):
        of_one = {one["check"]: one for one in findings if one["account"] == account}
        assert tuple(of_one) == OF_A_KEY, said
        failed = [name for name, one in of_one.items() if one["verdict"] == "failed"]
        assert failed == (["expiry"] if account == "hedge" else []), said
    (expiry,) = (
        one for one in findings if one["account"] == "hedge" and one["verdict"] == "failed"
    )
    assert "api_key of hedge in WSG_ACCOUNTS" in expiry["remedy"]


@pytest.mark.parametrize(("days", "verdict"), [(90, "ok"), (1, "failed")])
async def test_a_certificate_near_its_end_is_told_before_callers_refuse_it(
    site: Site, days: int, verdict: str
) -> None:
    """And one whose key does not belong to it."""
    authority = Authority.made(site.folder / "authority")
    authority.renew(until=datetime.now(UTC) + timedelta(days=days, hours=1))
    shown = {
        "WSG_HTTP_CERTIFICATE_FILE": str(authority.certificate_file),
        "WSG_HTTP_KEY_FILE": str(authority.key_file),
    }
    async with site.venue(**VENUE_KEYS) as venue:
        code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url, **shown)
        assert found["certificate"]["verdict"] == verdict, said
        assert found["certificate"]["found"].startswith("http end")
        assert code == (1 if verdict == "failed" else 0)
        if verdict == "ok":
            encrypted_key(authority.key_file, authority.key_file)
            code, found, said = await _examined(site, WSG_BYBIT_WS_URL=venue.url, **shown)
            assert code == 1
            assert "is encrypted" in found["certificate"]["found"], said


async def test_a_recording_without_room_is_told_before_it_is_begun(site: Site) -> None:
    """With what it would leave free; a gateway runs without it, so it is a warning."""
    async with site.venue(**VENUE_KEYS) as venue:
        full = {"WSG_BYBIT_WS_URL": venue.url, "WSG_RECORD_KEEP_FREE_BYTES": str(10**18)}
        code, found, said = await _examined(site, **full)
        assert code == 0, said
        assert found["recording"]["verdict"] == "warning"
        assert "stay free, and a file takes up to 67 MB" in found["recording"]["found"]
        assert "WSG_RECORD_KEEP_FREE_BYTES" in found["recording"]["remedy"]
