"""Two sockets, one stream: the first copy wins, and either may die without a hole."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from support.pipeline_stage import BOOK, SECOND_US, TICKER, TOP, TRADES, Stage
from ws_gateway.domain.event import GapReason, Kind, Observation
from ws_gateway.domain.topic import Topic
from ws_gateway.venue.merge import Merge

SNAPSHOT, DELTA = Kind.SNAPSHOT, Kind.DELTA


@dataclass
class Joined:
    """Two sockets joined before a pipeline.

    Attributes:
        asked: snapshots asked of a socket, in order.
    """

    founders: tuple[str, ...] = ("a",)
    stage: Stage = field(default_factory=Stage)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build the merge."""
        self.merge = Merge(self.stage.runner, self.ask, self.founders)
        self.merge.join("b")

    def ask(self, leg: str, topic: Topic) -> None:
        """Take note."""
        assert topic == BOOK
        self.asked.append(leg)

    def tell(self, leg: str, kind: Kind, u: int, topic: Topic = BOOK, ts: int = 1) -> None:
        """Let a socket tell a fact."""
        self.merge.take(leg, fact(topic, kind, u, ts, self.stage.now_us))

    def book(self, leg: str, *ids: int) -> None:
        """Let a socket tell deltas."""
        for u in ids:
            self.tell(leg, DELTA, u)

    def lose(self, leg: str, topic: Topic = BOOK, *, others: bool = True) -> None:
        """Let a socket break."""
        self.merge.break_streams(
            leg, [topic], GapReason.DISCONNECT, "it broke", is_told_by_others=lambda _: others
        )


def fact(topic: Topic, kind: Kind, u: int | str, ts: int, now_us: int) -> Observation:
    """Build a fact whose identity is its number."""
    return Observation(
        topic, kind, f"{topic.key}:{kind}:{u}", topic.category, topic.symbol, ts, None, now_us,
        "0" * 32, u if topic.channel.value.startswith("orderbook") else None, b"{}",  # type: ignore[arg-type]
    )  # fmt: skip


def flowing() -> Joined:
    """Begin with a book that socket a told up to 10, and b in step with it."""
    joined = Joined(())
    joined.merge.join("a")
    joined.tell("a", SNAPSHOT, 10)
    joined.tell("b", SNAPSHOT, 10)
    joined.stage.outlet.taken.clear()
    return joined


# ── books ─────────────────────────────────────────────────────────────────────────────────────


def test_whoever_is_first_is_told_and_the_copy_falls_away() -> None:
    """Each update once, in order, with every copy counted."""
    joined = flowing()
    joined.book("a", 11)
    joined.book("b", 11, 12, 13)
    joined.book("a", 12, 13, 14)
    assert joined.stage.told() == ["delta 11", "delta 12", "delta 13", "delta 14"]
    assert joined.stage.counters.suppressed["duplicate"] == 4


def test_either_socket_may_die_without_a_hole() -> None:
    """Also the one that was ahead: the other tells what is missing, in order."""
    for dead, alive in (("a", "b"), ("b", "a")):
        joined = flowing()
        joined.book(dead, 11, 12)
        joined.lose(dead)
        joined.book(alive, 11, 12, 13)
        assert joined.stage.told() == ["delta 11", "delta 12", "delta 13"]


def test_the_loss_of_the_last_socket_is_marked() -> None:
    """When nobody is left, the stream is broken."""
    joined = flowing()
    joined.lose("a")
    joined.lose("b", others=False)
    assert joined.stage.told() == ["gap disconnect"]
    joined.tell("a", SNAPSHOT, 20)
    joined.book("a", 21)
    assert joined.stage.told()[1:] == ["resumed disconnect", "snapshot 20", "delta 21"]


