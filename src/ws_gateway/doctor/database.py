"""What PostgreSQL says: whether it takes us, and whether its schema is ours."""

from __future__ import annotations

from ws_gateway.config import Settings
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.errors import ConfigError, DatabaseLost
from ws_gateway.storage.database import read_schema
from ws_gateway.storage.embedded import embedded_folder


async def check_database(settings: Settings) -> list[Finding]:
    """Log in, and compare the migrations applied with those this version brings."""
    if settings.database_url is None:
        folder = embedded_folder(settings.data_dir)
        stands = "stands" if (folder / "PG_VERSION").exists() else "will be made"
        return [
            skipped(
                "database",
                f"WSG_DATABASE_URL is unset: an embedded PostgreSQL {stands} in {folder}; serve "
                "starts it, and it was not asked",
            ),
            skipped("schema", "serve starts the embedded PostgreSQL and migrates it"),
        ]
    try:
        schema = await read_schema(settings.database_url.get_secret_value())
    except (ConfigError, DatabaseLost) as exc:
        return [
            failed("database", str(exc), "start PostgreSQL there, or correct WSG_DATABASE_URL"),
            skipped("schema", "the database is away"),
        ]
    found = [ok("database", f"PostgreSQL {schema.server_version} takes the login")]
    if schema.unknown:
        return [
            *found,
            failed(
                "schema",
                f"migrations are applied that this version does not know: "
                f"{', '.join(schema.unknown)}",
                "run the version that brought them, or a newer one",
            ),
        ]
    if schema.pending:
        return [
            *found,
            warning(
                "schema",
                f"not applied yet: {', '.join(schema.pending)}",
                "serve applies them at its start, and ws-gateway migrate does so now",
            ),
        ]
    return [*found, ok("schema", f"at {schema.newest}, as this version needs")]
