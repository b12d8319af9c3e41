"""What a setting's value must be beyond its type: hosts, networks, URLs."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ws_gateway.runtime.certificate import UNENCRYPTED, key_is_encrypted

# The resolver looks up a host by its IDNA form and raises on what has none, long after the start;
# the characters are those that no host name and no address has, which the drivers refuse variously.
_NEVER_IN_HOST = re.compile(r'[\s\x00-\x20\x7f"<>\\^`{|}]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_network(value: str) -> bool:
    """Say whether this is an address or a network."""
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


def is_host(value: str) -> bool:
    """Say whether a name or an address can be looked up at all."""
    try:
        value.encode("idna")  # no empty label but the last, none above 63 bytes
    except UnicodeError:
        return False
    return not _NEVER_IN_HOST.search(value)


def checked_url(
    value: str, schemes: tuple[str, ...], example: str, *, needs_host: bool = True
) -> str:
    """Return the URL if it is one of these schemes with a host that can exist.

    Raises:
        ValueError: it is not; the text says how to write it and repeats no password.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises on a port that is not a number
    except ValueError:
        # Not the parser's words: for a mistyped port they quote what may be a password.
        hint = " (in a password, write / ? # @ : as %2F %3F %23 %40 %3A)" if "@" in value else ""
        raise ValueError(f"this is not a URL; write it like {example}{hint}") from None
    if parts.scheme not in schemes or (needs_host and not parts.hostname):
        article = "an" if schemes[0].startswith("a") else "a"
        raise ValueError(f"write {article} {' or '.join(schemes)} URL like {example}")
    # The parser drops control characters without a word, the drivers do not.
    if _CONTROL.search(value) or not _is_url_host(parts.hostname or ""):
        hint = " (in a password, write / ? # @ : as %2F %3F %23 %40 %3A)" if "@" in value else ""
        raise ValueError(f"no host can have this name; write the URL like {example}{hint}")
    return value


def checked_venue_url(value: str, schemes: tuple[str, ...], example: str) -> str:
    """Check the venue's address: it is shown in /health and in logs, and paths are appended."""
    parts = urlsplit(checked_url(value, schemes, example))
    if "@" in parts.netloc:
        raise ValueError(f"leave out user and password, which the venue never asks for: {example}")
    if parts.query or parts.fragment or "/v5" in parts.path:
        raise ValueError(f"name the host only, /v5/… is appended: {example}")
    return value.rstrip("/")


def check_query_hosts(url: str, example: str) -> None:
    """Check the hosts of a PostgreSQL URL that names them in its query."""
    for name, hosts in parse_qsl(urlsplit(url).query):
        if name == "host" and not all(_is_url_host(host) for host in hosts.split(",")):
            raise ValueError(f"no host can have this name; write the URL like {example}")


def check_certificates(url: str) -> None:
    """Check the files that an AMQP URL names for TLS; the driver would take them for an outage."""
    parts = urlsplit(url)
    for name, path in parse_qsl(parts.query):
        if name not in {"cafile", "certfile", "keyfile"}:
            continue
        if parts.scheme != "amqps":
            raise ValueError(f"{name} is for TLS; write amqps:// in place of amqp://")
        if not os.access(path, os.R_OK):
            raise ValueError(f"the {name} {path!r} cannot be read; name a PEM file")
        if name != "cafile" and key_is_encrypted(Path(path)):
            raise ValueError(f"the {name} {path!r} is encrypted; {UNENCRYPTED}")


def check_database_key(url: str) -> None:
    """Check the key that a PostgreSQL URL names for TLS; its passphrase may be in the URL."""
    query = dict(parse_qsl(urlsplit(url).query))
    path = query.get("sslkey")
    if path is not None and "sslpassword" not in query and key_is_encrypted(Path(path)):
        raise ValueError(f"the sslkey {path!r} is encrypted; {UNENCRYPTED}")


def _is_url_host(value: str) -> bool:
    host = unquote(value)
    return host.startswith("/") or is_host(host)  # a path: PostgreSQL's socket
