"""What an examination finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: its name, the same in every version.
        verdict: how it is.
        found: what was found, in one line without secrets.
        remedy: what to do, None where there is nothing to do.
        account: whose it is about where there are several, by name; else None.
    """

    check: str
    verdict: Verdict
    found: str
    remedy: str | None = None
    account: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)


def ok(check: str, found: str) -> Finding:
    """Say that a thing is well."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Say that the gateway runs with it, and what will be missing."""
    return Finding(check, Verdict.WARNING, found, remedy)


def failed(check: str, found: str, remedy: str) -> Finding:
    """Say that the gateway cannot do its work like this."""
    return Finding(check, Verdict.FAILED, found, remedy)


def skipped(check: str, why: str) -> Finding:
    """Say that a thing was not looked at."""
    return Finding(check, Verdict.SKIPPED, why)
