"""Second stages: the first hits of a search put into another order, by a scorer of pairs or by agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import Floats, Hits, Rows, Run, Scorer, Side, Stage
from diptych.errors import BadData, UsageError
from diptych.index.flat import best
from diptych.pipeline.encode import contents, encode, holding
from diptych.pipeline.rankings import hits_of
from diptych.pipeline.stages import Search

if TYPE_CHECKING:  # a search has no need of the metrics
    from diptych.metrics.relevance import Bools
    from diptych.metrics.scores import Scores

__all__ = ["RESCORED", "Agree", "Rerank"]

RESCORED = "rescored"
"""The note of a query whose first hits have scores of another scale than the search's: how many they are."""


class Rerank(Stage):
    """Score the first `depth` hits anew; the others stay behind them in their order.

    The new score of a hit is ``weight * pair + (1 - weight) * search``, both as they are: with weight 1 the
    scorer alone decides among the first hits, with less the search has its say, too (the released code of
    BLIP adds the two, which is the order of weight 0.5). All of them are then raised by one number a query,
    so that the last lies 1 above what the search gave its best hit.

    The pairs of all queries are scored together, and each picture and text of theirs is looked at once. A
    query without anything that the scorer could look at (a composed one, or a picture that asks for pictures)
    keeps its hits and is noted as "degraded".

    Args:
        scorer: Looks at query and hit together.
        depth: Hits that are scored anew.
        weight: Of the pair's score, above 0 and at most 1.
        k: Hits to keep; all, if None.
        to: The side of the gallery.

    Raises:
        UsageError: a depth below 1, or a weight out of its range.
    """

    def __init__(
        self, scorer: Scorer, depth: int, *, weight: float = 1.0, k: int | None = None, to: Side = "image"
    ) -> None:
        if depth < 1:
            raise UsageError(f"the first hits are re-ranked to a depth of at least 1, not {depth}")
        if not 0 < weight <= 1:
            raise UsageError(f"the weight of the pairs' scores lies above 0 and at most at 1, not {weight}")
        self.scorer, self.depth, self.weight, self.k, self.to = scorer, depth, weight, k, to

    def __call__(self, run: Run) -> Run:
        """The run with the new order."""
        before = hits_of(run)
        top, able = before.top(self.depth), self._able(run)
        new = self._rescored(run, top, able)
        order = np.lexsort((top.rows, -new), axis=1)
        order[~able] = np.arange(order.shape[1])
        rows, scores = before.rows.copy(), before.scores.astype(new.dtype)
        rows[:, : order.shape[1]] = np.take_along_axis(top.rows, order, 1)
        scores[:, : order.shape[1]] = np.take_along_axis(new, order, 1)
        hits = Hits(rows, scores)
        return run.with_hits(hits if self.k is None else hits.top(self.k)).noted(
            [
                {RESCORED: int((line >= 0).sum())} if scored else {"degraded": self._why()}
                for line, scored in zip(top.rows, able, strict=True)
            ]
        )

    def scores(self, run: Run, before: Scores | None = None) -> Scores | None:
        """The scores before, with those of the first `depth` entries replaced."""
        from diptych.metrics.scores import Replaced

        if before is None:
            return None
        top = _first(before, min(self.depth, before.shape[1]))
        return Replaced(before, top.rows, self._rescored(run, top, self._able(run)))

    def _able(self, run: Run) -> Bools:
        """(q,) whether a query has what the scorer looks at."""
        return holding(run.queries, _other(self.to))

    def _why(self) -> str:
        missing = {"image": "text", "text": "picture"}[self.to]
        return (
            f"ranked by the search alone, as {type(self.scorer).__name__} looks at a {missing} of the query"
        )

    def _rescored(self, run: Run, top: Hits, able: Bools) -> Floats:
        """New scores (q, depth) of the first hits; as they were where nothing is scored."""
        lines, columns = np.nonzero((top.rows >= 0) & able[:, None])
        if not len(lines):
            return top.scores.copy()
        entries, entry = np.unique(top.rows[lines, columns], return_inverse=True)
        asked, query = np.unique(lines, return_inverse=True)
        held = {
            self.to: contents(run.gallery, self.to, entries),
            _other(self.to): contents(run.queries, _other(self.to), asked),
        }
        pairs = np.stack((entry, query) if self.to == "image" else (query, entry), axis=1).astype(np.int64)
        scored = np.asarray(self.scorer.score_pairs(held["image"], held["text"], pairs))
        kind = np.result_type(scored, top.scores)
        scores, new = scored.astype(kind), top.scores.astype(kind)
        if not np.isfinite(scores).all():
            raise BadData(
                f"{type(self.scorer).__name__} scores pairs with NaN or infinity, which has no place in a "
                "ranking"
            )
        if self.weight != 1:
            scores = kind.type(self.weight) * scores + kind.type(1 - self.weight) * new[lines, columns]
        least = np.full(len(new), np.inf, kind)
        np.minimum.at(least, lines, scores)
        lift = top.scores[:, 0] + 1 - least
        new[lines, columns] = scores + lift[lines]
        return new


