"""What goes over the wire of subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StringConstraints

from ws_gateway.control.live import LiveSubscription
from ws_gateway.control.schemas import AccountName, ServiceName, Symbol
from ws_gateway.control.wishes import Wish
from ws_gateway.domain.subscription import Delivery, SubscriptionState
from ws_gateway.domain.topic import Category, Channel
from ws_gateway.ports.store import SubscriptionFilter

MAX_TTL_SECONDS = 604_800
"""Longest lease, a week; as in the schema."""

MAX_SET = 20_000
"""Most subscriptions of one PUT, whatever the quota."""

MAX_WAIT_SECONDS = 30.0


_STATES = {
    SubscriptionState.REQUESTED: "stored, and not with Bybit: not sent yet, no connection, or "
    "refused for now and to be asked for again",
    SubscriptionState.PENDING: "sent to Bybit; neither acknowledged nor refused",
    SubscriptionState.ACTIVE: "Bybit acknowledged it, or data come",
    SubscriptionState.REJECTED: "refused by Bybit or by a setting; `last_error` says whether it is "
    "asked for again. Post it again to have it asked for at once",
    SubscriptionState.STALLED: "it was active, and nothing comes although it should; it is asked "
    "for again, and its connection replaced",
    SubscriptionState.REMOVING: "nobody wants the topic any more, and Bybit has yet to confirm; "
    "only in the counts of `/health`",
    SubscriptionState.REMOVED: "gone; never shown",
}


def told_states() -> str:
    """Say what each state means."""
    return "; ".join(f"`{state}`: {_STATES[state]}" for state in SubscriptionState) + "."


class WishFields(BaseModel):
    """What a service asks for, whoever it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel = Field(
        description=(
            "Kind of data. Private, so they need a Bybit key: `order`, `execution`, "
            "`execution_fast` (sooner, with fewer fields, trades only), `position`, `balance`, "
            "`greeks`, `strategy`, `spread_order`, `spread_execution`, `dcp`."
        )
    )
    symbol: Symbol | None = None
    category: Category | None = Field(
        None,
        description=(
            "Product line; without it, it is found by the symbol. It narrows `order`, "
            "`execution`, `execution_fast` and `position` (not of spot), which are of all "
            "categories without it. `dcp` needs it: `spot`, `option`, or `linear` and `inverse`, "
            "which are one."
        ),
    )
    depth: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=10_000,
        description="Levels of `orderbook`; 50 (options and spreads: 25).",
    )
    interval: Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{1,4}$")] | None = Field(
        None, description="Candle length of `kline`: minutes, or D, W, M; 1 if absent."
    )
    delivery: Delivery | None = Field(
        None,
        description=(
            "`shared`: the queue of the event class, `ws-gateway.{event_class}`. `dedicated`: a "
            "queue of the service's own, `ws-gateway.{service}.{event_class}`, bound to what it "
            "asked for; it is removed with the last such subscription of that class."
        ),
    )
    ttl_seconds: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MAX_TTL_SECONDS,
        description=(
            "Makes it a lease: it goes by itself unless it is asked for again, or renewed, within "
            "so many seconds. Time in which the gateway or its database was away does not count. "
            "A `POST` that names it turns what stood for good into a lease; one that does not, or "
            "says null, leaves what there is. Only a `PUT` of the set makes a lease stay."
        ),
    )

    account: AccountName | None = Field(
        None,
        description="Whose data, of private channels: a name of `WSG_ACCOUNTS`. The first account, "
        "`WSG_ACCOUNT_NAME`, if absent.",
    )

    def to_wish(self, service: str) -> Wish:
        """Say it in the words of the use cases."""
        return Wish(
            channel=self.channel,
            requesting_service=service,
            symbol=self.symbol,
            category=self.category,
            depth=self.depth,
            interval=self.interval,
            delivery=self.delivery,
            ttl_seconds=self.ttl_seconds,
            account=self.account,
        )


