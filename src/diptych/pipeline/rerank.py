"""Second stages: the first hits of a search put into another order, by a scorer of pairs or by agreement."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import Floats, Hits, Rows, Run, Scorer, Side, Stage
from diptych.errors import BadData, UsageError
from diptych.index.flat import best
from diptych.pipeline.encode import contents, encode, holding, where_held
from diptych.pipeline.rankings import hits_of
from diptych.pipeline.stages import Search

if TYPE_CHECKING:  # a search has no need of the metrics
    from diptych.metrics.relevance import Bools
    from diptych.metrics.scores import Scores

__all__ = ["LOOKED_AT", "RESCORED", "Agree", "Rerank", "as_they_are", "standardised"]

RESCORED = "rescored"
"""The note of a query whose first hits have scores of another scale than the search's: how many they are."""

LOOKED_AT = "looked at"
"""The note of a query that was re-ranked: of each row that was, what the search and what the pair scored."""


def as_they_are(scores: Floats) -> Floats:
    """The scores themselves."""
    return scores


def standardised(scores: Floats) -> Floats:
    """Scores (q, d) with the mean 0 and the deviation 1 in each row; NaN, for no score, stays.

    Cosines, logits and probabilities have no scale in common, nor have the logits of two queries; how far a
    hit stands out among those of its query means the same for all.
    """
    there = np.isfinite(scores)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    apart = scores - np.where(there, scores, 0).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt(np.square(np.where(there, apart, 0)).sum(axis=1, keepdims=True) / count)
    found: Floats = apart / np.where(deviation > 0, deviation, 1)
    return found


