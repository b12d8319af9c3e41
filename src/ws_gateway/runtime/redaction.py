"""Keeps secrets out of what is written: those that are known by value, and what looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

REDACTED = "[redacted]"

SHORTEST = 4
"""Shorter values are not looked for: words of our own would be torn apart by them."""

_MOST_NESTED = 6

_SECRET_NAMES = re.compile(
    r"(?i)(?:^|[_.-])(?:password|passwd|pwd|secret|token|credentials?|signature|authorization|"
    r"cookie|api[_-]?key|apikey|x[_-]api[_-]key|private[_-]?key|x-bapi-sign|x-bapi-api-key)$"
)
_URL_LOGIN = re.compile(
    r"(?<=://)[^\s/?#@\"'<>]*:[^\s/?#\"'<>]*(?=@)|(?<=://)[^\s/?#@\"'<>:]+(?=@)"
)
_PAIR = re.compile(
    r"(?i)(?P<name>\b(?:password|passwd|secret|signature|api_secret|api_key|access_token)"
    r"(?:[\"']\s*:|=)\s*|\b(?:x-api-key|authorization|x-bapi-sign|x-bapi-api-key)[\"']?\s*[:=]\s*)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+)"
)

# A key of the HTTP API: its id is public, what follows is not. Keys are told once and kept nowhere,
# so they are known by their form alone.
_API_KEY = re.compile(r"(wsg_[0-9a-z]{12}_)[0-9a-z]{20,}")

_EVENT = re.compile(r"[a-z_]+\.[a-z0-9_]+")
_OURS = frozenset({"level", "timestamp", "trace_id"})
"""Fields that hold nothing from outside; a password like `info` would tear them apart."""


class Secrets:
    """The values that nothing written may hold.

    A secret is known in every form in which it may turn up: as it is, and as URLs, JSON and Python
    write it.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, *values: str | None) -> None:
        """Look for these from now on; None and what is too short are passed over."""
        for value in values:
            if value is not None and len(value) >= SHORTEST:
                self._values |= _forms(value)
        # The longest first, so that a secret that begins with another goes whole.
        words = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def add_logins(self, urls: Iterable[str | None]) -> None:
        """Look for the passwords that stand in these URLs."""
        for url in urls:
            login = (url or "").partition("://")[2].rpartition("@")[0]
            password = login.partition(":")[2]
            self.add(password or None, unquote(password) or None)
            for found in re.findall(r"[?&]password=([^&\s]+)", url or ""):
                self.add(found, unquote(found))

    def redact(self, text: str) -> str:
        """Return a text without any secret."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        if "://" in text and "@" in text:
            text = _URL_LOGIN.sub(REDACTED, text)
        if "wsg_" in text:
            text = _API_KEY.sub(rf"\1{REDACTED}", text)
        if "=" in text or ":" in text:
            text = _PAIR.sub(lambda found: f"{found['name']}{REDACTED}", text)
        return text

    def clean(self, value: Any, depth: int = 0) -> Any:
        """Return a value of a log line without any secret; what it is made of stays."""
        if isinstance(value, str):
            return self.redact(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _MOST_NESTED:
            return self.redact(repr(value))
        if isinstance(value, Mapping):
            return {
                str(name): REDACTED if _is_secret(name, inner) else self.clean(inner, depth + 1)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(inner, depth + 1) for inner in value]
        return self.redact(str(value))

    def __call__(
        self, _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Clean a log line; a processor of structlog, behind whatever writes exceptions out."""
        for name, value in event_dict.items():
            if name.startswith("_") or name in _OURS:  # `_`: structlog's own, taken out later
                continue
            if name == "event" and _EVENT.fullmatch(str(value)):
                continue
            event_dict[name] = REDACTED if _is_secret(name, value) else self.clean(value)
        return event_dict


def _is_secret(name: object, value: object) -> bool:
    return value is not None and bool(_SECRET_NAMES.search(str(name)))


def _forms(value: str) -> set[str]:
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), repr(value)[1:-1]}
    forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    forms.add(value.encode("unicode_escape").decode("ascii"))
    return {form for form in forms if len(form) >= SHORTEST}
