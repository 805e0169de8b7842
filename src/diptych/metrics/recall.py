"""Recall at n, median and mean rank, where a query has one or several relevant entries.

R@n is the share of queries with a relevant entry among the first n: what captioning data sets report, five
captions an image. Only the rank of the best relevant entry matters, so nothing is sorted: its rank is one
more than the number of entries that beat it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.errors import UsageError
from diptych.metrics.precision import Doubles
from diptych.metrics.relevance import ByPairs, Relevance
from diptych.metrics.scores import Scores, as_scores, score_blocks

__all__ = ["FirstRanks", "FirstRanksByBlock", "Ties", "check_shapes", "first_ranks", "first_ranks_both_ways"]

Ties = Literal["worst", "best", "expected"]

# Queries and entries whose scores are in memory at once: 5 MB, which stays in the cache while it is compared.
_TILE = (512, 2560)


@dataclass(frozen=True)
class FirstRanks:
    """What decides the rank of each query's best relevant entry.

    Args:
        ahead: (q,) entries with a higher score.
        level: (q,) entries that are not relevant and have the same score.
        own: (q,) relevant entries that share the best relevant score; 0 where nothing is relevant.
        gallery: Entries altogether.
    """

    ahead: Rows
    level: Rows
    own: Rows
    gallery: int

    def ranks(self, ties: Ties = "worst") -> Doubles:
        """(q,) rank of the best relevant entry, 1 is first; gallery + 1 where nothing is relevant.

        Args:
            ties: "worst" counts a tie with an irrelevant entry against the system, so that a constant scorer
                is no good; "best" for it; "expected" is the mean over all orders.
        """
        behind: Any = {"worst": self.level, "best": 0, "expected": self.level / (self.own + 1)}[ties]
        return np.asarray(np.where(self.own > 0, 1 + self.ahead + behind, self.gallery + 1), np.float64)

    def hits(self, n: int, ties: Ties = "worst") -> Doubles:
        """(q,) 1 where a relevant entry is among the first n, else 0; with ties "expected" the probability.

        Raises:
            UsageError: n is not positive.
        """
        if n < 1:
            raise UsageError(f"recall at n needs n of at least 1, not {n}")
        if ties != "expected":
            return np.asarray((self.own > 0) & (self.ranks(ties) <= n), np.float64)
        room = np.clip(n - self.ahead, 0, self.own + self.level)
        missed = np.ones(len(room))
        # No relevant entry is in `room` places drawn out of own + level.
        for drawn in range(int(min(room.max(initial=0), n))):
            left = self.own + self.level - drawn
            step = np.divide(self.level - drawn, left, out=np.zeros(len(room)), where=left > 0)
            missed = np.where(drawn < room, missed * np.maximum(step, 0), missed)
        return np.where(self.own > 0, 1 - missed, 0.0)

    def recall(self, n: int, ties: Ties = "worst") -> float:
        """R@n: the mean of `hits`."""
        return float(self.hits(n, ties).mean()) if len(self.own) else 0.0

    def median(self) -> float:
        """Median rank, ties against the system."""
        return float(np.median(self.ranks())) if len(self.own) else 0.0

    def mean(self) -> float:
        """Mean rank, ties against the system."""
        return float(self.ranks().mean()) if len(self.own) else 0.0


def first_ranks(scores: Scores | NDArray[Any], relevance: Relevance) -> FirstRanks:
    """Rank of the best relevant entry of each query, in one direction.

    Args:
        scores: (q, n), or embeddings.
        relevance: Of the same shape.
    """
    scores = as_scores(scores)
    check_shapes(scores, relevance)
    found = FirstRanksByBlock(relevance)
    for start, stop, block in score_blocks(scores):
        found.add(start, stop, block)
    return found.ranks()


class FirstRanksByBlock:
    """`FirstRanks` of one direction while the blocks of its scores go by, whatever else is made of them.

    Args:
        relevance: (q, n).
    """

    def __init__(self, relevance: Relevance) -> None:
        self._relevance = relevance
        self._ahead, self._level, self._own = (np.zeros(relevance.shape[0], np.int64) for _ in range(3))

    def add(self, start: int, stop: int, block: NDArray[Any]) -> None:
        """Scores (stop - start, n) of queries `start` to `stop`."""
        part, relevance = slice(start, stop), self._relevance
        if isinstance(relevance, ByPairs):
            # Few are relevant: look only at those, and count the others.
            row, column = (relevance.between(start, stop) - (start, 0)).T
            best = _highest(row, block[row, column], stop - start)
            own = np.bincount(row, block[row, column] == best[row], stop - start).astype(np.int64)
            self._ahead[part], equal = _against(block, best, 1)
            self._level[part] = equal - own
        else:
            match = relevance.block(start, stop)
            best = np.where(match, block, -np.inf).max(axis=1, initial=-np.inf)
            same = block == best[:, None]
            own = (same & match).sum(axis=1)
            self._ahead[part] = (block > best[:, None]).sum(axis=1)
            self._level[part] = same.sum(axis=1) - own
        self._own[part] = own

    def ranks(self) -> FirstRanks:
        """What the blocks showed."""
        return FirstRanks(self._ahead, self._level, self._own, self._relevance.shape[1])


def first_ranks_both_ways(scores: Scores | NDArray[Any], relevance: ByPairs) -> tuple[FirstRanks, FirstRanks]:
    """Ranks of queries in the gallery and of gallery entries among the queries, in one pass over the scores.

    Each score is computed and looked at once (but for the few tiles that hold relevant pairs), and no more
    than a tile of them is in memory.

    Args:
        scores: (q, n), or embeddings that compare the same way in both directions.
        relevance: Of the same shape.

    Returns:
        Ranks of the q queries, ranks of the n entries.
    """
    scores = as_scores(scores)
    check_shapes(scores, relevance)
    shape, pairs = scores.shape, relevance.pairs
    values = np.empty(len(pairs), np.float64)
    tile = pairs // _TILE
    order = np.lexsort((tile[:, 1], tile[:, 0]))
    edges = np.flatnonzero(np.any(np.diff(tile[order], axis=0, prepend=-1), axis=1))
    # First only the tiles with relevant pairs, for their scores. The same tiles are computed again below, so
    # that equal products are equal to the last bit.
    for members in np.split(order, edges[1:]) if len(pairs) else []:
        top, left = tile[members[0]] * _TILE
        block = scores.block(top, min(top + _TILE[0], shape[0]), left, min(left + _TILE[1], shape[1]))
        values[members] = block[pairs[members, 0] - top, pairs[members, 1] - left]
    best = [_highest(pairs[:, axis], values, shape[axis]) for axis in (0, 1)]
    own = [
        np.bincount(pairs[:, axis], values == best[axis][pairs[:, axis]], shape[axis]).astype(np.int64)
        for axis in (0, 1)
    ]
    ahead = [np.zeros(count, np.int64) for count in shape]
    level = [np.zeros(count, np.int64) for count in shape]
    kind = scores.block(0, 1, 0, 1).dtype if min(shape) else np.dtype(np.float32)
    limits = [limit.astype(kind) for limit in best]
    for top in range(0, shape[0], _TILE[0]):
        rows = slice(top, min(top + _TILE[0], shape[0]))
        for left in range(0, shape[1], _TILE[1]):
            columns = slice(left, min(left + _TILE[1], shape[1]))
            block = scores.block(rows.start, rows.stop, columns.start, columns.stop)
            for axis, part in ((0, rows), (1, columns)):
                above, equal = _against(block, limits[axis][part], 1 - axis)
                ahead[axis][part] += above
                level[axis][part] += equal
    return (
        FirstRanks(ahead[0], level[0] - own[0], own[0], shape[1]),
        FirstRanks(ahead[1], level[1] - own[1], own[1], shape[0]),
    )


def check_shapes(scores: Scores, relevance: Relevance) -> None:
    """Refuse scores and relevance that do not belong together."""
    if tuple(scores.shape) != tuple(relevance.shape):
        raise UsageError(
            f"scores are {scores.shape[0]} x {scores.shape[1]}, but relevance is "
            f"{relevance.shape[0]} x {relevance.shape[1]} (queries x gallery)"
        )


def _highest(at: Rows, values: NDArray[Any], count: int) -> NDArray[Any]:
    """The highest value at each place, -inf where there is none."""
    best = np.full(count, -np.inf, values.dtype)
    np.maximum.at(best, at, values)
    return best


def _against(block: NDArray[Any], limit: NDArray[Any], axis: int) -> tuple[Rows, Rows]:
    """How many scores along an axis are above each limit, and how many equal it.

    Args:
        block: (b, n) scores.
        limit: One for each row if axis is 1, one for each column if it is 0.
        axis: Which is counted along.
    """
    limits = limit[:, None] if axis == 1 else limit[None]
    reach = block >= limits
    if np.count_nonzero(reach) * 32 < reach.size:
        # Few reach it, as a rule, and then listing them is faster than adding up.
        places = np.flatnonzero(reach)
        kept = places // block.shape[1] if axis == 1 else places % block.shape[1]
        equal = kept[np.ravel(block)[places] == limit[kept]]
        counts = [np.bincount(of, minlength=len(limit)).astype(np.int64) for of in (kept, equal)]
        return counts[0] - counts[1], counts[1]
    same = np.asarray((block == limits).sum(axis=axis), np.int64)
    return reach.sum(axis=axis) - same, same
