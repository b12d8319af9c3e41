"""Keys made by the command line for a gateway that runs, and used with it."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import httpx

from support.programs import Gateway, run_command, until
from support.site import Site

PATH = "/api/v1/subscriptions"


async def keys(site: Site, *arguments: str) -> str:
    """Run a command on keys that succeeds; answers what it printed."""
    code, out, err = await run_command(["keys", *arguments], site.settings, site.folder)
    assert code == 0, err
    return out


async def status(gateway: Gateway, key: str, **query: str) -> tuple[int, str | None]:
    """List subscriptions with a key; answers status and code of the problem."""
    headers = {"X-API-Key": key}
    async with httpx.AsyncClient(
        base_url=gateway.http.base_url, trust_env=False, timeout=30
    ) as http:
        answer = await http.get(PATH, headers=headers, params=query)
    return answer.status_code, answer.json().get("code")


async def test_keys_live_their_whole_life_beside_a_running_gateway(site: Site) -> None:
    """Made, used, rotated and revoked by commands; the gateway never restarts or tells a secret."""
    made: dict[str, Any] = json.loads(
        await keys(site, "create", "--name", "n", "--service", "own", "--json")
    )
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        assert await status(gateway, made["key"]) == (200, None)
        assert await status(gateway, made["key"], requesting_service="x") == (
            403,
            "foreign_service",
        )
        bare = (await keys(site, "create", "--name", "admin", "--scope", "admin")).strip()
        assert await status(gateway, bare) == (200, None)  # at once, though made a moment ago
        successor = json.loads(
            await keys(site, "create", "--rotates", made["id"], "--overlap", "0s", "--json")
        )
        assert (successor["rotates"], successor["services"]) == (made["id"], ["own"])
        assert await status(gateway, successor["key"]) == (200, None)

        async def expired() -> bool:
            return await status(gateway, made["key"]) == (401, "api_key_expired")

        await until(expired, seconds=30, what="the old key has expired")
        await keys(site, "revoke", successor["id"])

        async def revoked() -> bool:
            return await status(gateway, successor["key"]) == (401, "api_key_revoked")

        await until(revoked, seconds=30, what="the revocation is known")
        listed = [json.loads(line) for line in (await keys(site, "list", "--json")).splitlines()]
        assert [one["state"] for one in listed] == ["expired", "active", "revoked"]
        assert await gateway.terminate() == 0
        for key in (made["key"], bare, successor["key"]):
            assert key.rpartition("_")[2] not in gateway.words
    shown = await keys(site, "list")
    assert len(shown.splitlines()) == 3
    assert "used never" not in shown.splitlines()[0]  # written when the gateway ended
    assert made["key"].rpartition("_")[2] not in shown
    assert site.database_url is not None
    connection = await asyncpg.connect(site.database_url)
    try:
        rows = await connection.fetch(
            "SELECT actor_id, action, trace_id FROM audit_log ORDER BY id"
        )
    finally:
        await connection.close()
    assert [row["action"] for row in rows] == [
        "key.create",
        "key.create",
        "key.rotate",
        "key.create",
        "key.revoke",
    ]
    assert {row["actor_id"] for row in rows} == {"cli"}
    assert all(row["trace_id"] for row in rows)


async def test_a_gateway_without_a_first_key_serves_those_of_the_command(site: Site) -> None:
    """WSG_API_KEY is one way in; a key of `keys create` is another."""
    async with site.venue() as venue, site.gateway(venue.url, WSG_API_KEY="") as gateway:
        assert await status(gateway, "anything") == (403, "api_key_not_configured")
        assert gateway.logged("gateway.api_closed")
        key = (await keys(site, "create", "--name", "n")).strip()
        assert await status(gateway, key) == (200, None)


async def test_keys_are_made_in_no_database_that_the_command_would_have_to_make(
    site: Site,
) -> None:
    """A gateway has another one, so the key would be of use to nobody; the remedy is said."""
    nowhere = {**site.settings, "WSG_DATABASE_URL": "", "WSG_DATA_DIR": str(site.folder / "none")}
    code, out, err = await run_command(["keys", "create", "--name", "n"], nowhere, site.folder)
    assert (code, out) == (2, "")
    assert err.startswith("ws-gateway: WSG_DATABASE_URL: ")
    assert "WSG_DATA_DIR" in err
    assert len(err.splitlines()) == 1
    assert not (site.folder / "none").exists()
