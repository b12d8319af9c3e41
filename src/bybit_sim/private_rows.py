"""Rows of `position`, `wallet` and `greeks` with the fields of 2026 recordings (v5 reference 7)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from bybit_sim.account import FEE_RATES, LEVERAGE, MAINTENANCE_RATE, Account
from bybit_sim.decimals import plain
from bybit_sim.orders import ZERO
from bybit_sim.positions import Position, profit_of, value_of

_RISK_LIMITS = {"linear": (1, "2000000"), "inverse": (1, "150"), "option": (0, "")}


def position_row(account: Account, position: Position) -> dict[str, Any]:
    """Build a row of `position`; a flat one has side "" and empty margins."""
    instrument = position.instrument
    mark, size = account.mark(position), abs(position.size)
    flat = not position.size
    risk_id, risk_limit = _RISK_LIMITS[instrument.category]
    initial = "" if flat else plain(initial_margin(account, position))
    maintenance = "" if flat else plain(maintenance_margin(account, position))
    profit = profit_of(instrument, position.size, position.entry, mark)
    row: dict[str, Any] = {
        "positionIdx": position.idx,
        "tradeMode": 0,
        "riskId": risk_id,
        "riskLimitValue": risk_limit,
        "symbol": instrument.symbol,
        "side": position.side,
        "size": plain(size),
        "entryPrice": plain(position.entry),
        "sessionAvgPrice": "",
        "leverage": plain(LEVERAGE),
        "positionValue": "" if flat else plain(value_of(instrument, size, position.entry)),
        "positionBalance": "0",
        "markPrice": plain(mark),
        "positionIM": initial,
        "positionMM": maintenance,
        "positionIMByMp": initial,
        "positionMMByMp": maintenance,
        "takeProfit": "0",
        "stopLoss": "0",
        "trailingStop": "0",
        "unrealisedPnl": plain(profit),
        "cumRealisedPnl": plain(position.realised),
        "curRealisedPnl": plain(position.current_realised),
        "createdTime": str(position.created_ms),
        "updatedTime": str(position.updated_ms),
        "tpslMode": "Full",
        # A well-funded cross account has no liquidation price inside the allowed range.
        "liqPrice": "0" if flat else "",
        "bustPrice": "",
        "category": instrument.category,
        "positionStatus": "Normal",
        "adlRankIndicator": 0 if flat else 2,
        "autoAddMargin": 0,
        "leverageSysUpdatedTime": "",
        "mmrSysUpdatedTime": "",
        "seq": position.seq,
    }
    if instrument.category == "option":
        greek = plain(position.size / 2)
        row |= {"delta": greek, "gamma": "0.00001", "vega": "100", "theta": "-40"}
    else:
        row["breakEvenPrice"] = "" if flat else plain(_break_even(position))
    return row | {"isReduceOnly": False, "openTime": position.opened_ms}


def rest_position_row(account: Account, position: Position) -> dict[str, Any]:
    """Build a row of `/v5/position/list`: `avgPrice` for `entryPrice`, and no category."""
    renamed = {"entryPrice": "avgPrice", "mmrSysUpdatedTime": "mmrSysUpdateTime"}
    row = position_row(account, position)
    return {renamed.get(key, key): item for key, item in row.items() if key != "category"}


def _break_even(position: Position) -> Decimal:
    fees = 2 * FEE_RATES[position.instrument.category]
    return position.entry * (1 + fees if position.size > 0 else 1 - fees)


def initial_margin(account: Account, position: Position) -> Decimal:
    """Return the margin a position binds, in its settle coin."""
    mark = account.mark(position)
    return value_of(position.instrument, abs(position.size), mark) / LEVERAGE


def maintenance_margin(account: Account, position: Position) -> Decimal:
    """Return the margin below which a position would be liquidated."""
    mark = account.mark(position)
    return value_of(position.instrument, abs(position.size), mark) * MAINTENANCE_RATE


def _unrealised(account: Account, coin: str) -> Decimal:
    """Sum what open positions of a coin add to its equity; an option adds its whole value."""
    total = ZERO
    for each in account.open_positions(coin):
        mark = account.mark(each)
        if each.instrument.category == "option":
            total += each.size * mark
        else:
            total += profit_of(each.instrument, each.size, each.entry, mark)
    return total


def coin_row(account: Account, coin: str) -> dict[str, Any]:
    """Build one element of a wallet's `coin` array; a coin never held is all empty texts."""
    balance = account.balances.get(coin)
    numbers = dict.fromkeys(_COIN_NUMBERS, "")
    if balance is not None:
        positions = account.open_positions(coin)
        unrealised = _unrealised(account, coin)
        equity = balance.wallet + unrealised
        borrowed = max(ZERO, -balance.wallet)
        numbers = {
            "equity": plain(equity),
            "usdValue": plain(equity * account.usd(coin)),
            "walletBalance": plain(balance.wallet),
            "availableToWithdraw": "",
            "availableToBorrow": "",
            "borrowAmount": plain(borrowed),
            "accruedInterest": "0",
            "totalOrderIM": plain(balance.order_margin),
            "totalPositionIM": plain(sum((initial_margin(account, p) for p in positions), ZERO)),
            "totalPositionMM": plain(
                sum((maintenance_margin(account, p) for p in positions), ZERO)
            ),
            "unrealisedPnl": plain(unrealised),
            "cumRealisedPnl": plain(balance.realised),
            "bonus": "0",
        }
    held = balance is not None
    return (
        {"coin": coin}
        | numbers
        | {
            "collateralSwitch": held,
            "marginCollateral": True,
            "locked": "" if balance is None else plain(balance.locked),
            "spotHedgingQty": "0",
            "spotBorrow": "0" if held else "",
            "colRes": "0",
        }
    )


