"""The part of the control endpoint that is about the account: ledger, orders, key, cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec

from bybit_sim.busy import BusyTrader, Mix, OrderPlan
from bybit_sim.config import SimulatorError
from bybit_sim.cuts import Cuts
from bybit_sim.ledger import KINDS, Entry, Kind
from bybit_sim.party import Party
from bybit_sim.topics import PRIVATE_PATH, SOCKET_KINDS

_PAGE = 1_000
_LONGEST_PAGE = 20_000

Body = TypeVar("Body")
Number = Annotated[int, msgspec.Meta(ge=0)]


class ControlAnswer(NamedTuple):
    """An HTTP answer; the body is JSON."""

    status: int
    body: bytes


class OrdersAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sim/orders`; the fields are those of `OrderPlan`."""

    count: int
    rate: float = 100.0
    mix: Mix = "mixed"
    fills: int = 1
    seed: int = 1
    account: str | None = None


class RunsAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The query of `GET /sim/orders`, and the body of `POST /sim/funding`."""

    account: str | None = None


class CutAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sim/cut`."""

    path: str = PRIVATE_PATH
    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    within_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    seed: int = 1
    account: str | None = None


class KeyAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sim/key`; what is left out stays as it is."""

    permissions: dict[str, tuple[str, ...]] | None = None
    read_only: bool | None = None
    expires_in_seconds: float | msgspec.UnsetType | None = msgspec.UNSET
    account: str | None = None


class LedgerAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The query of `GET /sim/ledger`."""

    kind: Kind | None = None
    after: Number = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=_LONGEST_PAGE)] = _PAGE
    latest: bool = False
    account: str | None = None


class TradingVenue(Protocol):
    """What this part shows and moves."""

    cuts: Cuts

    def party(self, name: str | None = None) -> Party:
        """Return an account by its name, the first one without."""
        ...

    def now_ms(self) -> int:
        """Return server time in milliseconds."""
        ...


class AccountControl:
    """Answers `/sim/ledger`, `/sim/orders`, `/sim/funding`, `/sim/key` and `/sim/cut`."""

    def __init__(self, venue: TradingVenue) -> None:
        self._venue = venue
        self._answers: dict[tuple[str, str], Callable[[str, bytes], dict[str, Any]]] = {
            ("GET", "/sim/ledger"): self._ledger,
            ("GET", "/sim/orders"): self._orders,
            ("POST", "/sim/orders"): self._place,
            ("POST", "/sim/funding"): self._fund,
            ("POST", "/sim/key"): self._key,
            ("GET", "/sim/cut"): self._cuts,
            ("POST", "/sim/cut"): self._cut,
        }
        self.paths = sorted({path for _, path in self._answers})

    def answer(self, method: str, path: str, query: str, body: bytes) -> ControlAnswer | None:
        """Answer a request; None if the path is none of these."""
        if path not in self.paths:
            return None
        build = self._answers.get((method, path))
        if build is None:
            return json_answer(405, {"error": f"{method} is not possible here"})
        try:
            return json_answer(200, build(query, body))
        except (SimulatorError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
            return json_answer(400, {"error": str(exc)})

    def _ledger(self, query: str, _body: bytes) -> dict[str, Any]:
        asked = msgspec.convert(dict(parse_qsl(query)), LedgerAsked, strict=False)
        ledger = self._venue.party(asked.account).trading.ledger
        shown: dict[str, Any] = {
            "opening": {coin: str(amount) for coin, amount in ledger.opening.items()},
            "counts": {kind: ledger.counts()[kind] for kind in KINDS},
            "last": len(ledger.entries),
        }
        if asked.latest:
            kinds = KINDS if asked.kind is None else (asked.kind,)
            found = [
                entry_row(entry) | {"key": key}
                for kind in kinds
                for key, entry in ledger.all_latest(kind).items()
            ]
            return shown | {"entries": found, "next": None}
        chosen = ledger.after(asked.after, asked.kind, asked.limit)
        following = chosen[-1].number if len(chosen) == asked.limit else None
        return shown | {"entries": [entry_row(each) for each in chosen], "next": following}

    def _orders(self, query: str, _body: bytes) -> dict[str, Any]:
        asked = msgspec.convert(dict(parse_qsl(query)), RunsAsked, strict=False)
        runs = self._venue.party(asked.account).runs.all
        return {"runs": [run_row(number, each) for number, each in enumerate(runs, start=1)]}

    def _place(self, _query: str, body: bytes) -> dict[str, Any]:
        asked = _decode(body, OrdersAsked)
        plan = OrderPlan(asked.count, asked.rate, asked.mix, asked.fills, asked.seed)
        runs = self._venue.party(asked.account).runs
        begun = runs.begin(plan)
        return run_row(len(runs.all), begun)

    def _fund(self, _query: str, body: bytes) -> dict[str, Any]:
        asked = _decode(body, RunsAsked)
        return {"positions": self._venue.party(asked.account).trading.fund()}

    def _key(self, _query: str, body: bytes) -> dict[str, Any]:
        asked = _decode(body, KeyAsked)
        party, now_ms = self._venue.party(asked.account), self._venue.now_ms()
        if asked.permissions is not None:
            party.terms.grant(asked.permissions)
        if asked.read_only is not None:
            party.terms.is_read_only = asked.read_only
        if asked.expires_in_seconds is None:
            party.terms.expires_at = None
        elif asked.expires_in_seconds is not msgspec.UNSET:
            party.terms.expires_at = now_ms / 1000 + asked.expires_in_seconds
        return party.terms.row(party.of.api_key, party.uid, now_ms)

    def _cuts(self, _query: str, _body: bytes) -> dict[str, Any]:
        cuts = self._venue.cuts
        return {"planned": cuts.planned, "done": cuts.done, "sockets": cuts.sockets}

    def _cut(self, query: str, body: bytes) -> dict[str, Any]:
        asked = _decode(body, CutAsked)
        if asked.path not in SOCKET_KINDS:
            raise SimulatorError(
                f"no sockets at path {asked.path!r}; there are: {', '.join(SOCKET_KINDS)}"
            )
        if asked.account is not None:
            self._venue.party(asked.account)
        if asked.times == 1 and not asked.within_seconds:
            self._venue.cuts.cut(asked.path, asked.account)
        elif asked.account is not None:
            raise SimulatorError("cuts to come are of all accounts")
        else:
            self._venue.cuts.plan(asked.path, asked.times, asked.within_seconds, asked.seed)
        return self._cuts(query, body)


def entry_row(entry: Entry) -> dict[str, Any]:
    """Show one entry of the ledger."""
    return {
        "number": entry.number,
        "kind": entry.kind,
        "time_ms": entry.time_ms,
        "keys": entry.keys,
        "told": entry.told,
        "row": msgspec.Raw(entry.raw),
    }


def run_row(number: int, run: BusyTrader) -> dict[str, Any]:
    """Show one busy trader."""
    return {
        "run": number,
        "count": run.plan.count,
        "placed": run.placed,
        "open": run.open,
        "done": run.is_done,
    }


def json_answer(status: int, answer: Mapping[str, Any]) -> ControlAnswer:
    """Make an answer."""
    return ControlAnswer(status, msgspec.json.encode(answer))


def _decode(body: bytes, kind: type[Body]) -> Body:
    return msgspec.json.decode(body.strip() or b"{}", type=kind)
