"""Normalised discounted cumulative gain, for relevance that comes in degrees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.metrics.precision import Doubles, check_cut

__all__ = ["ndcg", "tied_ndcg"]


def ndcg(grades: NDArray[Any], *, k: int | None = None, ideal: NDArray[Any] | None = None) -> Doubles:
    """NDCG@k of each query, (q,), with gain 2^grade - 1 and discount log2(1 + rank); 0 where nothing is
    relevant.

    Args:
        grades: (q, m) degree of relevance in rank order, such as the number of shared labels.
        k: Cut; None for the whole list.
        ideal: (q, n) grades of the whole gallery in any order, if the list is cut short of it.

    Example:
        >>> round(float(ndcg([[0, 2, 1, 0, 3]])[0]), 6)
        0.543051
    """
    check_cut(k, "total")
    grades = np.asarray(grades, np.float64)
    best = -np.sort(-(grades if ideal is None else np.asarray(ideal, np.float64)), axis=1)
    gained, possible = _discounted(grades[:, :k]), _discounted(best[:, :k])
    return np.asarray(np.divide(gained, possible, out=np.zeros(len(grades)), where=possible > 0), np.float64)


def tied_ndcg(
    ordered: NDArray[Any], grades: NDArray[Any], *, k: int | None = None, ideal: NDArray[Any] | None = None
) -> dict[str, float]:
    """Best, worst and expected NDCG@k of one query over all orders of equal scores.

    How many entries of each grade have each score says it all: the best order of a group puts its highest
    grades first, the worst its lowest, and on average every place of a group gains as much as any other.

    Args:
        ordered: (m,) scores in rank order.
        grades: (m,) whole degrees of relevance in rank order, from 0.
        k, ideal: See `ndcg`; `ideal` is (n,).

    Returns:
        Values by "best", "worst" and "expected".
    """
    check_cut(k, "total")
    grades = np.asarray(grades, np.int64)
    possible = _discounted(-np.sort(-np.asarray(grades if ideal is None else ideal, np.float64))[None, :k])
    if not possible[0]:
        return {"best": 0.0, "worst": 0.0, "expected": 0.0}
    group = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
    degrees = int(grades.max(initial=0)) + 1
    count = np.bincount(group * degrees + grades).astype(np.int64)
    count = np.pad(count, (0, -len(count) % degrees)).reshape(-1, degrees)
    gain = 2.0 ** np.arange(degrees, dtype=np.float64) - 1
    # Discounts of the first 0, 1, 2 ... places together; from k on no more come.
    discount = 1 / np.log2(2 + np.arange(len(grades)))
    discount[len(discount) if k is None else k :] = 0
    together = np.concatenate([[0.0], np.cumsum(discount)])

    def gained(counts: NDArray[np.int64], gains: NDArray[Any]) -> float:
        ends = np.cumsum(counts)
        return float((together[ends] - together[ends - counts.ravel()]) @ np.tile(gains, len(counts)))

    sizes = count.sum(axis=1)
    ends = np.cumsum(sizes)
    expected = (count @ gain / sizes) @ (together[ends] - together[ends - sizes])
    sums = {
        "best": gained(count[:, ::-1], gain[::-1]),
        "worst": gained(count, gain),
        "expected": float(expected),
    }
    return {name: value / float(possible[0]) for name, value in sums.items()}


def _discounted(grades: Doubles) -> Doubles:
    discount = np.log2(2 + np.arange(grades.shape[1]))
    return np.asarray(((2**grades - 1) / discount).sum(axis=1), np.float64)