_COIN_NUMBERS = (
    "equity",
    "usdValue",
    "walletBalance",
    "availableToWithdraw",
    "availableToBorrow",
    "borrowAmount",
    "accruedInterest",
    "totalOrderIM",
    "totalPositionIM",
    "totalPositionMM",
    "unrealisedPnl",
    "cumRealisedPnl",
    "bonus",
)


def wallet_row(account: Account, coins: Iterable[str]) -> dict[str, Any]:
    """Build the one row of a wallet frame: account totals, and only the coins named."""
    wallet = equity = order_margin = position_margin = maintenance = profit = ZERO
    for coin, balance in account.balances.items():
        usd = account.usd(coin)
        unrealised = _unrealised(account, coin)
        wallet += balance.wallet * usd
        equity += (balance.wallet + unrealised) * usd
        profit += unrealised * usd
        order_margin += balance.order_margin * usd
        for each in account.open_positions(coin):
            position_margin += initial_margin(account, each) * usd
            maintenance += maintenance_margin(account, each) * usd
    initial = order_margin + position_margin
    initial_rate, maintenance_rate = _rate(initial, equity), _rate(maintenance, equity)
    return {
        "accountIMRate": initial_rate,
        "accountMMRate": maintenance_rate,
        "accountIMRateByMp": initial_rate,
        "accountMMRateByMp": maintenance_rate,
        "totalEquity": plain(equity),
        "totalWalletBalance": plain(wallet),
        "totalMarginBalance": plain(equity),
        "totalAvailableBalance": plain(equity - initial),
        "totalPerpUPL": plain(profit),
        "totalInitialMargin": plain(initial),
        "totalMaintenanceMargin": plain(maintenance),
        "totalInitialMarginByMp": plain(initial),
        "totalMaintenanceMarginByMp": plain(maintenance),
        "coin": [coin_row(account, coin) for coin in coins],
        "accountLTV": "0",
        "accountType": "UNIFIED",
    }


def _rate(part: Decimal, whole: Decimal) -> str:
    return plain((part / whole).quantize(Decimal("0.0001"))) if whole > 0 else "0"


def greeks_row(account: Account, base: str) -> dict[str, Any]:
    """Build a row of `greeks` for a base coin."""
    size = sum(
        (each.size for each in account.open_positions() if each.instrument.base == base
         and each.instrument.category == "option"),
        ZERO,
    )  # fmt: skip
    return {
        "baseCoin": base,
        "totalDelta": plain(size / 2),
        "totalGamma": plain(size * Decimal("0.00001")),
        "totalVega": plain(size * 100),
        "totalTheta": plain(size * -40),
    }
