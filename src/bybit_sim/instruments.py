"""The instruments this exchange lists, with the numbers the market needs of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PUBLIC_CATEGORIES = ("spot", "linear", "inverse", "option", "spread")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One contract or pair.

    Attributes:
        category: product line; with `symbol` it is unique.
        symbol: as in topics, case-sensitive.
        base: base coin; for options also the key of the trade topic.
        quote: quote coin.
        settle: coin in which fees, margin and profit are booked.
        kind: `contractType` of derivatives, `Call`/`Put` of options, "" elsewhere.
        price: where the seeded walk starts.
        tick: price step, its decimals are the decimals on the wire.
        step: quantity step, likewise.
        levels: how many levels a full side of the book has.
        size: typical resting quantity, in steps.
        symbol_id: `symbolId` of the REST listing.
        trades_kept: how many past trades REST can tell of.
    """

    category: str
    symbol: str
    base: str
    quote: str
    settle: str
    kind: str
    price: str
    tick: str
    step: str
    levels: int
    size: int
    symbol_id: int
    trades_kept: int = 1_000

    @property
    def trims_zeros(self) -> bool:
        """Whether decimals are cut at the last significant digit on the wire.

        Recordings show `29236.1` beside `29239.37` on spot, and fixed decimals on futures.
        """
        return self.category in {"spot", "option", "spread"}


# category, symbol, base, quote, settle, kind, price, tick, step, levels, size
_Row = tuple[str, str, str, str, str, str, str, str, str, int, int]
_ROWS: tuple[_Row, ...] = (
    ("spot", "BTCUSDT", "BTC", "USDT", "", "", "83805.1", "0.1", "0.000001", 1050, 90_000),
    ("spot", "ETHUSDT", "ETH", "USDT", "", "", "3120.45", "0.01", "0.00001", 1050, 80_000),
    ("spot", "SOLUSDT", "SOL", "USDT", "", "", "152.37", "0.01", "0.001", 240, 9_000),
    ("linear", "BTCUSDT", "BTC", "USDT", "USDT", "LinearPerpetual",
     "83766.30", "0.10", "0.001", 1050, 900),
    ("linear", "ETHUSDT", "ETH", "USDT", "USDT", "LinearPerpetual",
     "3119.88", "0.01", "0.01", 1050, 1_500),
    ("linear", "SOLUSDT", "SOL", "USDT", "USDT", "LinearPerpetual",
     "152.350", "0.010", "0.1", 240, 400),
    ("linear", "XRPUSDT", "XRP", "USDT", "USDT", "LinearPerpetual",
     "2.4512", "0.0001", "0.1", 240, 20_000),
    ("linear", "BTCPERP", "BTC", "USDC", "USDC", "LinearPerpetual",
     "83790.5", "0.1", "0.001", 240, 400),
    ("linear", "BTC-25DEC26", "BTC", "USDC", "USDC", "LinearFutures",
     "84950.50", "0.50", "0.001", 60, 200),
    ("inverse", "BTCUSD", "BTC", "USD", "BTC", "InversePerpetual",
     "83807.60", "0.10", "1", 1050, 9_000),
    ("inverse", "ETHUSD", "ETH", "USD", "ETH", "InversePerpetual",
     "3121.15", "0.05", "1", 240, 5_000),
    ("inverse", "BTCUSDZ26", "BTC", "USD", "BTC", "InverseFutures",
     "84890.50", "0.50", "1", 60, 2_000),
    ("option", "BTC-25JUN27-106000-P-USDT", "BTC", "USDT", "USDT", "Put",
     "24465", "5", "0.01", 110, 900),
    ("option", "BTC-25JUN27-106000-C-USDT", "BTC", "USDT", "USDT", "Call",
     "7240", "5", "0.01", 110, 900),
    ("option", "BTC-25JUN27-90000-C-USDT", "BTC", "USDT", "USDT", "Call",
     "11820", "5", "0.01", 30, 900),
    ("option", "XRP-30OCT26-0.4-P-USDT", "XRP", "USDT", "USDT", "Put",
     "0.0312", "0.0001", "10", 30, 400),
    ("spread", "SOLUSDT_SOL/USDT", "SOL", "USDT", "USDT", "", "0.0210", "0.0001", "0.1", 30, 300),
    ("spread", "BTCUSDT_BTC/USDT", "BTC", "USDT", "USDT", "", "-38.5", "0.1", "0.001", 30, 300),
)  # fmt: skip

_FIRST_SYNTHETIC_ID = 700_000


def listing(extra_linear: int = 0) -> dict[tuple[str, str], Instrument]:
    """List every instrument by (category, symbol), in listing order.

    Args:
        extra_linear: how many synthetic linear perpetuals `SIM0001USDT` … to add; their books
            are 60 levels deep so that thousands of them stay cheap.
    """
    table = {
        (row[0], row[1]): Instrument(*row, symbol_id=number)
        for number, row in enumerate(_ROWS, start=5)
    }
    for number in range(1, extra_linear + 1):
        base = f"SIM{number:04d}"
        table["linear", f"{base}USDT"] = Instrument(
            category="linear",
            symbol=f"{base}USDT",
            base=base,
            quote="USDT",
            settle="USDT",
            kind="LinearPerpetual",
            price=f"{10 + number % 90}.500",
            tick="0.001",
            step="0.1",
            levels=60,
            size=500,
            symbol_id=_FIRST_SYNTHETIC_ID + number,
            trades_kept=50,
        )
    return table


def option_bases(instruments: Iterable[Instrument]) -> set[str]:
    """Name the base coins that have options, which is what option trade topics carry."""
    return {each.base for each in instruments if each.category == "option"}
