"""Normalised discounted cumulative gain, for relevance that comes in degrees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.metrics.precision import Doubles, check_cut

__all__ = ["ndcg"]


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


def _discounted(grades: Doubles) -> Doubles:
    discount = np.log2(2 + np.arange(grades.shape[1]))
    return np.asarray(((2**grades - 1) / discount).sum(axis=1), np.float64)
