"""Which certificates there are, read out of the settings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ws_gateway.config import Settings
from ws_gateway.control.api.certificate import Certificate
from ws_gateway.control.certificates import Certificates
from ws_gateway.runtime.certificate import authority_ends_at, chain_ends_at, shown_ends_at

_ASK_POSTGRES = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""SSLRequest (PostgreSQL docs, Message Formats)."""

_AMQPS_PORT, _POSTGRES_PORT = 5671, 5432


def certificates_of(settings: Settings, shown: Certificate | None = None) -> Certificates:
    """Name the certificates that matter.

    A server's own is looked at only where it is checked: one that nobody checks may end unnoticed.

    Args:
        settings: name files and servers.
        shown: what the HTTP API shows; None if it was not loaded.
    """
    held: dict[str, Callable[[], datetime]] = {}
    files: dict[str, Callable[[], datetime]] = {}
    servers = {}
    if shown is not None:
        held["http"] = lambda: shown.ends_at
    elif settings.http_certificate_file is not None:
        files["http"] = partial(chain_ends_at, settings.http_certificate_file)

    broker = urlsplit(settings.amqp_url.get_secret_value())
    query = dict(parse_qsl(broker.query))
    if broker.scheme == "amqps":
        _add_files(files, "broker", query.get("cafile"), query.get("certfile"))
        if query.get("no_verify_ssl", "0") == "0" and broker.hostname:
            servers["broker"] = partial(
                shown_ends_at,
                broker.hostname,
                broker.port or _AMQPS_PORT,
                certificate_file=query.get("certfile"),
                key_file=query.get("keyfile"),
            )

    url = settings.database_url
    database = urlsplit("" if url is None else url.get_secret_value())
    query = dict(parse_qsl(database.query))
    authority, mode = query.get("sslrootcert"), query.get("sslmode", "prefer")
    if mode in {"require", "verify-ca", "verify-full"}:
        _add_files(files, "database", authority, query.get("sslcert"))
        host = (database.hostname or query.get("host", "")).partition(",")[0]
        is_checked = mode != "require" or authority is not None
        if is_checked and host and not host.startswith("/"):
            servers["database"] = partial(
                shown_ends_at,
                host,
                database.port or _POSTGRES_PORT,
                ask=_ASK_POSTGRES,
                certificate_file=query.get("sslcert"),
                key_file=query.get("sslkey"),
            )
    return Certificates(held, files, servers)


def _add_files(
    files: dict[str, Callable[[], datetime]], whose: str, authority: str | None, ours: str | None
) -> None:
    if authority is not None:
        files[f"{whose}_authority"] = partial(authority_ends_at, Path(authority))
    if ours is not None:
        files[f"{whose}_client"] = partial(chain_ends_at, Path(ours))
