"""Plain counters for the hot path: one addition per event, read by whoever reports them."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from ws_gateway.runtime.histogram import PATIENT_SECONDS, QUICK_SECONDS, Histograms

QUARANTINED = "quarantine"
"""Where quarantined frames are counted among what was routed."""


class Counters:
    """Where every observation ends up, so that nothing can vanish uncounted.

    At every moment, markers (which are of our own making) left aside:
    `received = confirmed + in_flight + spooled + suppressed + shed + rejected`.

    Attributes:
        received: observations taken from the venue, and those an earlier process had spooled.
        restored: the latter alone.
        confirmed: events the broker took responsibility for and routed.
        suppressed, shed, rejected: by reason.
        markers: gap and resumed markers made.
        gaps: gap markers among them, by reason.
        resyncs: fresh snapshots asked for, to mend a book.
        quarantined: unreadable frames, by reason (a frame is not an observation).
        resent, returned, nacked: what publishing met on the way.
        routed: messages the broker routed, markers included, by the key of their topic.
        refused: messages that some queue refused, while the others took them, likewise.
        latencies_us: newest receive→confirm times, µs.
        reconciled: facts that REST told and the stream had not, by event class.
        differing: those of them that no break of the stream explains.
        reconciliations: attempts to read what was missed, by how they ended.
    """

    __slots__ = (
        "confirmed",
        "differing",
        "gaps",
        "latencies_us",
        "markers",
        "nacked",
        "quarantined",
        "received",
        "reconciled",
        "reconciliations",
        "refused",
        "rejected",
        "resent",
        "restored",
        "resyncs",
        "returned",
        "routed",
        "shed",
        "suppressed",
    )

    def __init__(self) -> None:
        self.received = 0
        self.confirmed = 0
        self.suppressed: Counter[str] = Counter()
        self.shed: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.markers = 0
        self.gaps: Counter[str] = Counter()
        self.resyncs = 0
        self.quarantined: Counter[str] = Counter()
        self.resent = 0
        self.restored = 0
        self.returned = 0
        self.nacked = 0
        self.refused: defaultdict[str, int] = defaultdict(int)
        self.routed: defaultdict[str, int] = defaultdict(int)
        self.reconciled: Counter[str] = Counter()
        self.differing: Counter[str] = Counter()
        self.reconciliations: Counter[str] = Counter()
        self.latencies_us: deque[int] = deque(maxlen=8192)

    def latency_quantile(self, share: float) -> int | None:
        """Return the receive→confirm time in µs that `share` of the newest events stayed below."""
        if not self.latencies_us:
            return None
        ordered = sorted(self.latencies_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def settled(self) -> int:
        """Count the observations that have reached an end."""
        return self.confirmed + self.suppressed.total() + self.shed.total() + self.rejected.total()


class VenueTally:
    """What connecting to the venue met, kept by endpoint because connections come and go.

    Attributes:
        attempts: to connect, by endpoint.
        losses: failed attempts and lost connections, by endpoint and reason (`VenueLost`).
        login_failures: logins the venue did not take, by what was found to be wrong.
        stalls: topics that fell silent on a socket, by endpoint.
    """

    __slots__ = ("attempts", "login_failures", "losses", "stalls")

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.losses: Counter[tuple[str, str]] = Counter()
        self.login_failures: Counter[str] = Counter()
        self.stalls: Counter[str] = Counter()


class AccountTally:
    """What became of an account's private facts beside the events, for operators.

    Attributes:
        refused: records that cannot be true, or that the database does not take, by reason.
        stored: rows committed, by the table they went to; one that is written twice counts twice.
        lost: rows dropped.
        storing: time from the receipt of a push or an answer to its rows' commit, by source.
        readings: how long a reading of REST took, by how it ended: `done` or `failed`.
    """

    __slots__ = ("lost", "readings", "refused", "stored", "storing")

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()
        self.lost = 0
        self.storing = Histograms(QUICK_SECONDS)
        self.readings = Histograms(PATIENT_SECONDS)


class BackfillTally:
    """What became of gaps in trades and candles, for operators.

    Attributes:
        events: events told from REST, by event class.
        lacking: gaps that were not filled, or not wholly, by reason.
        waits: how long live facts waited for REST, by how it ended: `done` or `failed`.
    """

    __slots__ = ("events", "lacking", "waits")

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.lacking: Counter[str] = Counter()
        self.waits = Histograms(PATIENT_SECONDS)


@dataclass(slots=True)
class RecordingTally:
    """What came of the frames that were to be recorded; each number is changed by one thread only.

    Attributes:
        written: frames that are in files.
        missed: frames that found no room in the buffer.
        unwritten: frames the disk did not take.
        error: why the disk takes none now, None while it does.
        removed_files: oldest files that gave way to newer ones, or to others on the volume.
        free_bytes: on the volume, at the last look.
        kept_bytes: of them, those that stay free.
    """

    written: int = 0
    missed: int = 0
    unwritten: int = 0
    error: str | None = None
    removed_files: int = 0
    free_bytes: int = 0
    kept_bytes: int = 0