class SubscriptionRequest(WishFields):
    """What a service asks for.

    Without `delivery` and `ttl_seconds` a new subscription is shared and stays, and one that stands
    keeps what it has.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "channel": "orderbook",
                    "symbol": "BTCUSDT",
                    "category": "linear",
                    "depth": 50,
                    "requesting_service": "strategy-1",
                },
                {
                    "channel": "kline",
                    "symbol": "ETHUSDT",
                    "interval": "5",
                    "requesting_service": "strategy-1",
                },
                {
                    "channel": "trades",
                    "symbol": "BTC",
                    "category": "option",
                    "requesting_service": "vol",
                },
                {"channel": "execution", "requesting_service": "risk"},
                {"channel": "order", "category": "linear", "requesting_service": "risk"},
                {"channel": "execution", "account": "hedge", "requesting_service": "risk"},
                {"channel": "system_status", "requesting_service": "watch"},
                {
                    "channel": "trades",
                    "symbol": "BTCUSDT",
                    "category": "linear",
                    "delivery": "dedicated",
                    "ttl_seconds": 60,
                    "requesting_service": "strategy-2",
                },
            ]
        },
    )

    requesting_service: ServiceName


class ServiceSetRequest(BaseModel):
    """All that a service wants; what it has and does not name here is removed.

    Without `delivery` a subscription is shared, without `ttl_seconds` it stays.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "subscriptions": [
                        {"channel": "trades", "symbol": "BTCUSDT", "category": "linear"},
                        {
                            "channel": "orderbook",
                            "symbol": "BTCUSDT",
                            "category": "linear",
                            "depth": 50,
                            "delivery": "dedicated",
                            "ttl_seconds": 60,
                        },
                    ]
                },
                {"subscriptions": []},
            ]
        },
    )

    # Thousands are judged piece by piece, in between which events go on: see `set_wishes`.
    subscriptions: list[Annotated[WishFields, SkipValidation]] = Field(
        max_length=MAX_SET, description="Each as for `POST`, less the service; in any order."
    )


def fields_of(live: LiveSubscription) -> dict[str, Any]:
    """Tell a subscription as it is now, in the fields of `SubscriptionAnswer`."""
    subscription = live.subscription
    topic = subscription.topic
    is_book = topic.channel is Channel.ORDERBOOK
    return {
        "id": subscription.id,
        "topic": topic.name,
        "channel": topic.channel,
        "category": topic.category,
        "symbol": topic.symbol,
        "account": live.account,
        "depth": int(topic.parameter) if is_book and topic.parameter else None,
        "interval": topic.parameter if topic.channel is Channel.KLINE else None,
        "delivery": subscription.delivery,
        "requesting_service": subscription.requesting_service,
        "chosen_by": subscription.chosen_by,
        "state": subscription.state,
        "last_error": subscription.last_error,
        "created_at": subscription.created_at,
        "state_since": subscription.state_since,
        "connections": live.connections,
        "events": live.events,
        "last_event_at": live.last_event_at,
        "services": live.services,
        "queue": live.queue,
        "ttl_seconds": subscription.ttl_seconds,
        "expires_at": subscription.expires_at,
    }


