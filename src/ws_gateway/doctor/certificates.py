"""Until when the certificates are valid that the gateway shows, believes and is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime

from ws_gateway.composition.certificates import certificates_of
from ws_gateway.config import Settings
from ws_gateway.control.api.certificate import Certificate
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.doctor.term import FEW_DAYS, MANY_DAYS, in_words
from ws_gateway.errors import ConfigError

_CHECK = "certificate"


async def check_certificates(settings: Settings) -> list[Finding]:
    """Look at every certificate that the settings name, one line each."""
    found = []
    named = certificates_of(settings)
    unfit = _unfit(settings)
    for name, ends_at in named.files.items():
        if name == "http" and unfit is not None:
            found.append(unfit)
        else:
            found.append(await _look(name, asyncio.to_thread(ends_at), is_file=True))
    for name, shown in named.servers.items():
        found.append(await _look(name, shown(), is_file=False))
    if found:
        return found
    return [skipped(_CHECK, "the settings name none: no TLS of our own is spoken")]


def _unfit(settings: Settings) -> Finding | None:
    """Say why the API cannot show its certificate, if it cannot."""
    if settings.http_certificate_file is None or settings.http_key_file is None:
        return None
    try:
        Certificate(settings.http_certificate_file, settings.http_key_file)
    except ConfigError as exc:
        return failed(_CHECK, f"http: {exc.setting}: {exc.found}", exc.remedy)
    return None


async def _look(name: str, looking: Awaitable[datetime], *, is_file: bool) -> Finding:
    try:
        ends_at = await looking
    except (OSError, ValueError) as exc:
        why = f"{name}: {str(exc) or type(exc).__name__}"
        if is_file:
            return failed(_CHECK, why, "name a PEM file that this user can read")
        return skipped(_CHECK, why)  # whether it answers at all has a line of its own
    return judge(name, ends_at, datetime.now(UTC))


def judge(name: str, ends_at: datetime, now: datetime) -> Finding:
    """Say whether a certificate lasts.

    Args:
        name: as the metric has it.
        ends_at: when it ends, aware.
        now: aware.
    """
    left = ends_at - now
    said = f"{name} {in_words(ends_at, left)}"
    if left < FEW_DAYS:
        return failed(_CHECK, said, _remedy(name))
    if left < MANY_DAYS:
        return warning(_CHECK, said, _remedy(name))
    return ok(_CHECK, said)


def _remedy(name: str) -> str:
    if name == "http":
        return "renew it; its files are read again while we run"
    whose, _, what = name.partition("_")
    if what == "authority":
        return f"put the new authority of the {whose} into its file, beside the old one"
    if what == "client":
        return f"renew it in its files, with whoever runs the {whose}"
    return f"let whoever runs the {whose} renew it"