def test_a_socket_that_joins_ahead_waits_for_what_lies_between() -> None:
    """Its snapshot and deltas are kept until the stream has come so far; none is told twice."""
    joined = Joined()
    joined.stage.snapshot(5)
    joined.stage.outlet.taken.clear()
    joined.book("a", 6)
    joined.tell("b", SNAPSHOT, 8)
    joined.book("b", 9)
    joined.book("a", 7, 8, 9, 10)
    joined.book("b", 10, 11)
    assert joined.stage.told() == [
        "delta 6", "delta 7", "snapshot 8", "delta 9", "delta 10", "delta 11",
    ]  # fmt: skip


def test_a_socket_that_joins_behind_tells_nothing_old() -> None:
    """Its snapshot is of the past; it is in step all the same."""
    joined = Joined()
    joined.stage.snapshot(5)
    joined.stage.outlet.taken.clear()
    joined.book("a", 6, 7)
    joined.tell("b", SNAPSHOT, 6)
    assert joined.merge.is_in_step("b", BOOK)
    joined.lose("a")
    joined.book("b", 7, 8)
    assert joined.stage.told() == ["delta 6", "delta 7", "delta 8"]


def test_what_nobody_can_tell_any_more_is_marked_and_skipped() -> None:
    """The socket that lagged dies: the other's snapshot is taken, with a marker before it."""
    joined = Joined()
    joined.stage.snapshot(5)
    joined.stage.outlet.taken.clear()
    joined.tell("b", SNAPSHOT, 8)
    joined.book("b", 9)
    assert joined.stage.told() == []
    joined.lose("a")
    assert joined.stage.told() == ["gap sequence", "resumed sequence", "snapshot 8", "delta 9"]


def test_nothing_waits_for_ever() -> None:
    """A socket that is silent although it counts as alive is waited for two seconds."""
    joined = Joined()
    joined.stage.snapshot(5)
    joined.stage.outlet.taken.clear()
    joined.book("a", 6)
    joined.tell("b", SNAPSHOT, 8)
    joined.stage.now_us += 3 * SECOND_US
    joined.book("b", 9, 10)
    assert joined.stage.told()[-3:] == ["snapshot 8", "delta 9", "delta 10"]


def test_a_hole_on_one_socket_is_mended_there_and_noticed_nowhere() -> None:
    """The other tells what it missed; its own snapshot brings it back in step."""
    joined = flowing()
    joined.book("b", 11, 13, 14)
    joined.book("a", 11, 12, 13, 14)
    assert joined.asked == ["b"]
    joined.tell("b", SNAPSHOT, 14)
    joined.lose("a")
    joined.book("b", 15)
    assert joined.stage.told() == [f"delta {u}" for u in range(11, 16)]


def test_a_hole_on_both_sockets_is_marked_and_mended_by_one_snapshot() -> None:
    """What the venue never sent, nobody can tell."""
    joined = flowing()
    joined.book("a", 12)
    joined.book("b", 12)
    assert joined.stage.told() == ["gap sequence"]
    assert joined.stage.resync.asked == [BOOK]
    joined.merge.await_snapshot("a", BOOK)
    joined.book("b", 13)
    joined.tell("a", SNAPSHOT, 13)
    joined.tell("b", SNAPSHOT, 12)
    joined.book("a", 14)
    assert joined.stage.told()[1:] == ["resumed sequence", "snapshot 13", "delta 14"]


