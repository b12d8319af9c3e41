"""Credentials from files, read again when they are rotated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from ws_gateway.venue.auth import Credentials

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_MOST_BYTES = 64 * 1024

_LOOKS_FOR_OTHER_HALF = 15
"""How many looks a pair has to stand of which one half alone has changed.

A new key comes with a new secret; the files are written one after the other, and the first alone
would be a login that cannot succeed."""


class CredentialUser(Protocol):
    """Who logs in with what the files hold; the feed."""

    def renew_credentials(self, credentials: Credentials) -> None:
        """Log in with these from now on; called in the event loop, never waits."""


class CredentialFiles:
    """Looks at the files of key and secret, and hands on a new pair once it stands still.

    Files that cannot be read or are empty leave the present pair in use.

    Args:
        key_file, secret_file: where each half comes from; None for one that was given itself.
        current: the pair in use.
        renew: called with each new pair.
        interval_seconds: between two looks; a change has to stand for as long.
    """

    def __init__(
        self,
        *,
        key_file: Path | None,
        secret_file: Path | None,
        current: Credentials,
        renew: Callable[[Credentials], None],
        interval_seconds: float = 2.0,
    ) -> None:
        self._key_file = key_file
        self._secret_file = secret_file
        self._current = current
        self._renew = renew
        self._interval_seconds = interval_seconds
        self._seen: Credentials | None = None
        self._looks = 0
        self._is_unreadable = False

    @property
    def is_watching(self) -> bool:
        """Say whether any half comes from a file."""
        return self._key_file is not None or self._secret_file is not None

    async def run(self) -> None:
        """Look until cancelled; returns at once if there is nothing to look at."""
        while self.is_watching:
            await asyncio.sleep(self._interval_seconds)
            self.look()

    def look(self) -> None:
        """Look once."""
        try:
            found = Credentials(
                _read(self._key_file, self._current.key),
                _read(self._secret_file, self._current.secret),
                self._current.account,
            )
        except (OSError, ValueError) as exc:
            self._seen, self._looks = None, 0
            if not self._is_unreadable:
                self._is_unreadable = True
                log.warning(
                    "venue.credentials_unreadable",
                    why=str(exc),
                    remedy="make the file readable and not empty; the former pair stays in use",
                )
            return
        self._is_unreadable = False
        if found == self._current:
            self._seen, self._looks = None, 0
            return
        self._looks = self._looks + 1 if found == self._seen else 0
        self._seen = found
        if self._looks >= self._looks_needed(found):
            self._current, self._seen, self._looks = found, None, 0
            log.info("venue.credentials_renewed", key=found.shown, account=found.account)
            self._renew(found)

    def _looks_needed(self, found: Credentials) -> int:
        are_both_files = self._key_file is not None and self._secret_file is not None
        is_half = found.key == self._current.key or found.secret == self._current.secret
        return _LOOKS_FOR_OTHER_HALF if are_both_files and is_half else 1


def _read(path: Path | None, given: str) -> str:
    """Read one half; a few bytes of a local file, so the event loop is not kept waiting.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, empty, or far too long; the text never has what it holds.
    """
    if path is None:
        return given
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"{str(path)!r} is too long for a key or a secret")
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r} is not text") from None
    if not text:
        raise ValueError(f"{str(path)!r} is empty")
    return text
