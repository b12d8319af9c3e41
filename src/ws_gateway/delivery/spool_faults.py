"""What the spool's disk refuses at present, by what was asked of it."""

from __future__ import annotations

from enum import Enum, auto

import structlog

from ws_gateway.delivery.news import News

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Work(Enum):
    """What the disk is asked for; one that succeeds says nothing about another."""

    WRITE = auto()
    OPEN = auto()
    READ = auto()
    NOTE = auto()
    """Noting how far the broker answered, and freeing what that makes needless."""
    DROP = auto()


class Faults:
    """Remembers each refusal until the same work succeeds."""

    def __init__(self) -> None:
        self._why: dict[Work, str] = {}
        self._news = News()

    def __contains__(self, work: Work) -> bool:
        return work in self._why

    @property
    def last_error(self) -> str | None:
        """Say why the disk refuses, writing before all else; None while it does not."""
        return next((self._why[work] for work in Work if work in self._why), None)

    def unavailable(self, exc: OSError) -> None:
        """Take note that there is no folder to work in."""
        is_taken = isinstance(exc, BlockingIOError)
        why = "another process has the spool's folder" if is_taken else str(exc)
        self._why[Work.OPEN] = why
        if self._news.is_due(Work.OPEN):
            log.error("delivery.spool_unavailable", why=why, effect="held in memory only")

    def refused(self, work: Work, exc: OSError) -> None:
        """Take note of a refusal; told once a minute for each kind of work."""
        self._why[work] = str(exc)
        if self._news.is_due(work):
            log.error("delivery.spool_refused", why=str(exc), effect="held in memory")

    def succeeded(self, work: Work) -> None:
        """Take note that this work is done again; told when nothing is refused any more."""
        why = self._why.pop(work, None)
        if why is not None and not self._why:
            log.info("delivery.spool_usable", after=why)
