"""What Bybit says of each account's key: whether it is known, what it may read, until when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from ws_gateway.account.reconcile_plan import (
    POSITIONED,
    execution_queries,
    order_queries,
    position_queries,
)
from ws_gateway.config import Settings
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.doctor.talk import talk, way_to
from ws_gateway.doctor.term import FEW_DAYS, MANY_DAYS, in_words
from ws_gateway.domain.private_list import Listing, ListQuery
from ws_gateway.domain.topic import PRIVATE_CATEGORIES, Category, Channel
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.identity import TraceIds
from ws_gateway.venue.account_lists import AccountLists
from ws_gateway.venue.account_rest import AccountRest
from ws_gateway.venue.auth import Credentials, signature, where_it_is_set
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.rest import BybitRest, KeyInformation, RestRefused

_PRODUCTS = PRIVATE_CATEGORIES[Channel.ORDER]
_OPTION_COIN = "BTC"  # any: what matters is whether the list is told at all
_GRANTED_BY = {
    Category.SPOT: ("Spot", {"SpotTrade"}),
    Category.LINEAR: ("ContractTrade", {"Order", "Position"}),
    Category.INVERSE: ("ContractTrade", {"Order", "Position"}),
    Category.OPTION: ("Options", {"OptionsTrade"}),
}
"""Which permissions a product line is about (Bybit v5 docs, Get API Key Information)."""

_MISSING = "venue_permission_missing"
_EXPIRED_CODES = frozenset({33_004, -2015})
_LOGIN_VALIDITY_MS = 10_000
_GRANT = (
    "grant it at Bybit, read-only: orders and positions of contracts, spot, options (its page calls"
    " them Unified Trading)"
)
_RENEW = "renew it at Bybit, and give it in WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET"


async def check_keys(
    settings: Settings, rest: BybitRest | None, clock: VenueClock
) -> list[Finding]:
    """Look at every account's key.

    Args:
        settings: name the accounts.
        rest: who is asked; None if it is away.
        clock: what the venue's shows.
    """
    pairs = _credentials(settings)
    if not pairs:
        why = "WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET are unset: public data only"
        return [skipped(check, why) for check in ("key", "permissions", "expiry", "login")]
    found = []
    for each in pairs:
        of_one = [
            *(_unasked("REST is away") if rest is None else await _check_key(rest, each, clock)),
            await _check_login(settings, each, clock),
        ]
        if len(pairs) > 1:
            name = each.account or settings.account_name
            of_one = [replace(one, account=name) for one in of_one]
        found += of_one
    return found


def _unasked(why: str) -> list[Finding]:
    return [skipped(check, why) for check in ("key", "permissions", "expiry")]


async def _check_key(rest: BybitRest, credentials: Credentials, clock: VenueClock) -> list[Finding]:
    shown, account = credentials.shown, credentials.account
    try:
        known = await rest.key_information(credentials, clock.now_ms())
    except (VenueLost, Rejected) as exc:
        remedy = (
            "check WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET, their environment, and the "
            "addresses the key is bound to"
        )
        if isinstance(exc, RestRefused) and exc.ret_code in _EXPIRED_CODES:
            remedy = _RENEW
        remedy = where_it_is_set(remedy, account)
        found = failed("key", f"key {shown}: {exc}", remedy)
        return [found, *_unasked("Bybit does not take the key")[1:]]
    refused, unread = await _unread_lists(rest, credentials, clock)
    return [
        judge_key(known, shown),
        judge_permissions(known, refused, unread),
        judge_expiry(known, datetime.now(UTC), account),
    ]


def judge_key(known: KeyInformation, shown: str) -> Finding:
    """Say what a key that Bybit knows could do.

    Args:
        known: what Bybit says of it.
        shown: the key, as far as it may be shown.
    """
    bound = ", ".join(known.ips) or "no address"
    kind = "read-only" if known.read_only else "may trade"
    said = f"key {shown} is known ({kind}); bound to {bound}"
    if not known.read_only:
        return warning("key", said, "a read-only key is enough, and cannot lose money")
    return ok("key", said)


def judge_permissions(
    known: KeyInformation, refused: Sequence[str], unread: Sequence[str] = ()
) -> Finding:
    """Say whether a key may read what the gateway reads.

    Args:
        known: what Bybit says of it.
        refused: lists that Bybit does not let it read.
        unread: lists that could not be read for another reason, with it.
    """
    lacking = [
        f"{product} ({', '.join(sorted(names))})"
        for product, names in dict(_GRANTED_BY.values()).items()
        if not names <= set(known.permissions.get(product, ()))
    ]
    may = ", ".join(name for name, rights in sorted(known.permissions.items()) if rights)
    said = f"may {may or 'nothing'}"
    if refused:
        return failed("permissions", f"{said}; Bybit refuses it {', '.join(refused)}", _GRANT)
    if len(lacking) == len(dict(_GRANTED_BY.values())):
        return failed("permissions", f"{said}; it lacks {', '.join(lacking)}", _GRANT)
    if lacking:
        return warning("permissions", f"{said}; it lacks {', '.join(lacking)}", _GRANT)
    if unread:
        return warning(
            "permissions", f"{said}; not read: {'; '.join(unread)}", "look again a little later"
        )
    return ok("permissions", f"{said}; orders, executions, positions and the wallet can be read")


def judge_expiry(known: KeyInformation, now: datetime, account: str | None = None) -> Finding:
    """Say until when a key is good.

    Args:
        known: what Bybit says of it.
        now: aware.
        account: the further account it is of, None for the first.
    """
    renew = where_it_is_set(_RENEW, account)
    try:
        ends_at = known.ends_at
    except ValueError:
        said = f"Bybit tells an end that cannot be read: {known.expired_at!r}"
        return warning("expiry", said, "see at Bybit how long the key is good")
    if ends_at is None:
        return ok("expiry", "the key does not end")
    left = ends_at - now
    said = f"the key {in_words(ends_at, left)}"
    if left < FEW_DAYS:
        return failed("expiry", said, f"{renew}; there are no private facts without it")
    if left < MANY_DAYS:
        return warning("expiry", said, renew)
    return ok("expiry", said)


async def _unread_lists(
    rest: BybitRest, credentials: Credentials, clock: VenueClock
) -> tuple[list[str], list[str]]:
    """Read one page of every list the gateway reads; answers what was refused, and what failed."""
    ids = TraceIds()
    account = AccountRest(rest, clock, credentials, clock_us=clock_us, new_trace_id=ids)
    lists = AccountLists(account, clock_us=clock_us, new_trace_id=ids)
    asking: list[tuple[str, Callable[[], Awaitable[object]]]] = [("the wallet", account.wallet)]
    for query in _queries():
        name = f"{query.listing.replace('_', ' ')} of {query.category}"
        asking.append((name, partial(lists.page, query)))
    refused, unread = [], []
    for name, ask in asking:
        try:
            await ask()
        except Rejected as exc:
            if exc.code == _MISSING:
                refused.append(name)
            else:
                unread.append(f"{name} ({exc})")
        except VenueLost as exc:
            unread.append(f"{name} ({exc})")
            break  # the others would be waited for as long
    return refused, unread


def _queries() -> list[ListQuery]:
    """Name one question of each list and product line."""
    found = []
    for category in _PRODUCTS:
        found.append(order_queries(Listing.OPEN_ORDERS, category)[0])
        found.append(execution_queries(category, [_OPTION_COIN])[0])
        if category in POSITIONED:
            found.append(position_queries(category)[0])
    return found


async def _check_login(settings: Settings, credentials: Credentials, clock: VenueClock) -> Finding:
    url = f"{settings.private_ws_url}/v5/private"
    expires = clock.now_ms() + _LOGIN_VALIDITY_MS
    sign = signature(credentials.secret, expires)
    request = f'{{"req_id":"doctor","op":"auth","args":["{credentials.key}",{expires},"{sign}"]}}'
    answer = await talk(url, request.encode())
    if isinstance(answer, str):
        return failed("login", answer, way_to(url))
    words, took = answer
    if b'"success":true' in words.replace(b" ", b""):
        return ok("login", f"{url} takes the login within {took:.0f} ms")
    said = words.decode("utf-8", "replace")[:200]
    for secret in (credentials.secret, credentials.key, sign):
        said = said.replace(secret, "…")
    return failed("login", f"{url}: {said}", "see the key above; its secret may be wrong")


def _credentials(settings: Settings) -> list[Credentials]:
    """Return the pair of each account, the first one's first."""
    if settings.bybit_api_key is None or settings.bybit_api_secret is None:
        return []
    first = Credentials(
        settings.bybit_api_key.get_secret_value(), settings.bybit_api_secret.get_secret_value()
    )
    return [
        first,
        *(Credentials(one.key, one.secret, one.name) for one in settings.further_accounts),
    ]
