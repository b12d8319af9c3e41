"""Spools of other prefixes beside ours: nobody delivers them while no gateway runs with theirs."""

from __future__ import annotations

from pathlib import Path

import structlog

from ws_gateway.runtime.left_spools import Left, left_spools

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def find_left(folder: Path) -> list[Left]:
    """Look for spools beside a folder and log them; see `left_spools`."""
    found = left_spools(
        folder.parent,
        "spool-",
        {folder},
        lambda prefix: f"start the gateway once with WSG_AMQP_PREFIX={prefix}",
    )
    for one in found:
        log.warning(
            "delivery.spool_left_behind",
            folder=one.folder,
            bytes=one.size_bytes,
            remedy=one.remedy,
        )
    return found
