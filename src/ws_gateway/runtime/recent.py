"""The newest warnings and errors, for whoever looks: bounded, and what is alike told once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

KEPT = 60
"""How many different ones are kept."""

MAX_FIELDS, MAX_CHARS = 12, 300
"""How much of one is kept: fields, and characters of each."""

_TOLD = frozenset({"warning", "error", "critical"})
_OWN = frozenset({"event", "level", "timestamp", "exc_info"})
_WHOSE = ("connection", "name", "endpoint", "queue", "service", "topic", "route", "subject", "code")
"""Fields that say what a line is about: two that differ in them are not alike."""


@dataclass(slots=True)
class Trouble:
    """A warning or an error of the log.

    Attributes:
        at, first_at: when it came last and first, as the log has it.
        count: how often.
        fields: of the newest, as text.
    """

    at: str
    first_at: str
    level: str
    event: str
    count: int
    fields: dict[str, str]


class RecentTroubles:
    """Keeps them; a processor of structlog, behind the one that takes secrets out.

    Attributes:
        revision: rises with each that comes.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._kept: OrderedDict[tuple[str, ...], Trouble] = OrderedDict()

    def __call__(
        self, _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Keep a line if it is one of these; it goes on as it is."""
        level = str(event_dict.get("level", ""))
        if level in _TOLD:
            self._keep(level, event_dict)
        return event_dict

    def newest(self) -> list[Trouble]:
        """Return what is kept, newest first."""
        return list(reversed(self._kept.values()))

    def _keep(self, level: str, line: Mapping[str, Any]) -> None:
        event, at = str(line.get("event", ""))[:MAX_CHARS], str(line.get("timestamp", ""))
        whose = (str(line[name])[:MAX_CHARS] for name in _WHOSE if name in line)
        key = (level, event, *whose)
        before = self._kept.pop(key, None)
        first_at = at if before is None else before.first_at
        count = 1 if before is None else before.count + 1
        self._kept[key] = Trouble(at, first_at, level, event, count, _fields(line))
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self.revision += 1


def _fields(line: Mapping[str, Any]) -> dict[str, str]:
    """Return what else a line says; of a traceback its last line, which names the error."""
    fields = {}
    for name, value in line.items():
        if name in _OWN or name.startswith("_") or value is None:
            continue
        text = str(value)
        if name == "exception":
            text = text.rstrip().rpartition("\n")[2]
        fields[name] = text[:MAX_CHARS]
        if len(fields) == MAX_FIELDS:
            break
    return fields
