"""Numbers as Bybit writes them: strings, scaled from integers, never floats on the way."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

_EIGHT_PLACES = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Grid:
    """Turns a count of steps into wire text.

    Attributes:
        unit: one step, as an integer at `scale` decimals.
        scale: decimals on the wire.
        trims: whether trailing zeros are cut.
    """

    unit: int
    scale: int
    trims: bool

    @classmethod
    def of(cls, step: str, *, trims: bool) -> Grid:
        """Build the grid of a step written as it stands in the listing, such as `0.10`."""
        _, _, decimals = step.partition(".")
        return cls(int(step.replace(".", "")), len(decimals), trims)

    def count(self, text: str) -> int:
        """Return how many whole steps a decimal text holds."""
        return int(Decimal(text).scaleb(self.scale)) // self.unit

    def text(self, steps: int) -> str:
        """Write a count of steps."""
        number = steps * self.unit
        if not self.scale:
            return str(number)
        whole, part = divmod(abs(number), 10**self.scale)
        written = f"{'-' if number < 0 else ''}{whole}.{part:0{self.scale}d}"
        return written.rstrip("0").rstrip(".") if self.trims else written

    def exact(self, steps: int) -> Decimal:
        """Return a count of steps as an exact decimal."""
        return Decimal(steps * self.unit).scaleb(-self.scale)


def money(number: Decimal) -> Decimal:
    """Round an amount to what is booked, which is what is shown: eight decimals."""
    return number.quantize(_EIGHT_PLACES, rounding=ROUND_HALF_UP)


def plain(number: Decimal) -> str:
    """Write an amount with at most eight decimals and no trailing zeros; zero is `0`."""
    rounded = number.quantize(_EIGHT_PLACES, rounding=ROUND_HALF_UP)
    if not rounded:
        return "0"
    written = f"{rounded:f}"
    return written.rstrip("0").rstrip(".")


def fixed(number: Decimal, places: int) -> str:
    """Write an amount with exactly `places` decimals."""
    return f"{number.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP):f}"