class SubscriptionAnswer(BaseModel):
    """A subscription that stands."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "01999e4d-5a30-7c12-9a44-2f1be3d0c7a1",
                    "topic": "orderbook.50.BTCUSDT",
                    "channel": "orderbook",
                    "category": "linear",
                    "symbol": "BTCUSDT",
                    "account": None,
                    "depth": 50,
                    "interval": None,
                    "delivery": "shared",
                    "requesting_service": "strategy-1",
                    "chosen_by": "explicit",
                    "state": "active",
                    "last_error": None,
                    "created_at": "2026-10-01T12:00:00Z",
                    "state_since": "2026-10-01T12:00:01Z",
                    "connections": ["linear"],
                    "events": 48211,
                    "last_event_at": "2026-10-01T12:40:07.112034Z",
                    "services": 2,
                    "queue": "ws-gateway.orderbook",
                    "ttl_seconds": None,
                    "expires_at": None,
                }
            ]
        },
    )

    id: UUID
    topic: str = Field(description="Bybit's own text.", examples=["orderbook.50.BTCUSDT"])
    channel: Channel
    category: Category | None = Field(description="Null where the topic is of none or of several.")
    symbol: str | None
    account: str | None = Field(description="Whose data; null where the channel is public.")
    depth: int | None = Field(description="Levels of an order book, else null.")
    interval: str | None = Field(description="Length of candles, else null.")
    delivery: Delivery = Field(description="Which queue the service reads.")
    requesting_service: str
    chosen_by: str = Field(description="Why this category: `explicit`, or what the symbol told.")
    state: SubscriptionState = Field(description=told_states())
    last_error: str | None = Field(
        description="Why the state is what it is, where that needs words, in any state but "
        "`active`: Bybit's own and what they mean, when it is asked for again, the setting that "
        "forbids it, or why there is no connection."
    )
    created_at: datetime
    state_since: datetime = Field(description="Since when it is in this state.")
    connections: list[str] = Field(
        description="Names of the connections that carry the topic, as in `/api/v1/connections`."
    )
    events: int = Field(
        description="Events of the topic that were read from Bybit since the gateway started, for "
        "whomever; markers and repeats are not counted. While RabbitMQ is away they rise and wait: "
        "`/health` says what is delivered."
    )
    last_event_at: datetime | None = Field(description="When the newest of them was read.")
    services: int = Field(
        description="How many services want the topic: it is unsubscribed at Bybit when the last "
        "of them leaves."
    )
    queue: str = Field(
        description="Where its events arrive. A `dedicated` one that is asked for while RabbitMQ "
        "is away is declared when it is back."
    )
    ttl_seconds: int | None = Field(description="Length of the lease; null if it stays.")
    expires_at: datetime | None = Field(description="When the lease ends unless it is renewed.")

    @classmethod
    def of(cls, live: LiveSubscription) -> Self:
        """Show a subscription as it is now."""
        return cls(**fields_of(live))


class SubscriptionList(BaseModel):
    """Part of a list, in order of creation."""

    items: list[SubscriptionAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` to go on; null at the end.")


class ListQuery(BaseModel):
    """Filters narrow together; unknown ones are refused, so that a typing error is not a match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requesting_service: ServiceName | None = None
    channel: Channel | None = Field(None, description="Only this kind of data.")
    category: Category | None = Field(None, description="Only this product line.")
    symbol: Symbol | None = None
    account: AccountName | None = Field(None, description="Only private data of this account.")
    state: SubscriptionState | None = Field(None, description="Only what is in this state now.")
    limit: int = Field(100, ge=1, le=500, description="Most items in the answer.")
    cursor: str | None = Field(
        None, max_length=64, description="`next_cursor` of the answer before; opaque."
    )

    def to_filter(self) -> SubscriptionFilter:
        """Say it in the words of the store."""
        return SubscriptionFilter(
            requesting_service=self.requesting_service,
            channel=self.channel,
            category=self.category,
            symbol=self.symbol,
            account=self.account,
            state=self.state,
        )


class ServiceRemoval(BaseModel):
    """What the removal of a service's subscriptions did."""

    requesting_service: str
    removed: int = Field(description="How many subscriptions it had.")


class ServiceSetAnswer(BaseModel):
    """What making a service's whole set true did."""

    requesting_service: str
    added: list[SubscriptionAnswer] = Field(description="New; Bybit is asked where need be.")
    removed: list[SubscriptionAnswer] = Field(
        description="As they were just before, state included; no longer wanted."
    )
    changed: list[SubscriptionAnswer] = Field(
        description="Standing before, with another `delivery` or `ttl_seconds`. Where one became "
        "`dedicated`, its topic's order book, ticker or other state begins anew with a marker and "
        "a snapshot, for every reader of it; else data flow on undisturbed."
    )
    unchanged: int = Field(description="How many stood as wanted; their leases were renewed.")


class RenewalAnswer(BaseModel):
    """What a renewal found."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "requesting_service": "strategy-2",
                    "renewed": 12,
                    "first_expires_at": "2026-10-01T12:01:00Z",
                }
            ]
        }
    )

    requesting_service: str
    renewed: int = Field(
        description="How many leases it has, begun anew; fewer than expected means that some ended."
    )
    first_expires_at: datetime | None = Field(description="When the first ends; null without any.")
