"""What an account holds: records of coins and of the account's margin, and the rules they obey."""

from __future__ import annotations

import re
from decimal import Decimal
from hashlib import blake2b

import msgspec

from ws_gateway.domain.amount import EXACT, ZERO, shown
from ws_gateway.domain.event import Source

_COIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

# Options are settled in these, so their equity holds the options' value, which is told nowhere.
_OPTION_COINS = frozenset({"USDT", "USDC"})

_COIN_SLACK, _COIN_SHARE = Decimal("0.000001"), Decimal("0.0001")
_TOTAL_SLACK, _TOTAL_SHARE = Decimal(1), Decimal("0.001")


class CoinAmounts(msgspec.Struct, frozen=True):
    """One coin's amounts, in that coin; None where the venue tells none.

    Attributes:
        wallet_balance: what is owned, what was borrowed included; below 0 where it is owed.
        available_balance: what can be used without a loan, never below 0.
        frozen: bound by open orders, of spot (`locked`) and of derivatives (`order_margin`).
        equity: wallet balance less `spot_borrow`, with unrealised profit and options' value.
        realised_pnl: booked since the account was opened.
        usd_value: of the equity, in USD.
        is_collateral: the account lets it back positions.
    """

    wallet_balance: Decimal
    available_balance: Decimal | None = None
    frozen: Decimal | None = None
    locked: Decimal | None = None
    order_margin: Decimal | None = None
    position_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    equity: Decimal | None = None
    borrowed: Decimal | None = None
    spot_borrow: Decimal | None = None
    accrued_interest: Decimal | None = None
    unrealised_pnl: Decimal | None = None
    realised_pnl: Decimal | None = None
    bonus: Decimal | None = None
    usd_value: Decimal | None = None
    is_collateral: bool | None = None


class MarginAmounts(msgspec.Struct, frozen=True):
    """The account's totals in USD, and its rates; None where the venue tells none."""

    account_type: str
    total_equity: Decimal | None = None
    total_wallet_balance: Decimal | None = None
    total_margin_balance: Decimal | None = None
    total_available_balance: Decimal | None = None
    total_unrealised_pnl: Decimal | None = None
    total_initial_margin: Decimal | None = None
    total_maintenance_margin: Decimal | None = None
    initial_margin_rate: Decimal | None = None
    maintenance_margin_rate: Decimal | None = None


class CoinBalance(msgspec.Struct, frozen=True, tag="coin"):
    """One coin of one account at one time.

    Attributes:
        event_timestamp: exchange time, ms.
        received_at: our clock, µs.
        event_id: identity of this state of this coin.
    """

    account: str
    coin: str
    amounts: CoinAmounts
    event_timestamp: int
    received_at: int
    source: Source
    event_id: str
    trace_id: str


class MarginBalance(msgspec.Struct, frozen=True, tag="margin"):
    """One account's margin at one time; attributes as of `CoinBalance`."""

    account: str
    amounts: MarginAmounts
    event_timestamp: int
    received_at: int
    source: Source
    event_id: str
    trace_id: str


BalanceRecord = CoinBalance | MarginBalance


class BrokenRule(ValueError):
    """Amounts that cannot be true.

    Attributes:
        reason: stable word.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def check_coin(coin: str, amounts: CoinAmounts) -> None:
    """Hold one coin's amounts against what is true at the venue.

    Wallet balance and equity may be below 0: then the coin is owed.

    Raises:
        BrokenRule: they cannot be true.
    """
    if _COIN.fullmatch(coin) is None:
        raise BrokenRule("balance_malformed", f"{coin[:40]!r} is no name of a coin")
    for name in ("locked", "order_margin", "position_margin", "maintenance_margin", "borrowed",
                 "spot_borrow", "bonus"):  # fmt: skip
        _require_not_negative(coin, name, getattr(amounts, name))
    wallet, equity, borrowed = amounts.wallet_balance, amounts.equity, amounts.borrowed
    if equity is None:
        return
    if wallet < 0 and equity < 0 and borrowed == 0 and not amounts.spot_borrow:
        raise BrokenRule(
            "balance_sign",
            f"{coin}: wallet balance {shown(wallet)} and equity {shown(equity)} are below 0, "
            "and nothing is borrowed",
        )
    usd = amounts.usd_value
    if usd is not None and usd * equity < 0:
        raise BrokenRule(
            "balance_sign", f"{coin}: equity {shown(equity)} is worth {shown(usd)} USD"
        )
    _check_equity(coin, amounts, equity)


def _check_equity(coin: str, amounts: CoinAmounts, equity: Decimal) -> None:
    profit = amounts.unrealised_pnl
    is_loan_unknown = amounts.spot_borrow is None and amounts.borrowed != 0
    if coin in _OPTION_COINS or profit is None or is_loan_unknown:
        return
    wallet, loan = amounts.wallet_balance, amounts.spot_borrow or ZERO
    expected = EXACT.add(EXACT.subtract(wallet, loan), profit)
    largest = max(abs(wallet), abs(equity), abs(profit))
    slack = EXACT.add(_COIN_SLACK, EXACT.multiply(_COIN_SHARE, largest))
    if abs(EXACT.subtract(equity, expected)) > slack:
        raise BrokenRule(
            "balance_inconsistent",
            f"{coin}: equity is {shown(equity)}, but wallet balance less loan with unrealised "
            f"profit is {shown(expected)}",
        )


def check_margin(amounts: MarginAmounts) -> None:
    """Hold an account's totals against what is true at the venue.

    Raises:
        BrokenRule: they cannot be true.
    """
    for name in ("total_initial_margin", "total_maintenance_margin", "initial_margin_rate",
                 "maintenance_margin_rate"):  # fmt: skip
        _require_not_negative("account", name, getattr(amounts, name))
    total, wallet = amounts.total_margin_balance, amounts.total_wallet_balance
    profit = amounts.total_unrealised_pnl
    if total is None or wallet is None or profit is None:
        return
    expected = EXACT.add(wallet, profit)
    largest = max(abs(total), abs(wallet), abs(profit))
    slack = EXACT.add(_TOTAL_SLACK, EXACT.multiply(_TOTAL_SHARE, largest))
    if abs(EXACT.subtract(total, expected)) > slack:
        raise BrokenRule(
            "balance_inconsistent",
            f"margin balance is {shown(total)} USD, but wallet balance with unrealised profit is "
            f"{shown(expected)}",
        )


def _require_not_negative(whose: str, name: str, amount: Decimal | None) -> None:
    if amount is not None and amount < 0:
        raise BrokenRule("balance_sign", f"{whose}: {name} is {shown(amount)}, below 0")


def content_digest(amounts: CoinAmounts | MarginAmounts) -> str:
    """Return 16 hex digits that equal amounts share, however the venue wrote them."""
    parts = [
        shown(part) if isinstance(part, Decimal) else str(part)
        for part in msgspec.structs.astuple(amounts)
    ]
    return blake2b("|".join(parts).encode(), digest_size=8).hexdigest()