class Agree(Stage):
    """Make the first hits of the queries agree with what the entries found among the queries themselves.

    A system such as AGREE prefers entries whose own best query is the one that asks. Which queries an entry
    likes best is known of a batch only: a query that is alone keeps its order. The hits change places among
    the scores that they had together.

    Args:
        system: Its method `agree` orders the lists of one direction by those of the other.
        search: The search that gave the hits; asked for the scores of entries with all queries.
        depth: First hits of each list that are looked at.
        k: Hits to keep; all, if None.
    """

    def __init__(self, system: Any, search: Search, depth: int, *, k: int | None = None) -> None:
        self.system, self.search, self.depth, self.k = system, search, depth, k

    def __call__(self, run: Run) -> Run:
        """The run with the lists in their new order."""
        before = hits_of(run)
        depth = min(self.depth, len(run.queries), len(run.gallery))
        lists = before.rows[:, :depth]
        entries = np.unique(lists[lists >= 0])
        rows = before.rows.copy()
        if len(entries):
            scores = self._with_all(run, entries)
            liked = best(scores.T, np.arange(len(scores)), depth).rows
            places = np.where(lists >= 0, np.searchsorted(entries, lists), -1)
            agreed = self.system.agree(places, liked)
            rows[:, :depth] = np.where(agreed >= 0, entries[agreed], -1)
        changed = (rows != before.rows).any(axis=1)
        hits = Hits(rows, before.scores)
        return run.with_hits(hits if self.k is None else hits.top(self.k)).noted(
            [{RESCORED: depth} if one else {} for one in changed]
        )

    def scores(self, run: Run, before: Scores | None = None) -> Scores | None:
        """The scores before, changed among the first `depth` entries of each query."""
        from diptych.metrics.scores import Embedded, Matrix, Replaced

        if not isinstance(before, Embedded | Matrix):
            return None
        depth = min(self.depth, *before.shape)
        if not depth:
            return before
        first, liked = (_first(one, depth) for one in (before, before.transposed()))
        return Replaced(before, self.system.agree(first.rows, liked.rows), first.scores)

    def _with_all(self, run: Run, entries: Rows) -> Floats:
        """Scores (q, m) of every query with entries (m,), ascending."""
        hits = self.search.index.search(encode(self.search.encoder, run.queries), len(entries), entries)
        found = np.full(hits.rows.shape, -np.inf, np.float32)
        lines, columns = np.nonzero(hits.rows >= 0)
        found[lines, np.searchsorted(entries, hits.rows[lines, columns])] = hits.scores[lines, columns]
        return found


def _other(side: Side) -> Side:
    return "text" if side == "image" else "image"


def _first(scores: Scores, depth: int) -> Hits:
    """The first `depth` entries of each query."""
    from diptych.metrics.scores import score_blocks

    entries = np.arange(scores.shape[1])
    parts = [best(block, entries, depth) for _, _, block in score_blocks(scores)]
    if not parts:
        return Hits(np.zeros((0, depth), np.int64), np.zeros((0, depth), np.float32))
    return Hits(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))
