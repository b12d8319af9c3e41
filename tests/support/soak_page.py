"""Where the newest soak is published."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "soak.md"
BEGIN, END = "<!-- run: begin -->", "<!-- run: end -->"


def publish(words: str, path: Path) -> None:
    """Put a run in the place of the one a document has.

    Raises:
        ValueError: the document has no place for one.
    """
    text = path.read_text(encoding="utf-8")
    place = re.compile(rf"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
    made, count = place.subn(lambda _: f"```\n{words.rstrip()}\n```\n", text)
    if count != 1:
        raise ValueError(f"{path} has {count} places between {BEGIN} and {END}")
    path.write_text(made, encoding="utf-8")
