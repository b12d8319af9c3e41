"""Epochs that rise from process to process, whatever the clock does."""

from __future__ import annotations

from pathlib import Path

import structlog

from ws_gateway.runtime.identity import epoch_ms, new_epoch

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def next_epoch(file: Path, now_ms: int) -> str:
    """Return an epoch that sorts behind the one in the file, and put it there.

    Consumers take the greater of two epochs for the later process. A file that cannot be read or
    written is said; then the clock alone decides.
    """
    try:
        former = epoch_ms(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        former = 0
    except (OSError, ValueError) as exc:
        log.warning("gateway.epoch_unknown", file=str(file), why=str(exc))
        former = 0
    if former >= now_ms:
        log.warning("gateway.clock_went_back", by_ms=former - now_ms)
    epoch = new_epoch(max(now_ms, former + 1))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.new")
        fresh.write_text(epoch, encoding="ascii")
        fresh.replace(file)
    except OSError as exc:
        log.warning("gateway.epoch_not_kept", file=str(file), why=str(exc))
    return epoch
