"""Which of many like things is told of: one of so many, and none at no cost."""

from __future__ import annotations

from collections import Counter


class Sampling:
    """Decides which frames get a log line while somebody debugs.

    Attributes:
        is_on: whether to ask `is_due` at all; looked at per frame, so a plain attribute.
        one_in: one of so many is told, counted per kind, the first always.
    """

    __slots__ = ("_seen", "is_on", "one_in")

    def __init__(self, one_in: int = 1) -> None:
        self.is_on = False
        self.one_in = one_in
        self._seen: Counter[str] = Counter()

    def is_due(self, kind: str) -> bool:
        """Count one of a kind; answers whether it is to be told."""
        seen = self._seen[kind]
        self._seen[kind] = seen + 1
        return seen % self.one_in == 0
