"""Until when the certificates are valid that the gateway shows, believes and is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

FILE_SECONDS = 60.0
"""Between two looks at files, which may be renewed at any time."""

SERVER_SECONDS = 3600.0
"""Between two looks at what a server shows: each is a connection it has to see to."""

RETRY_SECONDS = 300.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Certificates:
    """How to look when each certificate ends, by its name; a look raises OSError or ValueError.

    Attributes:
        held: answers for what is in memory, at once and always.
        files: looks at what is on disk; they may block.
        servers: looks at what others show.
    """

    held: Mapping[str, Callable[[], datetime]] = field(default_factory=dict)
    files: Mapping[str, Callable[[], datetime]] = field(default_factory=dict)
    servers: Mapping[str, Callable[[], Awaitable[datetime]]] = field(default_factory=dict)


class CertificateWatch:
    """Looks now and again; what cannot be looked at keeps the end that was seen last."""

    def __init__(
        self, certificates: Certificates, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._certificates = certificates
        self._monotonic = monotonic
        self._ends: dict[str, datetime] = {}
        self._due_at = dict.fromkeys(certificates.servers, 0.0)
        self._unseen: dict[str, str] = {}

    def ends(self) -> Mapping[str, datetime]:
        """Return the ends that are known, by name."""
        held = {name: ends_at() for name, ends_at in self._certificates.held.items()}
        return {**held, **self._ends}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(FILE_SECONDS)

    async def look(self) -> None:
        """Look at every file, and at the servers whose time has come."""
        for name, ends_at in self._certificates.files.items():
            await self._note(name, asyncio.to_thread(ends_at))
        for name, shown in self._certificates.servers.items():
            now = self._monotonic()
            if now >= self._due_at[name]:
                is_seen = await self._note(name, shown())
                self._due_at[name] = now + (SERVER_SECONDS if is_seen else RETRY_SECONDS)

    async def _note(self, name: str, looking: Awaitable[datetime]) -> bool:
        try:
            self._ends[name] = await looking
        except (OSError, ValueError) as exc:
            why = str(exc) or type(exc).__name__
            if self._unseen.get(name) != why:  # told once, not every minute
                self._unseen[name] = why
                _log.warning("control.certificate_unseen", certificate=name, why=why)
            return False
        self._unseen.pop(name, None)
        return True
