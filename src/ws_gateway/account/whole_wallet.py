"""The whole wallet over REST, with the coins that went to zero, which it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from ws_gateway.account.wallets import read_wallet
from ws_gateway.domain.balance import BrokenRule
from ws_gateway.domain.event import Observation
from ws_gateway.errors import Rejected
from ws_gateway.ports.account import WalletSource

_COINS_PER_CALL = 20
_UNKNOWN = "venue_parameter_refused"


async def read_whole_wallet(source: WalletSource, held: AbstractSet[str]) -> list[Observation]:
    """Read the wallet; coins that are held, as far as anybody knows, are asked for by name.

    REST tells those at zero only then (v5 reference 11.6). One that it neither lists nor knows by
    name, as its trade was ended, is at zero too.

    Raises:
        VenueLost: the venue is away or busy.
        Rejected: it refuses, or there is no key.
    """
    wallets = list(await source.wallet())
    named: set[str] = set()
    for fact in wallets:
        try:
            reading = read_wallet(fact.payload)
        except BrokenRule:
            continue  # the stage puts it into quarantine
        named.update(reading.coins, reading.empty)
    gone = sorted(held - named)
    for start in range(0, len(gone), _COINS_PER_CALL):
        wallets += await _by_name(source, gone[start : start + _COINS_PER_CALL], wallets[:1])
    return wallets


async def _by_name(
    source: WalletSource, coins: Sequence[str], like: Sequence[Observation]
) -> list[Observation]:
    try:
        return await source.wallet(coins)
    except Rejected as exc:
        if exc.code != _UNKNOWN:
            raise
        if len(coins) == 1:
            return [_without(fact, coins[0]) for fact in like]
    parts = [await _by_name(source, [coin], like) for coin in coins]
    return [fact for part in parts for fact in part]


def _without(fact: Observation, coin: str) -> Observation:
    """Say of a coin that nothing of it is held, as REST would."""
    payload = msgspec.json.encode({"accountType": "UNIFIED", "coin": [{"coin": coin}]})
    return msgspec.structs.replace(
        fact, event_id=f"{fact.topic.key}:gone:{coin}:{fact.timestamp}", payload=payload
    )
