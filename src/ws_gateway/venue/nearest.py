"""Which listed symbols are written nearly like another: found among neighbours, not among all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

_NEIGHBOURS = 48
"""How many symbols are looked at that begin alike, and how many that end alike, on either side."""

_MOST = 3
_SIMILAR = 0.8  # of 1; a word of other letters has at most 0.7 with the usual ending in common


class SymbolIndex:
    """Answers what was probably meant, at a cost that does not grow with the list.

    A misspelt symbol begins or ends like the one that was meant, so it stands near it in the
    alphabet, read forwards or backwards. Comparing a few hundred is about a millisecond; comparing
    all options of a coin would hold up the frames that come meanwhile.
    """

    def __init__(self, symbols: Collection[str]) -> None:
        self._forwards = sorted(symbols)
        self._backwards = sorted(symbol[::-1] for symbol in symbols)

    def near(self, symbol: str) -> list[str]:
        """Return those that are most like it, the most alike first; empty if none is."""
        known = dict.fromkeys(_around(self._forwards, symbol))
        known |= dict.fromkeys(each[::-1] for each in _around(self._backwards, symbol[::-1]))
        return get_close_matches(symbol, known, n=_MOST, cutoff=_SIMILAR)


def _around(words: Sequence[str], word: str) -> Iterator[str]:
    middle = bisect_left(words, word)
    yield from words[max(0, middle - _NEIGHBOURS) : middle + _NEIGHBOURS]
