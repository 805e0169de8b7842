"""One order of two: how near an entry's vector lies to the query's, and which part of its words it has.

An entry's value is

    nearness + WEIGHT * share ** POWER + PHRASE

Its nearness falls with its place among the DEPTH nearest by vector, from 1 as (SMOOTHING + 1) / (SMOOTHING +
place), and is 0 beyond; places, unlike scores, mean the same for every model and for second stages (as in
reciprocal rank fusion: Cormack, Clarke, Buettcher, SIGIR 2009). Its share is that of the query's words that
it has, each counted by how rare it is (BM25 with k1 = 0: how often a word stands in a caption tells nothing);
the power leaves to the vectors what few words would decide. PHRASE is for what has the whole query word for
word. Entries of the same value stay in the order of the vectors.

`benchmarks/words.py` chooses WEIGHT on captions that taught the built-in model nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Item, Rows
from diptych.engine.homes.entries import Worded
from diptych.engine.results import FoundBy

__all__ = [
    "DEPTH",
    "PHRASE",
    "POWER",
    "SMOOTHING",
    "WEIGHT",
    "Fused",
    "InWords",
    "by_vectors",
    "by_words",
    "fused",
    "in_one_order",
    "in_words",
]

DEPTH = 20
SMOOTHING = 3.0
WEIGHT = 1.5
POWER = 4.0
PHRASE = 1.0

_LEAST = 0.3  # share of the words below which they change nothing
_FOUND = 0.5  # and from which an entry counts as found by them


class InWords(NamedTuple):
    """What of a query can be looked for as words: a text, and texts whose words are to be kept away."""

    text: str
    without: tuple[str, ...] = ()


def in_words(query: Item) -> InWords | None:
    """A query of nothing but words, with words to keep away from or not; None if pictures are part of it.

    What words ask for together with a picture is neither what the words say by themselves nor what the
    picture shows, so that only vectors answer it.
    """
    parts = query.terms or ((1.0, query),)
    if any(part.image is not None or part.terms or part.text is None for _, part in parts):
        return None
    wanted = [str(part.text) for weight, part in parts if weight > 0]
    return InWords(" ".join(wanted), tuple(str(part.text) for weight, part in parts if weight < 0))


@dataclass(frozen=True, slots=True)
class Fused:
    """Entries in one order.

    Args:
        rows: (n,) best first.
        scores: (n,) of their vectors.
        shares: (n,) of the query's words that each has; 0 where it has none to speak of.
        by: What each was found by.
        nearest: (n,) the place of each in the order of the vectors.
        relevance: (n,) its percentile, see `calibration.percentiles`; NaN as long as it is not known.
    """

    rows: Rows
    scores: Floats
    shares: Floats
    by: list[FoundBy]
    nearest: Rows
    relevance: Floats

    def first(self, count: int) -> Fused:
        """So many of them."""
        return self.some(np.arange(min(count, len(self.rows))))

    def some(self, at: NDArray[Any]) -> Fused:
        """Those at some places (m,), or those of which (n,) says so."""
        at = np.flatnonzero(at) if at.dtype == bool else at
        by = [self.by[one] for one in at]
        return Fused(
            self.rows[at], self.scores[at], self.shares[at], by, self.nearest[at], self.relevance[at]
        )


def _fused(rows: Rows, scores: Floats, shares: Floats, by: list[FoundBy], nearest: Rows) -> Fused:
    return Fused(rows, scores, shares, by, nearest, np.full(len(rows), np.nan, np.float32))


def fused(rows: Rows, scores: Floats, words: Worded, scored: Callable[[Rows], Floats]) -> Fused:
    """The entries that vectors and words found.

    Args:
        rows: (n,) by vector, best first.
        scores: (n,) of their vectors.
        words: What words found.
        scored: Gives the scores (m,) of the vectors of entries (m,).
    """
    telling = words.shares >= _LEAST
    named, shares, phrases = words.rows[telling], words.shares[telling], words.phrases[telling]
    if not len(named):
        return by_vectors(rows, scores)
    new = np.setdiff1d(named, rows)
    late = scored(new)
    best_first = np.lexsort((new, -late))  # behind the others, whose order a second stage may have made
    every = np.concatenate([rows, new[best_first]])
    score = np.concatenate([scores, late[best_first]])
    place = np.arange(1, len(every) + 1)
    first = place <= min(DEPTH, len(rows))
    near = np.where(first, (SMOOTHING + 1) / (SMOOTHING + place), 0)
    at = np.minimum(np.searchsorted(named, every), len(named) - 1)
    has = named[at] == every
    share = np.where(has, shares[at], 0)
    order = np.lexsort((place, -(near + WEIGHT * share**POWER + PHRASE * (has & phrases[at]))))
    by = [_by(first[one], share[one] >= _FOUND) for one in order]
    return _fused(every[order], score[order], share[order], by, order)


def by_vectors(rows: Rows, scores: Floats) -> Fused:
    """The entries (n,) that vectors found alone, with their scores (n,)."""
    shares = np.zeros(len(rows), np.float32)
    return _fused(rows, scores, shares, ["vectors"] * len(rows), np.arange(len(rows)))


def by_words(words: Worded) -> Fused:
    """The entries that words found alone, whole phrases first; their scores are the shares."""
    order = np.lexsort((words.rows, -words.shares, -words.phrases.astype(int)))
    shares = words.shares[order]
    return _fused(words.rows[order], shares, shares, ["words"] * len(order), np.arange(len(order)))


def in_one_order(rows: Rows, by: FoundBy) -> Fused:
    """Entries (n,) that come in an order of their own, in which nothing was compared."""
    nothing = np.zeros(len(rows), np.float32)
    return _fused(rows, nothing, nothing, [by] * len(rows), np.arange(len(rows)))


def _by(near: Any, named: Any) -> FoundBy:
    return ("both" if near else "words") if named else "vectors"
