"""What a simulator can be told at construction, and the texts nobody has documented."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

FIRST_ACCOUNT = "main"

Clock = Callable[[], float]
"""Returns Unix time in seconds; injected so that a test can own time."""


class SimulatorError(Exception):
    """The simulator was asked for something it does not have; the text says what exists."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Refusals whose exact wording is undocumented and unobserved; change them freely.

    Attributes:
        invalid_key: private auth with an unknown key (a client library expects these words).
        invalid_signature: private auth with a wrong signature.
        wrong_environment: private auth with a key of another environment.
        expired_key: private auth with a key past its 90 days (the words REST has for 33004).
        ip_not_allowed: private auth from an address the key is not bound to (as REST's 10010).
        not_authorized: private subscribe before auth.
        spot_unknown_symbol: spot topic whose symbol does not exist (single observation).
        args_too_long: `args` above the documented 21,000 characters.
        too_many_option_args: more than the documented 2,000 topics on one option socket.
        mixed_private_forms: `order` and `order.linear` in one request (documented as forbidden).
    """

    invalid_key: str = "API key is invalid."
    invalid_signature: str = "Params Error"
    wrong_environment: str = "API key is invalid for this environment."
    expired_key: str = "Your api key has expired."
    ip_not_allowed: str = "Unmatched IP, please check your API key's bound IP addresses."
    not_authorized: str = "Request not authorized"
    spot_unknown_symbol: str = "Invalid symbol :[{topic}]"
    args_too_long: str = "error:args length exceeds the limit"
    too_many_option_args: str = "error:too many topics"
    mixed_private_forms: str = "error:mixed topics,topic:{topic}"


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """An account and its key pair; the pair is None where every login is refused."""

    name: str
    api_key: str | None = None
    api_secret: str | None = field(default=None, repr=False)


def read_account(text: str) -> AccountConfig:
    """Read `name:key:secret`.

    Raises:
        SimulatorError: it is none.
    """
    name, _, pair = text.partition(":")
    key, _, secret = pair.partition(":")
    if not (name and key and secret):
        raise SimulatorError("write an account as name:key:secret")
    return AccountConfig(name, key, secret)


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """Everything a simulator can be told; the defaults are the documented Bybit.

    Attributes:
        seed: the market, the ids and the trader are functions of it.
        rate: matching-engine ticks per second **of each watched symbol**. Every tick changes the
            book (both its best level and its depth) and 40 % of ticks print trades, so a topic
            sends at most `min(rate, 1000 / its push interval in ms)` frames per second:
            1,000 `orderbook.50` topics at rate 5 are about 5,000 frames per second. A symbol
            nobody subscribes to stands still, whatever the rate.
        linger_seconds: a symbol goes on for so long after its last subscriber left, so that REST
            has trades and candles that somebody missed.
        api_key: the first account's key; None refuses every login.
        api_secret: its secret.
        accounts: further accounts beside the first, which is called `main`; each has orders,
            positions, balances and a ledger of its own.
        symbols: extra synthetic linear symbols, `SIM0001USDT` and up, for load tests.
        hedge_symbols: linear symbols in hedge mode, which have a long and a short position.
        funding_every_seconds: open perpetual positions exchange funding this often; None is off.
        orders: a busy trader places so many orders of every kind from the start; 0 is none.
        order_rate: so many a second.
        trade_every_seconds: a background trader places a market order this often; None is off.
        ack_before_snapshot: whether the ack of a subscribe precedes the first snapshots.
        close_after_failed_auth: whether a refused login also ends the socket (undocumented).
        compression: negotiate permessage-deflate when a client offers it, as Bybit does.
        idle_timeout_seconds: documented 10 minutes without client ping and without server data.
        idle_scan_seconds: how often idleness is looked at (documented 30-second tick).
        connections_per_window: documented limit of new connections per IP.
        connection_window_seconds: its window.
        max_args_characters: documented limit of one request's `args`.
        option_args_per_connection: documented limit.
        rest_requests_per_second: per endpoint, for authenticated REST calls.
        max_backlog_bytes: a subscriber that lets this much pile up unread is cut off (1006).
        liquidation_every_seconds: mean time between liquidations of a watched symbol.
        request_log_size: how many client requests `Simulator.requests` remembers.
        uid: account number in private frame ids.
        clock: Unix time in seconds.
        ssl: serve `wss://` and `https://` with this context.
        recording: files or folders; they are played instead of a market.
        recording_speed: 1 is as it was, 0 as fast as the client reads.
        recording_patience_seconds: how long a playback waits for the client to subscribe.
        texts: refusal wordings that are guesses.
    """

    seed: int = 1
    rate: float = 20.0
    linger_seconds: float = 0.0
    api_key: str | None = None
    api_secret: str | None = None
    accounts: tuple[AccountConfig, ...] = ()
    symbols: int = 0
    hedge_symbols: tuple[str, ...] = ("XRPUSDT",)
    funding_every_seconds: float | None = None
    orders: int = 0
    order_rate: float = 100.0
    trade_every_seconds: float | None = None
    ack_before_snapshot: bool = True
    close_after_failed_auth: bool = False
    compression: bool = True
    idle_timeout_seconds: float = 600.0
    idle_scan_seconds: float = 30.0
    connections_per_window: int = 500
    connection_window_seconds: float = 300.0
    max_args_characters: int = 21_000
    option_args_per_connection: int = 2_000
    rest_requests_per_second: int = 50
    max_backlog_bytes: int = 8 * 1024 * 1024
    liquidation_every_seconds: float = 4.0
    request_log_size: int = 10_000
    uid: int = 100_000_001
    clock: Clock = time.time
    ssl: ssl.SSLContext | None = None
    recording: tuple[Path, ...] = ()
    recording_speed: float = 1.0
    recording_patience_seconds: float = 10.0
    texts: Texts = field(default_factory=Texts)

    def __post_init__(self) -> None:
        """Refuse numbers that would make a simulator that cannot run.

        Raises:
            SimulatorError: naming the first bad value.
        """
        if self.rate <= 0:
            raise SimulatorError(f"rate must be above 0, not {self.rate}")
        if not 0 <= self.symbols <= 9_999:  # noqa: PLR2004 - the names have four digits
            raise SimulatorError(f"symbols must be between 0 and 9999, not {self.symbols}")
        for name, number in (
            ("orders", self.orders),
            ("order_rate", self.order_rate),
            ("linger_seconds", self.linger_seconds),
        ):
            if number < 0:
                raise SimulatorError(f"{name} must not be below 0, not {number}")
        every = self.funding_every_seconds
        if every is not None and every <= 0:
            raise SimulatorError(f"funding_every_seconds must be above 0, not {every}")
        if (self.api_key is None) != (self.api_secret is None):
            raise SimulatorError("api_key and api_secret must be given together")
        first = AccountConfig(FIRST_ACCOUNT, self.api_key, self.api_secret)
        for what in ("name", "api_key"):
            words = [getattr(each, what) for each in (first, *self.accounts)]
            if len(set(words)) < len(words):
                raise SimulatorError(f"each account needs {what.replace('_', ' ')} of its own")
