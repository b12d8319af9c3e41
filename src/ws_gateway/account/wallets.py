"""The venue's wallet record, read coin by coin: what is wrong with one keeps no other back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from ws_gateway.domain.amount import EXACT, ZERO, read_amount
from ws_gateway.domain.balance import (
    BrokenRule,
    CoinAmounts,
    MarginAmounts,
    check_coin,
    check_margin,
)

_MOST_COINS = 2_000


def _venue_name(name: str) -> str:
    first, *words = name.split("_")
    return first + "".join(_UPPER.get(word, word.capitalize()) for word in words)


_UPPER = {"im": "IM", "mm": "MM", "upl": "UPL"}


class _Wallet(msgspec.Struct, rename=_venue_name):
    coin: list[msgspec.Raw]
    account_type: str = ""


class _Totals(msgspec.Struct, rename=_venue_name):
    total_equity: str = ""
    total_wallet_balance: str = ""
    total_margin_balance: str = ""
    total_available_balance: str = ""
    total_perp_upl: str = ""
    total_initial_margin: str = ""
    total_maintenance_margin: str = ""
    account_im_rate: str = ""
    account_mm_rate: str = ""


class _Coin(msgspec.Struct, rename=_venue_name):
    coin: str
    wallet_balance: str = ""
    equity: str = ""
    usd_value: str = ""
    free: str = ""
    locked: str = ""
    borrow_amount: str = ""
    spot_borrow: str = ""
    accrued_interest: str = ""
    total_order_im: str = ""
    total_position_im: str = ""
    total_position_mm: str = ""
    unrealised_pnl: str = ""
    cum_realised_pnl: str = ""
    bonus: str = ""
    collateral_switch: bool | None = None


# Where these are all empty, the account never held the coin (v5 reference 11.6).
_TOLD = ("wallet_balance", "equity", "usd_value", "locked", "borrow_amount", "unrealised_pnl")

_decode_wallet = msgspec.json.Decoder(_Wallet).decode
_decode_totals = msgspec.json.Decoder(_Totals).decode
_decode_coin = msgspec.json.Decoder(_Coin).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a wallet that cannot be believed.

    Attributes:
        reason: stable word.
        raw: the part, as the venue wrote it.
    """

    reason: str
    detail: str
    raw: bytes


@dataclass(slots=True)
class WalletReading:
    """What a wallet record tells.

    Attributes:
        coins: valid ones, with the venue's own bytes.
        empty: coins the account never held, or holds no more, with the venue's own bytes.
        margin: the account's totals; None where none are told, or they are not valid.
    """

    coins: dict[str, tuple[CoinAmounts, bytes]] = field(default_factory=dict)
    empty: dict[str, bytes] = field(default_factory=dict)
    margin: MarginAmounts | None = None
    faults: list[Fault] = field(default_factory=list)

    def raw_coins(self) -> Iterator[tuple[str, bytes]]:
        """Give every coin that is not at fault with the venue's own bytes."""
        for coin, (_, raw) in self.coins.items():
            yield coin, raw
        yield from self.empty.items()


def read_wallet(payload: bytes) -> WalletReading:
    """Read a wallet record of the stream, or a row of the REST answer, which has the same fields.

    Raises:
        BrokenRule: the record as a whole cannot be read.
    """
    try:
        wallet = _decode_wallet(payload)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BrokenRule("balance_malformed", f"wallet: {exc}") from exc
    if len(wallet.coin) > _MOST_COINS:
        raise BrokenRule("balance_malformed", f"a wallet of {len(wallet.coin)} coins")
    reading = WalletReading()
    try:
        reading.margin = _margin(wallet.account_type, payload)
    except BrokenRule as exc:
        reading.faults.append(Fault(exc.reason, str(exc), with_coins(payload, ())))
    for raw in wallet.coin:
        try:
            _take_coin(reading, bytes(raw))
        except BrokenRule as exc:
            reading.faults.append(Fault(exc.reason, str(exc), bytes(raw)))
    return reading


def _take_coin(reading: WalletReading, raw: bytes) -> None:
    try:
        told = _decode_coin(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BrokenRule("balance_malformed", f"coin: {exc}") from exc
    if told.coin in reading.coins or told.coin in reading.empty:
        raise BrokenRule("balance_malformed", f"{told.coin[:40]}: told twice in one wallet")
    if not any(getattr(told, name) for name in _TOLD):
        reading.empty[told.coin] = raw
        return
    amounts = _amounts(told)
    check_coin(told.coin, amounts)
    reading.coins[told.coin] = amounts, raw


def _amounts(told: _Coin) -> CoinAmounts:
    read = _reader(told.coin[:40], told)
    wallet = read("wallet_balance")
    if wallet is None:
        raise BrokenRule("balance_malformed", f"{told.coin[:40]}: walletBalance is empty")
    locked, order, position = read("locked"), read("total_order_im"), read("total_position_im")
    bonus, free = read("bonus"), read("free")  # `free` is told of old spot accounts alone
    if free is None:
        bound = _sum(*(part for part in (locked, order, position, bonus) if part))
        free = EXACT.subtract(wallet, bound)
    return CoinAmounts(
        wallet_balance=wallet,
        available_balance=max(ZERO, free),
        frozen=None if locked is None and order is None else _sum(locked or ZERO, order or ZERO),
        locked=locked,
        order_margin=order,
        position_margin=position,
        maintenance_margin=read("total_position_mm"),
        equity=read("equity"),
        borrowed=read("borrow_amount"),
        spot_borrow=read("spot_borrow"),
        accrued_interest=read("accrued_interest"),
        unrealised_pnl=read("unrealised_pnl"),
        realised_pnl=read("cum_realised_pnl"),
        bonus=bonus,
        usd_value=read("usd_value"),
        is_collateral=told.collateral_switch,
    )


def _margin(account_type: str, payload: bytes) -> MarginAmounts | None:
    try:
        told = _decode_totals(payload)
    except msgspec.DecodeError as exc:
        raise BrokenRule("balance_malformed", f"account: {exc}") from exc
    if not any(msgspec.structs.astuple(told)):
        return None
    read = _reader("account", told)
    amounts = MarginAmounts(
        account_type=account_type[:32],
        total_equity=read("total_equity"),
        total_wallet_balance=read("total_wallet_balance"),
        total_margin_balance=read("total_margin_balance"),
        total_available_balance=read("total_available_balance"),
        total_unrealised_pnl=read("total_perp_upl"),
        total_initial_margin=read("total_initial_margin"),
        total_maintenance_margin=read("total_maintenance_margin"),
        initial_margin_rate=read("account_im_rate"),
        maintenance_margin_rate=read("account_mm_rate"),
    )
    check_margin(amounts)
    return amounts


def _reader(whose: str, told: msgspec.Struct) -> Callable[[str], Decimal | None]:
    """Return what reads a record's amounts by name, and names the one that is none."""

    def read(name: str) -> Decimal | None:
        try:
            return read_amount(getattr(told, name))
        except ValueError as exc:
            raise BrokenRule("balance_malformed", f"{whose}: {_venue_name(name)}: {exc}") from exc

    return read


def _sum(*parts: Decimal) -> Decimal:
    total = ZERO
    for part in parts:
        total = EXACT.add(total, part)
    return total


def with_coins(payload: bytes, coins: Iterable[bytes]) -> bytes:
    """Return the record with these coins in place of its own, everything else untouched."""
    fields = _decode_fields(payload)
    fields["coin"] = msgspec.Raw(b"[" + b",".join(coins) + b"]")
    return msgspec.json.encode(fields)
