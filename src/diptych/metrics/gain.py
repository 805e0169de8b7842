"""Normalised discounted cumulative gain, for relevance that comes in degrees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import BadData
from diptych.metrics.precision import Doubles, check_cut, grouped

__all__ = ["ndcg", "tied_ndcg"]


def ndcg(grades: NDArray[Any], *, k: int | None = None, ideal: NDArray[Any] | None = None) -> Doubles:
    """NDCG@k of each query, (q,), with gain 2^grade - 1 and discount log2(1 + rank); 0 where nothing is
    relevant.

    Args:
        grades: (q, m) degree of relevance in rank order, such as the number of shared labels.
        k: Cut; None for the whole list.
        ideal: (q, n) grades of the whole gallery in any order, if the list is cut short of it.

    Raises:
        BadData: a grade that is negative, infinite or NaN.

    Example:
        >>> round(float(ndcg([[0, 2, 1, 0, 3]])[0]), 6)
        0.543051
    """
    check_cut(k, "total")
    grades = _checked(grades)
    best = -np.sort(-(grades if ideal is None else _checked(ideal)), axis=1)
    gained, possible = _discounted(grades[:, :k]), _discounted(best[:, :k])
    return np.asarray(np.divide(gained, possible, out=np.zeros(len(grades)), where=possible > 0), np.float64)


def tied_ndcg(
    ordered: NDArray[Any], grades: NDArray[Any], *, k: int | None = None, ideal: NDArray[Any] | None = None
) -> dict[str, Doubles]:
    """Best, worst and expected NDCG@k of each query, (q,) each, over all orders of equal scores.

    How many entries of each grade have each score says it all: the best order of a group puts its highest
    grades first, the worst its lowest, and on average every place of a group gains as much as any other.

    Args:
        ordered: (q, m) scores in rank order.
        grades: (q, m) whole degrees of relevance in rank order, from 0.
        k, ideal: See `ndcg`.

    Returns:
        Values by "best", "worst" and "expected".
    """
    check_cut(k, "total")
    grades = np.asarray(grades, np.int64)
    most = int(grades.max(initial=0))
    # Entries of each query, group and grade; where a query has fewer groups than another, the last are empty.
    count = grouped(ordered, grades, most + 1)
    gain = 2.0 ** np.arange(most + 1, dtype=np.float64) - 1
    # Discounts of the first 0, 1, 2 ... places together; from k on no more come.
    discount = 1 / np.log2(2 + np.arange(grades.shape[1]))
    discount[len(discount) if k is None else k :] = 0
    together = np.concatenate([[0.0], np.cumsum(discount)])

    def gained(counts: NDArray[np.int64], gains: NDArray[Any]) -> Doubles:
        flat = counts.reshape(len(counts), -1)
        ends = np.cumsum(flat, axis=1)
        spans = (together[ends] - together[ends - flat]).reshape(counts.shape)
        return np.asarray((spans @ gains).sum(axis=1), np.float64)

    sizes = count.sum(axis=2)
    ends = np.cumsum(sizes, axis=1)
    mean = np.divide(count @ gain, sizes, out=np.zeros(sizes.shape), where=sizes > 0)
    sums = {
        "best": gained(count[:, :, ::-1], gain[::-1]),
        "worst": gained(count, gain),
        "expected": (mean * (together[ends] - together[ends - sizes])).sum(axis=1),
    }
    best = -np.sort(-np.asarray(grades if ideal is None else ideal, np.float64), axis=1)
    possible = _discounted(best[:, :k])
    return {
        name: np.divide(value, possible, out=np.zeros(len(grades)), where=possible > 0)
        for name, value in sums.items()
    }


def _checked(grades: Any) -> Doubles:
    found = np.asarray(grades, np.float64)
    wrong = ~((found >= 0) & (found < np.inf))
    if wrong.any():
        row, column = (int(at) for at in np.argwhere(wrong)[0])
        raise BadData(
            f"the grade of query {row} at place {column} is {found[row, column]}; grades are 0 for what is "
            "not relevant, and more for what is"
        )
    return found


def _discounted(grades: Doubles) -> Doubles:
    discount = np.log2(2 + np.arange(grades.shape[1]))
    return np.asarray(((2**grades - 1) / discount).sum(axis=1), np.float64)
