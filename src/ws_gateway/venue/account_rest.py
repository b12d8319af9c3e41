"""An account's facts read over REST, as the same facts that the stream tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ws_gateway.domain.event import Observation, Source
from ws_gateway.domain.topic import Channel, build_topic
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.venue.auth import Credentials, where_it_is_set
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.observations import private_fact
from ws_gateway.venue.rest import BybitRest, RestAway, RestRefused

_SKEW = frozenset({-1, 10_002})

_CODE_AND_REMEDY = {
    -1: ("venue_clock_skew", "let this machine keep its time (NTP)"),
    401: ("venue_key_refused", "check WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET"),
    10_001: ("venue_parameter_refused", "this is a defect of the gateway; report it"),
    10_002: ("venue_clock_skew", "let this machine keep its time (NTP)"),
    10_003: (
        "venue_key_refused",
        "check WSG_BYBIT_API_KEY and that it is of the environment WSG_BYBIT_ENVIRONMENT",
    ),
    10_004: (
        "venue_key_refused",
        "check WSG_BYBIT_API_SECRET: it is not the secret of this key",
    ),
    10_005: (
        "venue_permission_missing",
        "let the key read orders, positions and the wallet, at Bybit",
    ),
    10_007: ("venue_key_refused", "check key and secret, and what Bybit says of the account"),
    10_008: ("venue_account_refused", "see at Bybit why the account is banned"),
    10_009: ("venue_account_refused", "this address is in a region that Bybit does not serve"),
    10_010: ("venue_address_refused", "add this machine's address to the key at Bybit"),
    10_024: ("venue_account_refused", "see at Bybit what the account may do"),
    10_027: ("venue_account_refused", "see at Bybit what the account may do"),
    10_028: ("venue_account_kind", "only unified accounts can be read; upgrade it at Bybit"),
    100_028: ("venue_account_kind", "only unified accounts can be read; upgrade it at Bybit"),
    33_004: ("venue_key_expired", "renew the key at Bybit"),
    -2015: ("venue_key_expired", "renew the key at Bybit"),
}
"""What a refusal's number means, and what to do (v5 reference 12)."""


class _List(msgspec.Struct):
    rows: list[msgspec.Raw] = msgspec.field(name="list")


class AccountRest:
    """Reads one account; every call may raise `VenueLost` (later) and `Rejected` (as it stands)."""

    def __init__(
        self,
        rest: BybitRest,
        clock: VenueClock,
        credentials: Credentials | None,
        *,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        account = None if credentials is None else credentials.account
        self._wallet = build_topic(Channel.BALANCE, account=account)
        self._rest = rest
        self._clock = clock
        self._credentials = credentials
        self._clock_us = clock_us
        self._new_trace_id = new_trace_id

    def renew_credentials(self, credentials: Credentials) -> None:
        """Sign with these from now on."""
        self._credentials = credentials

    async def wallet(self, coins: Sequence[str] = ()) -> list[Observation]:
        """Read the wallet; without coins, all that are not at zero."""
        query = "accountType=UNIFIED" + (f"&coin={','.join(coins)}" if coins else "")
        result, told_at = await self.read("/v5/account/wallet-balance", query)
        received_at, trace_id = self._clock_us(), self._new_trace_id()
        return [
            private_fact(self._wallet, row, told_at, received_at, trace_id, source=Source.REST)
            for row in _rows(result)
        ]

    async def read(self, path: str, query: str) -> tuple[msgspec.Raw, int]:
        """Ask for something of the account; answers the result and the venue's time, ms."""
        credentials = self._credentials
        if credentials is None:
            raise Rejected(
                "no account is configured: set WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET",
                code="credentials_missing",
            )
        if self._clock.measured_at is None:
            await self._measure()
        try:
            try:
                return await self._rest.signed(path, query, credentials, self._clock.now_ms())
            except RestRefused as exc:
                if exc.ret_code not in _SKEW or not await self._measure():
                    raise
                return await self._rest.signed(path, query, credentials, self._clock.now_ms())
        except RestRefused as exc:
            code, remedy = _CODE_AND_REMEDY.get(
                exc.ret_code, ("venue_refused", "see what Bybit says of this number")
            )
            whose = "" if credentials.account is None else f" account {credentials.account}"
            remedy = where_it_is_set(remedy, credentials.account)
            raise Rejected(
                f"Bybit refused{whose} with {exc.ret_code} ({exc.words}): {remedy}", code=code
            ) from exc

    async def time_ms(self) -> int:
        """Return the venue's time; ours, where it was not to be had."""
        if self._clock.measured_at is None:
            await self._measure()
        return self._clock.now_ms()

    async def _measure(self) -> bool:
        """Measure the venue's clock; without it ours has to do."""
        try:
            await self._clock.measure()
        except (VenueLost, Rejected):
            return False
        return True


def _rows(result: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(result, type=_List).rows
    except msgspec.MsgspecError as exc:
        raise RestAway(f"an answer that cannot be read ({exc})") from exc
