"""Fuzzes the way of a frame from the socket's bytes to a message for the broker.

    make fuzz SECONDS=60

Frames of every channel are changed at random; what leads to an answer not seen before is kept and
changed further. Whatever the bytes, they are facts that can be delivered, or a `Quarantine`, or
(a refused login) a lost socket; never another exception. A finding is written below `.dev/fuzz`
and ends the run with exit code 1; `--replay FILE` runs it again.
"""

# ruff: noqa: T201 - a command-line program that prints

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from fuzz.frame_seeds import Seed, seeds
from fuzz.mutation import mutate
from support.contract import assert_envelope
from ws_gateway.client.routing import read_routing_key
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Category, Topic, parse_topic
from ws_gateway.errors import Quarantine, VenueLost
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.protocol import Conversation

_FINDINGS = Path(__file__).resolve().parents[2] / ".dev" / "fuzz"
_SLOW_SECONDS = 5.0
_MAX_CORPUS = 5_000
_MAX_BYTES = 20_000
_TRACE = "0" * 32
_VARIES = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|`[^`]*`(?= of)|[^\x20-\x7e]+")
_SHORT_STRING = 255

Target = Callable[[bytes, Topic], str]


def run_frame(raw: bytes, topic: Topic) -> str:
    """Take bytes the whole way; answers in a word what became of them.

    Raises:
        Exception: a defect, whichever it is.
    """
    heard = _converse(raw, topic)
    try:
        frame = decode_frame(raw)
        facts = read_observations(topic, frame, 1_790_000_000_000_000, _TRACE)
    except Quarantine as quarantine:
        return f"{heard} {topic.channel} {quarantine.reason} {_shape(quarantine.detail)}"
    for fact in facts:
        message_id = fact.event_id
        assert message_id.isascii(), message_id
        assert len(message_id) <= _SHORT_STRING, message_id
        address = Address("x", fact, "main")
        assert len(address.routing_key.encode()) <= _SHORT_STRING, address.routing_key
        route = read_routing_key(address.routing_key)
        assert route == (topic.event_class, fact.category or None, fact.symbol or None), route
        event = Event(fact, "E", 7)
        body = json.loads(address.body(event))
        assert_envelope(body)
        assert body["event_id"] == message_id
        assert body["symbol"] == fact.symbol
        assert address.frames(event)
    kinds = "".join(sorted({fact.kind[0] for fact in facts}))
    return f"{heard} {topic.channel} {len(facts[:3])}{kinds}"


def _converse(raw: bytes, topic: Topic) -> str:
    """Let a socket that wants the topic hear the bytes."""
    conversation = Conversation(topic.endpoint)
    conversation.want([topic], 0.0)
    conversation.opened(0.0, 0)
    try:
        result = conversation.receive(raw, 1.0)
    except Quarantine as quarantine:
        return quarantine.reason
    except VenueLost as lost:
        return lost.reason
    conversation.next_deadline()
    return f"{result is not None}{[change.state.value for change in conversation.take_changes()]}"


def _shape(detail: str) -> str:
    """Take what varies out of a sentence, so that two of one kind look alike."""
    return _VARIES.sub("", detail)[:120]


@dataclass
class Fuzzer:
    """Changes frames until something breaks.

    Attributes:
        executions: frames tried.
        outcomes: answers seen, each told of once.
        finding: the frame that broke something, None while there is none.
        error: how it broke.
    """

    seed: int
    target: Target = run_frame
    executions: int = 0
    outcomes: set[str] = field(default_factory=set)
    finding: Seed | None = None
    error: str = ""

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._corpus: list[Seed] = []
        for seed in seeds():
            self._try(seed)
            self._corpus.append(seed)

    @property
    def corpus_size(self) -> int:
        """Count the frames that are changed further."""
        return len(self._corpus)

    def step(self) -> bool:
        """Try one more frame; answers whether to go on."""
        rng = self._rng
        parent = rng.choice(self._corpus)
        others = [rng.choice(self._corpus).raw]
        raw = mutate(rng, parent.raw, others)[:_MAX_BYTES]
        topic = parent.topic if rng.random() < 0.9 else rng.choice(self._corpus).topic
        candidate = Seed(raw, topic)
        if self._try(candidate) and len(self._corpus) < _MAX_CORPUS:
            self._corpus.append(candidate)
        return self.finding is None

    def _try(self, candidate: Seed) -> bool:
        """Run the target; answers whether it said something new."""
        self.executions += 1
        began = time.monotonic()
        try:
            outcome = self.target(candidate.raw, candidate.topic)
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            self.finding, self.error = candidate, traceback.format_exc()
            return False
        if time.monotonic() - began > _SLOW_SECONDS:
            self.finding, self.error = candidate, f"took more than {_SLOW_SECONDS:g} s"
        is_new = outcome not in self.outcomes
        self.outcomes.add(outcome)
        return is_new


def write_finding(finding: Seed, folder: Path) -> Path:
    """Keep a finding for `--replay`: its topic on the first line, then its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"finding-{blake2b(finding.raw, digest_size=6).hexdigest()}"
    place = finding.topic.category or ""
    path.write_bytes(f"{place} {finding.topic.name}\n".encode() + finding.raw)
    return path


def read_finding(path: Path) -> Seed:
    """Read it back."""
    head, _, raw = path.read_bytes().partition(b"\n")
    place, _, name = head.decode().partition(" ")
    return Seed(raw, parse_topic(name, Category(place) if place else None))


def main() -> int:
    """Fuzz for some seconds, or run one finding again."""
    parser = argparse.ArgumentParser(
        description="Fuzz the frame decoder and what reads its frames."
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="of chance; drawn if not given")
    parser.add_argument("--replay", type=Path, help="a finding to run again")
    options = parser.parse_args()
    if options.replay is not None:
        finding = read_finding(options.replay)
        print(run_frame(finding.raw, finding.topic))
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    began = time.monotonic()
    fuzzer = Fuzzer(seed)
    print(f"fuzzing for {options.seconds:g} s with --seed {seed}, from {fuzzer.corpus_size} frames")
    while fuzzer.finding is None and time.monotonic() - began < options.seconds:
        for _ in range(200):
            if not fuzzer.step():
                break
    elapsed = time.monotonic() - began
    print(
        f"{fuzzer.executions:,} executions in {elapsed:.0f} s "
        f"({fuzzer.executions / elapsed:,.0f}/s), {len(fuzzer.outcomes):,} kinds of answers"
    )
    if fuzzer.finding is None:
        print("no crash")
        return 0
    path = write_finding(fuzzer.finding, _FINDINGS)
    print(f"{fuzzer.error}\nFOUND on {fuzzer.finding.topic.key}: {fuzzer.finding.raw[:500]!r}")
    print(f"kept as {path}; run it again with --replay {path}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
