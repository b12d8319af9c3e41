"""The commands `ws-gateway keys …`: keys made and revoked beside a gateway, over its database."""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import typer

from ws_gateway.composition.outside import database_url
from ws_gateway.config import Settings
from ws_gateway.control.key_schemas import IssuedKeyAnswer, KeyAnswer
from ws_gateway.control.keys import DEFAULT_OVERLAP_SECONDS, DEFAULT_SCOPES, IssuedKey, KeyService
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.key import ApiKey
from ws_gateway.errors import ConfigError, Fatal
from ws_gateway.storage.database import migrate, open_pool
from ws_gateway.storage.embedded import embedded_folder
from ws_gateway.storage.keys import PostgresKeys
from ws_gateway.storage.statements import Statements

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PAGE = 500


@dataclass(frozen=True, slots=True)
class KeyWishes:
    """What a new key is to be; with `rotates`, what is not named is as the old key has it.

    Attributes:
        expires_in, overlap: durations like `90d`, `12h`, `30m`.
    """

    name: str | None
    services: Sequence[str]
    scopes: Sequence[Scope]
    expires_in: str | None
    rotates: str | None
    overlap: str | None


async def create_key(settings: Settings, wishes: KeyWishes, *, as_json: bool) -> None:
    """Make a key and print it: alone on standard output, and what it is beside it.

    Raises:
        Fatal: an option that cannot be served.
        Rejected: no key can be like that.
    """
    life = None if wishes.expires_in is None else parse_duration("--expires-in", wishes.expires_in)
    overlap = DEFAULT_OVERLAP_SECONDS
    if wishes.overlap is not None:
        overlap = parse_duration("--overlap", wishes.overlap)
    _check(wishes)
    async with _keys(settings) as keys:
        issued = await _made(keys, wishes, life, overlap)
    answer = IssuedKeyAnswer.told(issued, _now())
    if as_json:
        typer.echo(json.dumps(answer.model_dump(mode="json")))
        return
    typer.echo(f"{_line(issued.key)}\nthis is shown once:", err=True)
    typer.echo(answer.key)


async def list_keys(settings: Settings, *, as_json: bool) -> None:
    """Print every key, one a line, in order of creation."""
    after: str | None = None
    async with _keys(settings) as keys:
        while True:
            page = await keys.page(_caller(), after=after, limit=_PAGE)
            for key in page.items:
                shown = KeyAnswer.of(key, _now()).model_dump(mode="json")
                typer.echo(json.dumps(shown) if as_json else _line(key))
            after = page.next_after
            if after is None:
                return


async def revoke_key(settings: Settings, key_id: str, *, as_json: bool) -> None:
    """Make a key worthless.

    Raises:
        Fatal: there is none of that id.
    """
    async with _keys(settings) as keys:
        key = await keys.revoke(_caller(), key_id)
    if key is None:
        raise Fatal(f"KEY_ID: found {key_id!r}, which no key has; `ws-gateway keys list` names all")
    shown = KeyAnswer.of(key, _now()).model_dump(mode="json")
    typer.echo(json.dumps(shown) if as_json else _line(key))


def parse_duration(option: str, text: str) -> int:
    """Read a duration in seconds: a number and one of `s m h d w`.

    Raises:
        Fatal: it is none.
    """
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if found is None:
        raise Fatal(f"{option}: found {text!r}; write a duration like 90d, 12h, 30m or 45s")
    return int(found[1]) * _UNITS[found[2]]


def _check(wishes: KeyWishes) -> None:
    """Refuse options that say nothing together, before anything is opened."""
    if wishes.rotates is None:
        if wishes.name is None:
            raise Fatal("--name: missing; say what people shall call the key")
        if wishes.overlap is not None:
            raise Fatal("--overlap: has a meaning beside --rotates only; leave it out")
    elif wishes.name is not None or wishes.services or wishes.scopes:
        raise Fatal(
            "--rotates: the successor has name, services and scopes of the old key; leave out "
            "--name, --service and --scope"
        )


async def _made(keys: KeyService, wishes: KeyWishes, life: int | None, overlap: int) -> IssuedKey:
    if wishes.rotates is None:
        return await keys.create(
            _caller(),
            name=wishes.name or "",
            scopes=wishes.scopes or DEFAULT_SCOPES,
            services=wishes.services,
            expires_in_seconds=life,
        )
    issued = await keys.rotate(
        _caller(), wishes.rotates, overlap_seconds=overlap, expires_in_seconds=life
    )
    if issued is None:
        raise Fatal(
            f"--rotates: found {wishes.rotates!r}, which no key has; `ws-gateway keys list` names "
            "all"
        )
    return issued


@asynccontextmanager
async def _keys(settings: Settings) -> AsyncIterator[KeyService]:
    """Open the use cases on the configured database, brought to this version's schema."""
    _require_database(settings)
    async with database_url(settings) as url:
        await migrate(url)
        pool = await open_pool(url)
        try:
            yield KeyService(PostgresKeys(Statements(pool)))
        finally:
            await pool.close()


def _require_database(settings: Settings) -> None:
    """Make no database: keys in one that no gateway uses would be of use to nobody.

    Raises:
        ConfigError: none is named, and there is none in the data folder.
    """
    if settings.database_url is not None:
        return
    folder = embedded_folder(settings.data_dir)
    if not (folder / "PG_VERSION").exists():
        raise ConfigError(
            "WSG_DATABASE_URL",
            f"unset, and there is no embedded database in {str(folder)!r}",
            "set it, or WSG_DATA_DIR, to what the gateway runs with (`make run` has "
            "WSG_DATA_DIR=.dev/data); before a gateway's first start, `ws-gateway migrate` makes "
            "its database",
        )
    typer.echo(f"database: the embedded one in {folder}", err=True)


def _caller() -> Caller:
    """Whoever can run commands with the database's password may do everything."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        name = f"uid {os.getuid()}"
    return Caller("cli", name, frozenset({Scope.ADMIN}), trace_id=uuid4().hex)


def _line(key: ApiKey) -> str:
    """Show a key to a person."""
    services = "any service" if key.services is None else ",".join(sorted(key.services))
    end = "never" if key.expires_at is None else _time(key.expires_at)
    used = "never" if key.last_used_at is None else _time(key.last_used_at)
    return (
        f"{key.id}  {key.state(_now()).value:7}  {key.name}  {','.join(sorted(key.scopes))}  "
        f"{services}  expires {end}  used {used}"
        + ("" if key.rotates is None else f"  succeeds {key.rotates}")
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> datetime:
    return datetime.now(UTC)
