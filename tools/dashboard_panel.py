"""What a panel of a Grafana dashboard is, and the words its queries are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

WIDE = 24
"""Columns of a page."""

_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: what stands above it.
        query: what is asked; columns of one query are of one answer, and rows of several answers
            are joined by the labels these have in common.
        label: the label that is shown; empty shows the value.
        unit: Grafana's name of the unit.
        good, bad: words of a label that are green, and red.
    """

    title: str
    query: str
    label: str = ""
    unit: str = "short"
    good: Sequence[str] = ()
    bad: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: what it shows, as a person would ask for it.
        queries: what is asked, each with its legend; a table has columns instead.
        unit: Grafana's name of the unit.
        kind: `timeseries`, `stat` or `table`.
        width, height: of 24 columns, in Grafana's rows.
        bad_from: a value from which it is red; None has no colour.
        good_is_one: it is green at 1 and red below.
        columns: of a table.
        says: what has to be known to read it.
        is_of_all: it tells of every gateway, not of the chosen one.
    """

    title: str
    queries: Sequence[tuple[str, str]] = ()
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    bad_from: float | None = None
    good_is_one: bool = False
    columns: Sequence[Column] = field(default=())
    says: str = ""
    is_of_all: bool = False

    @property
    def asked(self) -> list[str]:
        """Return every query once."""
        return list(
            dict.fromkeys([*(one for one, _ in self.queries), *(one.query for one in self.columns)])
        )


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of pictures."""

    uid: str
    title: str
    panels: Sequence[Panel]


def light(title: str, query: str) -> Panel:
    """Show whether something is as it should be."""
    return Panel(title, [(query, "")], kind="stat", width=3, height=4, good_is_one=True)


def number(title: str, query: str, unit: str = "short", bad_from: float | None = 1) -> Panel:
    """Show how many there are of what should not be; 0 where none is told of."""
    return Panel(title, [(query, "")], unit, kind="stat", width=3, height=4, bad_from=bad_from)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Ask for what a counter grows by in a second."""
    grown = f"rate({metric}{where}{_RATE})"
    return f"sum by ({by}) ({grown})" if by else grown


def p99(metric: str, by: str = "", where: str = "") -> str:
    """Ask what 99 % of a histogram's values stay below."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.99, sum by ({labels}) (rate({metric}_bucket{where}{_RATE})))"


def of(by: str, query: str) -> str:
    """Ask for a value by some labels alone, which is what rows of a table are joined by."""
    return f"max by ({by}) ({query})"
