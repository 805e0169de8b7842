"""All measures of one direction at once, per query, with tie bounds and confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.metrics.bootstrap import bootstrap
from diptych.metrics.gain import ndcg, tied_ndcg
from diptych.metrics.hamming import hamming_groups
from diptych.metrics.precision import (
    Doubles,
    TieGroups,
    average_precision,
    grouped,
    precision_at,
    ranked,
)
from diptych.metrics.recall import (
    FirstRanks,
    FirstRanksByBlock,
    check_shapes,
    first_ranks,
    first_ranks_both_ways,
)
from diptych.metrics.relevance import Bools, ByLabel, ByPairs, Relevance
from diptych.metrics.scores import Embedded, Matrix, Scores, as_scores, comparable, score_blocks

__all__ = [
    "TIE_RULE",
    "Keep",
    "Measured",
    "expected_average_precision",
    "measure",
    "measure_both_ways",
    "order",
    "pooled",
    "tie_groups",
]

TIE_RULE = (
    "average precision, P@n and NDCG: the value expected over all orders of equal scores; R@n and ranks: a "
    "tie with an irrelevant entry counts against the system; best, worst and expected values over all orders "
    "stand beside them"
)

_TIED = 1 << 19  # scores whose groups of ties are in memory at once

Keep = Callable[[Rows, NDArray[Any]], None]
"""Takes order and ordered scores of a block of queries, (b, n) each, to keep the ranking."""


@dataclass(frozen=True)
class Measured:
    """What was measured in one direction.

    Args:
        per_query: (q,) values by measure, ties as `TIE_RULE` says; the measure is their mean, but for "MedR",
            their median.
        bounds: Mean "best", "worst" and "expected" value over all orders of ties, by measure.
        queries, gallery: Counts.
        without_relevant: Queries that nothing in the gallery is relevant to; they count, with the value 0.
        folds: In how many parts the queries were asked; each query saw its own fold's gallery.
    """

    per_query: Mapping[str, Doubles]
    bounds: Mapping[str, Mapping[str, float]]
    queries: int
    gallery: int
    without_relevant: int
    folds: int = 1
    curve: tuple[Doubles, Doubles] | None = field(default=None, repr=False)
    """Recall levels and mean interpolated precision, where a full ranking was made."""

    _intervals: dict[tuple[int, float, int], dict[str, Any]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.values().items())
        return f"<Measured: {self.queries} queries against {self.gallery}: {values}>"

    def __getitem__(self, name: str) -> float:
        return self._value(name)

    def values(self) -> dict[str, float]:
        """Each measure, 0 to 1 (ranks: 1 is best)."""
        return {name: self._value(name) for name in self.per_query}

    def _value(self, name: str) -> float:
        values = self.per_query[name]
        if not len(values):
            return 0.0
        return float(np.median(values) if name == "MedR" else values.mean())

    def intervals(self, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0) -> dict[str, Any]:
        """Bootstrap interval (low, high) of each mean, drawn once; see `bootstrap`."""
        asked = (samples, confidence, seed)
        if asked not in self._intervals:
            self._intervals[asked] = self._drawn(samples, confidence, seed)
        return self._intervals[asked]

    def _drawn(self, samples: int, confidence: float, seed: int) -> dict[str, Any]:
        names = [name for name in self.per_query if name not in ("MedR", "MeanR")]
        columns = np.stack([self.per_query[name] for name in names], axis=1) if names else np.zeros((0, 0))
        low, high = bootstrap(columns, samples=samples, confidence=confidence, seed=seed)
        return {name: (float(low[at]), float(high[at])) for at, name in enumerate(names)}


def measure(
    scores: Scores | NDArray[Any],
    relevance: Relevance,
    *,
    recall_at: Sequence[int] = (1, 5, 10),
    cuts: Sequence[int] = (50,),
    lists: Sequence[int] = (1, 10, 50, 100, 500),
    graded: bool = False,
    keep: Keep | None = None,
    first: FirstRanks | None = None,
    rank: bool = True,
) -> Measured:
    """Everything about one direction in one pass over its scores.

    Args:
        scores: (q, n), or embeddings.
        relevance: (q, n).
        recall_at: The n of R@n.
        cuts: The K of MAP@K, denominator "retrieved" (which is what published MAP@50 is).
        lists: The N of P@N.
        graded: NDCG@10 and NDCG@ALL with the number of shared labels as grade.
        keep: Is given order and ordered scores of each block, (b, n) each, for those who save rankings.
        first: Ranks, if they are known.
        rank: False measures recall and ranks only, which needs no sorting.

    Raises:
        UsageError: scores and relevance of different shapes.
        BadData: scores with NaN.
    """
    scores = as_scores(scores)
    check_shapes(scores, relevance)
    totals = relevance.totals()
    collected = None
    if rank:
        collected = _Collected(scores.shape, totals, cuts, lists, graded)
        ranks = FirstRanksByBlock(relevance)
        for start, stop, block in score_blocks(scores):
            if first is None:
                ranks.add(start, stop, block)
            rows, ordered = order(block, whole_numbers=getattr(scores, "similarity", "") == "hamming")
            collected.add(start, stop, rows, ordered, relevance)
            if keep is not None:
                keep(rows, ordered)
        first = first or ranks.ranks()
    first = first or first_ranks(scores, relevance)
    per_query: dict[str, Doubles] = {f"R@{n}": first.hits(n) for n in recall_at}
    per_query |= {"MedR": first.ranks(), "MeanR": first.ranks()}
    bounds = {
        f"R@{n}": {
            "best": first.recall(n, "best"),
            "worst": first.recall(n, "worst"),
            "expected": first.recall(n, "expected"),
        }
        for n in recall_at
    }
    bounds["MeanR"] = {
        "best": float(first.ranks("best").mean()) if len(first.own) else 0.0,
        "worst": first.mean(),
        "expected": float(first.ranks("expected").mean()) if len(first.own) else 0.0,
    }
    curve = None
    if collected is not None:
        per_query = {name: kinds["expected"] for name, kinds in collected.tied.items()} | per_query
        bounds = collected.bounds() | bounds
        curve = collected.curve()
    queries, gallery = scores.shape
    return Measured(per_query, bounds, queries, gallery, int((totals == 0).sum()), curve=curve)


def measure_both_ways(
    scores: Embedded | Matrix,
    relevance: Relevance,
    *,
    keep: Keep | None = None,
    keep_back: Keep | None = None,
    rank: bool = True,
    **options: Any,
) -> tuple[Measured, Measured]:
    """Both directions of scores that are the same asked from the other side.

    Where only recall and ranks of pairs are wanted, each score is computed once for both.

    Args:
        scores: (q, n).
        relevance: (q, n).
        keep, keep_back: As `keep` of `measure`, of the queries and of the entries that ask for queries.
        rank: See `measure`.
        options: The others of `measure`.

    Returns:
        Of the q queries in the gallery, of the n entries among the queries.
    """
    first: tuple[FirstRanks, FirstRanks] | tuple[None, None] = (None, None)
    if not rank and isinstance(relevance, ByPairs):
        first = first_ranks_both_ways(scores, relevance)
    return (
        measure(scores, relevance, keep=keep, rank=rank, first=first[0], **options),
        measure(
            scores.transposed(), relevance.transposed(), keep=keep_back, rank=rank, first=first[1], **options
        ),
    )


def expected_average_precision(scores: Scores | NDArray[Any], relevance: Relevance) -> Doubles:
    """AP@ALL of each query, (q,), expected over all orders of equal scores: "MAP@ALL" of `measure` alone.

    Args:
        scores: (q, n), or embeddings; of codes only distances are counted.
        relevance: (q, n).

    Raises:
        UsageError: scores and relevance of different shapes.
        BadData: scores with NaN.
    """
    scores = as_scores(scores)
    check_shapes(scores, relevance)
    if isinstance(scores, Embedded) and scores.similarity == "hamming":
        codes = scores.query > 0, scores.gallery > 0
        return hamming_groups(*codes, relevance).average_precision()["expected"]
    totals, found = relevance.totals(), np.zeros(scores.shape[0])
    for start, stop, block in score_blocks(scores):
        rows, ordered = order(block)
        hits, total = ranked(relevance.block(start, stop), rows), totals[start:stop]
        found[start:stop] = average_precision(hits, denominator="total", total=total)
        for part in _tied_lines(rows, ordered):
            found[start + part] = _tied_precision(tie_groups(ordered[part], hits[part]), total[part])[
                "expected"
            ]
    return found


def order(block: NDArray[Any], *, whole_numbers: bool = False) -> tuple[Rows, NDArray[Any]]:
    """Rows in the order of falling scores, ties by row, and the scores in that order, (b, n) each.

    A score of -inf means that the entry was not ranked: its row becomes -1.

    Args:
        block: (b, n) scores, of any type that `Matrix` takes.
        whole_numbers: They are minus a distance in bits, which sort faster as what they are.
    """
    block = comparable(block)
    keys = -block
    if whole_numbers:
        keys = keys.astype(np.min_scalar_type(int(keys.max(initial=0))))
    rows = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(block, rows, axis=1)
    if not whole_numbers and np.isneginf(ordered[:, -1:]).any():
        rows = np.where(np.isneginf(ordered), -1, rows)
    return rows, ordered


def tie_groups(ordered: NDArray[Any], relevant: Bools) -> TieGroups:
    """Groups of equal scores of rankings, from scores and relevance in rank order, (q, m) each.

    A score of -inf means that the entry was not ranked; it is in no group.
    """
    count = grouped(ordered, np.where(np.isneginf(ordered), -1, relevant), 2)
    return TieGroups(count.sum(axis=2), count[:, :, 1])


def pooled(parts: Sequence[Measured]) -> Measured:
    """Folds of one protocol together: the mean over folds of equal size is the mean over all their
    queries."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].per_query
    weights = np.asarray([part.queries for part in parts], np.float64)
    weights /= weights.sum()
    bounds = {
        name: {
            kind: float(sum(w * part.bounds[name][kind] for w, part in zip(weights, parts, strict=True)))
            for kind in parts[0].bounds[name]
        }
        for name in parts[0].bounds
    }
    curve = None
    if parts[0].curve is not None:
        curves = [part.curve[1] for part in parts if part.curve is not None]
        curve = (parts[0].curve[0], np.average(curves, axis=0, weights=weights))
    return Measured(
        {name: np.concatenate([part.per_query[name] for part in parts]) for name in names},
        bounds,
        sum(part.queries for part in parts),
        sum(part.gallery for part in parts),
        sum(part.without_relevant for part in parts),
        len(parts),
        curve,
    )


