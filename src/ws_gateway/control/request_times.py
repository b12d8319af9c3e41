"""How long our own REST takes to answer."""

from __future__ import annotations

from collections import Counter

from ws_gateway.runtime.histogram import QUICK_SECONDS, Histograms

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ANY = "other"
"""Stands for what callers may invent: methods nobody knows, and paths no endpoint has."""


class RequestTimes:
    """Takes the times of answers; told apart by what callers cannot multiply.

    Attributes:
        latency: by method and route, in seconds.
        answers: by method, route and status.
    """

    def __init__(self) -> None:
        self.latency = Histograms(QUICK_SECONDS)
        self.answers: Counter[tuple[str, str, str]] = Counter()

    def answered(self, method: str, route: str | None, status: int, seconds: float | None) -> None:
        """Take note of one answer.

        Args:
            method: as it came.
            route: the endpoint's path with its placeholders; None if no endpoint was reached.
            status: of the answer, 0 if the caller went away before.
            seconds: how long it took; None if it waited because the caller wished it to.
        """
        labels = (method if method in METHODS else ANY, route or ANY)
        if seconds is not None:
            self.latency.of(*labels).observe(seconds)
        self.answers[*labels, str(status)] += 1