class Rerank(Stage):
    """Score the first `depth` hits anew; the others stay behind them in their order.

    The new score of a hit is ``weight * scale(pair) + (1 - weight) * scale(search)``: with weight 1 the
    scorer alone decides among the first hits, with less the search has its say, too (the released code of
    BLIP adds the two as they are, which is the order of weight 0.5). All of them are then raised by one
    number a query, so that the last lies 1 above what the search gave its best hit.

    The pairs of all queries are scored together, and each picture and text of theirs is looked at once. A
    query without anything that the scorer could look at (a composed one, or a picture that asks for pictures)
    keeps its hits and is noted as "degraded". A hit of that kind, such as an item without its picture, comes
    behind those that were scored, and so does one whose score the scorer masks (`numpy.ma`), as it could not
    look at it.

    Args:
        scorer: Looks at query and hit together.
        depth: Hits that are scored anew.
        weight: Of the pair's score, above 0 and at most 1.
        scale: Brings the scores (q, depth) of either to one scale before they are added, NaN where there is
            none; `as_they_are` or `standardised`.
        k: Hits to keep; all, if None.
        to: The side of the gallery.

    Raises:
        UsageError: a depth below 1, or a weight out of its range.
    """

    def __init__(
        self,
        scorer: Scorer,
        depth: int,
        *,
        weight: float = 1.0,
        scale: Callable[[Floats], Floats] = as_they_are,
        k: int | None = None,
        to: Side = "image",
    ) -> None:
        if depth < 1:
            raise UsageError(f"the first hits are re-ranked to a depth of at least 1, not {depth}")
        if not 0 < weight <= 1:
            raise UsageError(f"the weight of the pairs' scores lies above 0 and at most at 1, not {weight}")
        self.scorer, self.depth, self.weight, self.k, self.to = scorer, depth, weight, k, to
        self.scale = scale

    def __call__(self, run: Run) -> Run:
        """The run with the new order."""
        before = hits_of(run)
        top, able = before.top(self.depth), self._able(run)
        new, pairs = self._rescored(run, top, able)
        order = np.lexsort((top.rows, -new), axis=1)
        order[~able] = np.arange(order.shape[1])
        rows, scores = before.rows.copy(), before.scores.astype(new.dtype)
        rows[:, : order.shape[1]] = np.take_along_axis(top.rows, order, 1)
        scores[:, : order.shape[1]] = np.take_along_axis(new, order, 1)
        hits = Hits(rows, scores)
        return run.with_hits(hits if self.k is None else hits.top(self.k)).noted(
            [
                {
                    RESCORED: int((rows >= 0).sum()),
                    LOOKED_AT: {
                        int(row): (float(search), float(pair))
                        for row, search, pair in zip(rows, before, pairs, strict=True)
                        if row >= 0
                    },
                }
                if scored
                else {"degraded": self._why()}
                for rows, before, pairs, scored in zip(top.rows, top.scores, pairs, able, strict=True)
            ]
        )

    def scores(self, run: Run, before: Scores | None = None) -> Scores | None:
        """The scores before, with those of the first `depth` entries replaced."""
        from diptych.metrics.scores import Replaced

        if before is None:
            return None
        top = _first(before, min(self.depth, before.shape[1]))
        return Replaced(before, top.rows, self._rescored(run, top, self._able(run))[0])

    def _able(self, run: Run) -> Bools:
        """(q,) whether a query has what the scorer looks at."""
        return holding(run.queries, _other(self.to))

    def _why(self) -> str:
        missing = {"image": "text", "text": "picture"}[self.to]
        return (
            f"ranked by the search alone, as {type(self.scorer).__name__} looks at a {missing} of the query"
        )

    def _rescored(self, run: Run, top: Hits, able: Bools) -> tuple[Floats, Floats]:
        """New scores (q, depth) of the first hits, as they were where nothing is scored, and those of pairs.

        The latter are as the scorer gives them, NaN where there is none.
        """
        pairs = self._pairs(run, top, able)
        scored = np.isfinite(pairs)
        some = np.asarray(scored.any(axis=1))
        if not some.any():
            return top.scores.copy(), pairs
        new = top.scores.astype(pairs.dtype)
        mixed = pairs
        if self.weight != 1:
            weight = pairs.dtype.type(self.weight)
            mixed = weight * self.scale(pairs) + (1 - weight) * self.scale(np.where(scored, new, np.nan))
        least = np.where(scored, mixed, np.inf).min(axis=1, keepdims=True)
        # What could not be looked at comes behind, in the order of the search, a small step at a time.
        behind = ~scored & (top.rows >= 0) & some[:, None]
        mixed = np.where(behind, least - np.cumsum(behind, axis=1) / (1 + self.depth), mixed)
        last = np.where(top.rows >= 0, mixed, np.inf).min(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # of a query without hits
            lifted = mixed + (new[:, :1] + 1 - last)
        return np.where(some[:, None] & (top.rows >= 0), lifted, new), pairs

    def _pairs(self, run: Run, top: Hits, able: Bools) -> Floats:
        """The scorer's scores (q, depth) of the first hits; NaN where there is nothing to score."""
        found = np.full(top.rows.shape, np.nan, top.scores.dtype)
        lines, columns = np.nonzero((top.rows >= 0) & able[:, None])
        entries, entry = np.unique(top.rows[lines, columns], return_inverse=True)
        held, there = where_held(run.gallery, self.to, entries)
        lines, columns, entry = lines[there[entry]], columns[there[entry]], entry[there[entry]]
        if not len(lines):
            return found
        entry = (np.cumsum(there) - 1)[entry]
        asked, query = np.unique(lines, return_inverse=True)
        sides = {self.to: held, _other(self.to): contents(run.queries, _other(self.to), asked)}
        pairs = np.stack((entry, query) if self.to == "image" else (query, entry), axis=1).astype(np.int64)
        given = self.scorer.score_pairs(sides["image"], sides["text"], pairs)
        seen, scored = ~np.ma.getmaskarray(given), np.asarray(given)
        if not np.isfinite(scored[seen]).all():
            raise BadData(
                f"{type(self.scorer).__name__} scores pairs with NaN or infinity, which has no place in a "
                "ranking"
            )
        found = found.astype(np.result_type(scored, found))
        found[lines[seen], columns[seen]] = scored[seen]
        return found


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