class _Collected:
    """Best, worst and expected values per query while the blocks of a ranking go by."""

    def __init__(
        self,
        shape: tuple[int, int],
        totals: Rows,
        cuts: Sequence[int],
        lists: Sequence[int],
        graded: bool,
    ) -> None:
        self.totals, self.cuts, self.lists, self.graded = totals, cuts, lists, graded
        names = ["MAP@ALL", *(f"MAP@{k}" for k in cuts), *(f"P@{n}" for n in lists), "mAP@R", "R-P"]
        names += ["NDCG@10", "NDCG@ALL"] if graded else []
        self.tied: dict[str, dict[str, Doubles]] = {
            name: {kind: np.zeros(shape[0]) for kind in ("best", "worst", "expected")} for name in names
        }
        self.levels = np.linspace(0, 1, 21)
        self.precision = np.zeros(len(self.levels))

    def add(self, start: int, stop: int, rows: Rows, ordered: NDArray[Any], relevance: Relevance) -> None:
        totals = self.totals[start:stop]
        match = relevance.block(start, stop)
        hits = ranked(match, rows)
        values = {"MAP@ALL": average_precision(hits, denominator="total", total=totals)}
        for k in self.cuts:
            values[f"MAP@{k}"] = average_precision(hits, k=k)
        for n in self.lists:
            values[f"P@{n}"] = precision_at(hits, n)
        values["mAP@R"], values["R-P"] = _at_r(hits, totals)
        grades = ideal = None
        if self.graded and isinstance(relevance, ByLabel):
            ideal = relevance.grades(start, stop)
            grades = np.where(rows >= 0, np.take_along_axis(ideal, np.maximum(rows, 0), axis=1), 0)
            values["NDCG@10"] = ndcg(grades, k=10, ideal=ideal)
            values["NDCG@ALL"] = ndcg(grades, ideal=ideal)
        for name, kinds in self.tied.items():
            for kept in kinds.values():
                kept[start:stop] = values[name]
        for part in _tied_lines(rows, ordered):
            found = self._tied(ordered[part], hits[part], totals[part])
            if grades is not None and ideal is not None:
                own = (ordered[part], grades[part])
                found["NDCG@10"] = tied_ndcg(*own, k=10, ideal=ideal[part])
                found["NDCG@ALL"] = tied_ndcg(*own, ideal=ideal[part])
            for name, bounds in found.items():
                for kind, value in bounds.items():
                    self.tied[name][kind][start + part] = value
        self._curve(hits, totals)

    def _tied(self, ordered: NDArray[Any], hits: Bools, totals: Rows) -> dict[str, dict[str, Doubles]]:
        """Best, worst and expected values of ranked queries; `totals` count what was not ranked, too."""
        groups = tie_groups(ordered, hits)
        first = np.maximum(totals, 1)
        found = {
            "MAP@ALL": _tied_precision(groups, totals),
            "mAP@R": _tied_precision(groups, totals, k=first, denominator="total"),
            "R-P": _times(groups.hits_within(first), 1 / first),
        }
        found |= {f"MAP@{k}": groups.average_precision(k=k) for k in self.cuts}
        return found | {f"P@{n}": _times(groups.hits_within(n), 1 / n) for n in self.lists}

    def _curve(self, hits: Bools, totals: Rows) -> None:
        found = np.cumsum(hits, axis=1)
        precision = found / np.arange(1, hits.shape[1] + 1)
        ceiling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        needed = np.maximum(np.ceil(self.levels * totals[:, None] - 1e-9), 1)
        for line in range(len(hits)):
            places = np.searchsorted(found[line], needed[line])
            inside = (places < hits.shape[1]) & (totals[line] > 0)
            self.precision[inside] += ceiling[line, places[inside]]

    def bounds(self) -> dict[str, dict[str, float]]:
        return {
            name: {kind: float(values.mean()) if len(values) else 0.0 for kind, values in kinds.items()}
            for name, kinds in self.tied.items()
        }

    def curve(self) -> tuple[Doubles, Doubles]:
        return self.levels, self.precision / max(len(self.totals), 1)