def test_a_restart_of_the_venue_is_told_once() -> None:
    """Both sockets begin again with 1; the stream does so once, with its marker."""
    joined = flowing()
    joined.tell("a", SNAPSHOT, 1)
    joined.book("b", 11)
    joined.book("a", 2)
    joined.tell("b", SNAPSHOT, 1)
    joined.book("b", 2, 3)
    joined.book("a", 3)
    assert joined.stage.told() == [
        "gap sequence", "resumed sequence", "snapshot 1", "delta 2", "delta 3",
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_one_good_socket_is_enough_whatever_the_other_does(data: st.DataObject) -> None:
    """Lags, holes, losses and returns of b leave no marker and lose no update."""
    joined = flowing()
    newest, at = 10, {"a": 10, "b": 10}
    b_is_up = True
    for _ in range(data.draw(st.integers(1, 40))):
        step = data.draw(
            st.sampled_from(["new", "a", "b", "b", "hole", "lose", "return", "mended"])
        )
        if step == "new":
            newest += data.draw(st.integers(1, 3))
        elif step == "a" and at["a"] < newest:
            at["a"] += 1
            joined.book("a", at["a"])
        elif step == "b" and b_is_up and at["b"] < newest:
            at["b"] += 1
            joined.book("b", at["b"])
        elif step == "hole" and b_is_up and at["b"] < newest:
            at["b"] += 1
        elif step == "lose" and b_is_up:
            b_is_up = False
            joined.lose("b")
        elif (step == "return" and not b_is_up) or (step == "mended" and "b" in joined.asked):
            b_is_up = True
            joined.asked.clear()
            at["b"] = newest
            joined.tell("b", SNAPSHOT, newest)
    while at["a"] < newest:
        at["a"] += 1
        joined.book("a", at["a"])
    told = [word.replace("snapshot", "delta") for word in joined.stage.told()]
    assert told == [f"delta {u}" for u in range(11, newest + 1)]


# ── everything else ───────────────────────────────────────────────────────────────────────────


def trades(joined: Joined, leg: str, *ids: int) -> None:
    """Let a socket tell trades."""
    for one in ids:
        joined.merge.take(leg, fact(TRADES, Kind.UPDATE, f"t{one}", one, joined.stage.now_us))


def ids_of(joined: Joined, topic: Topic) -> list[str]:
    """List the identities a consumer got, markers left aside."""
    events = joined.stage.outlet.of(topic)
    return [e.observation.event_id.rpartition(":")[2] for e in events if not e.is_marker]


def test_a_trade_is_told_once_by_whoever_is_first() -> None:
    """By identity; either socket may die without a hole or a repeat."""
    joined = Joined()
    trades(joined, "a", 1, 2)
    trades(joined, "b", 1, 2, 3)
    joined.lose("b", TRADES)
    trades(joined, "a", 3, 4)
    assert ids_of(joined, TRADES) == ["t1", "t2", "t3", "t4"]
    assert joined.stage.markers(TRADES)[1:] == []


def test_the_same_trade_told_twice_by_one_socket_is_told_once() -> None:
    """While sockets are joined, a repeat is a copy like any other."""
    joined = Joined()
    trades(joined, "a", 1, 1)
    trades(joined, "b", 1)
    assert ids_of(joined, TRADES) == ["t1"]


def test_an_older_price_does_not_come_after_a_newer_one() -> None:
    """Where sockets are told at different moments, the laggard's value is of the past."""
    joined = Joined()
    for leg, ts in (("a", 5), ("b", 4), ("b", 6)):
        joined.tell(leg, Kind.UPDATE, ts, TICKER, ts)
        joined.tell(leg, SNAPSHOT, ts, TOP, ts)
    assert ids_of(joined, TICKER) == ["5", "6"]
    assert ids_of(joined, TOP) == ["5", "6"]


def test_a_venue_clock_that_is_set_back_silences_nothing() -> None:
    """No socket lags by so much: the time is a new one."""
    joined = Joined()
    joined.tell("a", Kind.UPDATE, 1, TICKER, 60_000)
    joined.tell("a", Kind.UPDATE, 2, TICKER, 30_000)
    joined.tell("b", Kind.UPDATE, 3, TICKER, 30_100)
    assert ids_of(joined, TICKER) == ["1", "2", "3"]


def test_a_socket_that_is_away_is_not_waited_for() -> None:
    """What the other tells meanwhile is not remembered for it."""
    joined = Joined()
    trades(joined, "a", 1)
    joined.lose("b", TRADES)
    trades(joined, "a", *range(2, 100))
    (stream,) = joined.merge._facts.values()
    assert stream._awaited == {}
