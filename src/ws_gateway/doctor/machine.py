"""What the machine gives: names, disk, and the port."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from ws_gateway.config import Settings
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.recording.room import device_of, size_words


def hosts_of(settings: Settings) -> list[str]:
    """List the host names that have to be resolved, each once."""
    urls = [settings.rest_url, settings.amqp_url.get_secret_value()]
    if settings.serves_public:
        urls.append(settings.public_ws_url)
    if settings.has_credentials:
        urls.append(settings.private_ws_url)
    if settings.database_url is not None:
        urls.append(settings.database_url.get_secret_value())
    if settings.rabbitmq_management_url is not None:
        urls.append(settings.rabbitmq_management_url.get_secret_value())
    names = (urlsplit(url).hostname for url in urls)
    return list(dict.fromkeys(name for name in names if name))


async def check_names(hosts: Iterable[str]) -> list[Finding]:
    """Resolve every host."""
    return [await _check_name(host) for host in hosts]


async def _check_name(host: str) -> Finding:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        return failed(
            "dns", f"{host}: {exc.strerror or exc}", "correct the host, or this machine's resolver"
        )
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    return ok("dns", f"{host} is {', '.join(addresses[:3])}")


def check_disk(settings: Settings) -> Finding:
    """Look whether the data folder can be written to, and has room for the spool."""
    folder = settings.data_dir.expanduser().resolve()
    try:
        free = _probed(folder)
    except OSError as exc:
        return failed(
            "disk",
            f"{_standing(folder)}: {exc.strerror or exc}",
            "let this user write there, or name another folder in WSG_DATA_DIR",
        )
    said = f"{folder}: {size_words(free)} free"
    if free < settings.most_spooled_bytes:
        return warning(
            "disk",
            f"{said}, and the spools may take {size_words(settings.most_spooled_bytes)}",
            "free some space, or lower WSG_SPOOL_MAX_BYTES",
        )
    return ok("disk", said)


def check_recording(settings: Settings) -> Finding:
    """Look whether a recording can be written, and leaves the spools the room they may need."""
    if settings.record_dir is None:
        return skipped("recording", "WSG_RECORD_DIR is unset, so nothing is recorded")
    folder = settings.record_dir.expanduser().resolve()
    try:
        free = _probed(folder)
    except OSError as exc:
        return failed(
            "recording",
            f"{_standing(folder)}: {exc.strerror or exc}",
            "let this user write there, or name another folder in WSG_RECORD_DIR",
        )
    kept, said = settings.record_keep_free_bytes, f"{folder}: {size_words(free)} free"
    if device_of(folder) == device_of(settings.data_dir.expanduser().resolve()):
        # What the spools hold already is not known here; a gateway that runs reckons with it.
        kept += settings.most_spooled_bytes
        said += ", on the volume of WSG_DATA_DIR"
    said += f"; {size_words(kept)} stay free"
    if kept and free < kept + settings.record_file_max_bytes:
        return warning(
            "recording",
            f"{said}, and a file takes up to {size_words(settings.record_file_max_bytes)}: nothing"
            " more is recorded",
            "free some space, give recordings a volume of their own, or lower"
            " WSG_RECORD_KEEP_FREE_BYTES",
        )
    return ok("recording", said)


def _standing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there already."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _probed(folder: Path) -> int:
    """Write something there, or where it would be made, and return the bytes that are free.

    Raises:
        OSError: it cannot be written to.
    """
    standing = _standing(folder)
    with tempfile.TemporaryFile(dir=standing) as probe:
        probe.write(b"x")
        probe.flush()
        os.fsync(probe.fileno())
    return shutil.disk_usage(standing).free


def check_port(settings: Settings) -> Finding:
    """Look whether the HTTP API can listen where it should."""
    if settings.http_port == 0:
        return skipped("http_port", "WSG_HTTP_PORT is 0, so any free port is taken")
    where = f"{settings.http_host}:{settings.http_port}"
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.http_host, settings.http_port))
    except OSError as exc:
        return warning(
            "http_port",
            f"{where}: {exc.strerror or exc}",
            "fine if this gateway runs already; else choose another WSG_HTTP_PORT",
        )
    return ok("http_port", f"{where} is free")