def _tied_lines(rows: Rows, ordered: NDArray[Any]) -> Iterator[Rows]:
    """The queries of a block that have ties, some at a time."""
    equal = (ordered[:, 1:] == ordered[:, :-1]) & (rows[:, 1:] >= 0)
    lines = np.flatnonzero(equal.any(axis=1))
    size = max(1, _TIED // max(rows.shape[1], 1))
    yield from (lines[first : first + size] for first in range(0, len(lines), size))


def _tied_precision(groups: TieGroups, totals: Rows, **options: Any) -> dict[str, Doubles]:
    """Best, worst and expected AP of ranked queries; `totals` count what was not ranked, too."""
    # Relevant entries that were not ranked add nothing to a sum and count in the denominator.
    return _times(groups.average_precision(**options), groups.hits.sum(axis=1) / np.maximum(totals, 1))


def _times(values: Mapping[str, Doubles], factor: Doubles | float) -> dict[str, Doubles]:
    return {kind: value * factor for kind, value in values.items()}


def _at_r(hits: Bools, totals: Rows) -> tuple[Doubles, Doubles]:
    """mAP@R (Musgrave, Belongie, Lim, ECCV 2020, section 4.3) and R-precision: the list is cut at R."""
    within = np.arange(hits.shape[1]) < totals[:, None]
    used = hits & within
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    divisor = np.maximum(totals, 1)
    return (precision * used).sum(axis=1) / divisor, used.sum(axis=1) / divisor
