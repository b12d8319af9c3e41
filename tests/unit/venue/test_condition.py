"""What is told about one connection."""

from __future__ import annotations

from random import Random

import structlog

from ws_gateway.domain.topic import Endpoint
from ws_gateway.errors import VenueLost
from ws_gateway.ports.feed import ConnectionStatus, SessionState
from ws_gateway.venue.attempts import Attempts, Spacing
from ws_gateway.venue.condition import Condition
from ws_gateway.venue.protocol import Conversation

REFUSED = VenueLost("login", "Params Error")
MEANING = "check WSG_BYBIT_API_SECRET: it is not the secret of this key"


def new() -> Condition:
    """A connection of which nothing is known yet."""
    return Condition("private", "testnet", None, structlog.get_logger())


def told(condition: Condition) -> ConnectionStatus:
    """What is told of it now."""
    rng, spacing = Random(1), Spacing()
    attempts = Attempts("private", spacing, spacing.new_breaker(rng), spacing.new_budget(), rng)
    return condition.status(Conversation(Endpoint.PRIVATE), attempts, None)


def refuse(condition: Condition, words: str = REFUSED.detail) -> str | None:
    """Refuse a login, so that REST is being asked why; answers what is told meanwhile."""
    condition.begin_life()
    condition.lose(VenueLost("login", words))
    condition.ask_why(words)
    return told(condition).last_error


def test_the_venues_words_alone_are_not_told_as_if_they_were_all() -> None:
    """`Params Error` helps nobody; that more is coming does."""
    assert refuse(new()) == "Params Error; why is being asked over REST"


def test_a_refusal_that_repeats_does_not_forget_what_it_was_found_to_mean() -> None:
    """Between two answers of REST a person reads the remedy, not the venue's bare words."""
    condition = new()
    refuse(condition)
    condition.understand(REFUSED.detail, MEANING)
    assert refuse(condition) == MEANING
    assert told(condition).is_login_refused


def test_other_words_are_not_explained_by_what_was_found_before() -> None:
    """An expired key is no wrong secret."""
    condition = new()
    refuse(condition)
    condition.understand(REFUSED.detail, MEANING)
    assert MEANING not in (refuse(condition, "Your api key has expired.") or "")


def test_what_was_found_is_not_told_of_a_renewed_pair_of_keys() -> None:
    """The finding was about the pair before it."""
    condition = new()
    refuse(condition)
    condition.understand(REFUSED.detail, MEANING)
    condition.forget_findings()
    assert MEANING not in (refuse(condition) or "")


def test_what_went_wrong_is_over_once_data_flow() -> None:
    """Neither the error nor its kind nor a finding outlives it."""
    condition = new()
    refuse(condition)
    condition.understand(REFUSED.detail, MEANING)
    condition.enter(SessionState.STREAMING)
    status = told(condition)
    assert (status.last_error, status.last_loss, status.is_login_refused) == (None, None, False)
    assert MEANING not in (refuse(condition) or "")
    assert told(condition).reconnection_count == 1
