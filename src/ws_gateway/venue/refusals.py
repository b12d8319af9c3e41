"""What the words of a refusal say, and to whom (bybit-v5 reference, Failures). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ws_gateway.domain.topic import Topic


def names_no_topic(words: str) -> bool:
    """Say whether a refusal blames neither a topic nor the request's size.

    The known ones do: `handler not found,topic:…`, `already subscribed,topic:…`, `Invalid symbol
    :[…]`, `args size >10` (bybit-v5 reference, Failures).
    """
    return not any(word in words for word in ("topic", "symbol", "args", "Topics"))


def divide(topics: list[Topic], words: str) -> Iterator[list[Topic]]:
    """Cut topics that were refused together in two, by the name in the words if there is one."""
    named = [topic for topic in topics if words.endswith(topic.name) or f"[{topic.name}]" in words]
    if named and len(named) < len(topics):
        yield named
        yield [topic for topic in topics if topic not in named]
        return
    middle = (len(topics) + 1) // 2
    yield from (part for part in (topics[:middle], topics[middle:]) if part)


_MEANINGS = (
    ("handler not found", "Bybit offers no such topic there"),
    ("Invalid symbol", "Bybit does not list that symbol there"),
)


def explained(words: str, retry_at: str | None, *, is_final: bool) -> str:
    """Add to the venue's words what they mean, if that is known, and what is done.

    Args:
        words: the venue's own, or ours.
        retry_at: when it is asked for again, for people; None if it is not.
        is_final: it is not asked for again by itself.
    """
    parts = [words, *(meaning for text, meaning in _MEANINGS if text in words)]
    if retry_at is not None:
        parts.append(f"asked for again at {retry_at}")
    elif is_final:
        parts.append("not asked for again until it is posted again or its connection is replaced")
    return "; ".join(parts)
