"""All checks in turn, and how they are told."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from rich.console import Console
from rich.text import Text

from ws_gateway import __version__
from ws_gateway.config import Settings
from ws_gateway.doctor.broker import check_broker
from ws_gateway.doctor.certificates import check_certificates
from ws_gateway.doctor.database import check_database
from ws_gateway.doctor.exchange import check_exchange
from ws_gateway.doctor.finding import Finding, Verdict
from ws_gateway.doctor.machine import (
    check_disk,
    check_names,
    check_port,
    check_recording,
    hosts_of,
)

_ALIVE_SECONDS = 3.0

_COLOUR = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
}


async def examine(settings: Settings, *, as_json: bool) -> int:
    """Look at everything, tell it as it comes, and answer the exit code: 1 if anything failed."""
    console = Console(highlight=False, soft_wrap=True)
    findings: list[Finding] = []

    async def machine() -> list[Finding]:
        return [check_disk(settings), check_recording(settings), check_port(settings)]

    looks: list[Callable[[], Awaitable[list[Finding]]]] = [
        machine,
        lambda: check_names(hosts_of(settings)),
        lambda: check_database(settings),
        lambda: check_broker(settings),
        lambda: check_certificates(settings),
        lambda: check_exchange(settings),
    ]
    for look in looks:
        found = await look()
        findings += found
        if not as_json:
            for one in found:
                console.print(_line(one))
    count = sum(one.verdict is Verdict.FAILED for one in findings)
    if as_json:
        told = {
            "version": __version__,
            "is_well": not count,
            "findings": [one.as_json() for one in findings],
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    elif count:
        console.print(f"{count} of {len(findings)} failed", style="bold red")
    else:
        console.print("nothing stands in the way", style="green")
    return 1 if count else 0


def _line(one: Finding) -> Text:
    whose = "" if one.account is None else f"account {one.account}: "
    line = Text.assemble(
        (f"{one.verdict:<8}", _COLOUR[one.verdict]),
        (f" {one.check:<11} ", "bold"),
        whose,
        one.found,
    )
    if one.remedy is not None:
        line.append(f" → {one.remedy}")
    return line


def tell_alive(settings: Settings, *, as_json: bool) -> bool:
    """Ask the gateway that runs with these settings whether its process is alive, and say it."""
    host = settings.http_host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - it listens everywhere, so also here
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - same
    shown = f"[{host}]" if ":" in host else host
    url = f"{settings.http_scheme}://{shown}:{settings.http_port}/livez"
    found = _livez(url)
    is_alive = found == "200"
    if as_json:
        sys.stdout.write(json.dumps({"is_alive": is_alive, "url": url, "found": found}) + "\n")
    elif is_alive:
        sys.stdout.write(f"alive: {url} answers 200\n")
    else:
        sys.stdout.write(
            f"not alive: {url} answers {found}; start it, or give this command its WSG_ settings\n"
        )
    return is_alive


def _livez(url: str) -> str:
    """Return the status of an answer, or why there is none."""
    try:
        # The certificate names the service and not this loopback; nothing secret is asked or told.
        unchecked = ssl._create_unverified_context()  # noqa: S323, SLF001 - same
        # A proxy that the environment names (Docker puts it there) does not lead to this host.
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=unchecked))
        with opener.open(url, timeout=_ALIVE_SECONDS) as answer:
            return str(answer.status)
    except HTTPError as exc:
        return str(exc.code)
    except (URLError, OSError) as exc:
        return f"nothing ({exc})"
