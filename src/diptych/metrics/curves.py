"""Curves: precision against recall, by rank and by Hamming radius, and precision against list length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.metrics.precision import Doubles, TieGroups, precision_at
from diptych.metrics.relevance import yes_or_no

__all__ = ["Curve", "interpolated_precision", "precision_by_radius", "precision_curve"]


@dataclass(frozen=True)
class Curve:
    """Points of a curve.

    Args:
        x: (p,) recall, or length of the list.
        y: (p,) precision.
    """

    x: Doubles
    y: Doubles


def interpolated_precision(
    relevant: NDArray[Any], totals: NDArray[Any], *, levels: Sequence[float] = tuple(np.linspace(0, 1, 21))
) -> Curve:
    """Mean over queries of the highest precision at a recall of at least each level (macro).

    Queries without a relevant entry have precision 0 everywhere, as their AP is 0.

    Args:
        relevant: (q, n) relevance in rank order.
        totals: (q,) relevant entries in the gallery.
        levels: Recalls, ascending.
    """
    relevant = yes_or_no(relevant, "relevance")
    found = np.cumsum(relevant, axis=1)
    precision = found / np.arange(1, relevant.shape[1] + 1)
    # From right to left, the best precision at this recall or a higher one.
    ceiling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    y = np.zeros(len(levels))
    for at, level in enumerate(levels):
        needed = np.maximum(np.ceil(level * np.asarray(totals) - 1e-9), 1)
        for query in range(len(relevant)):
            place = np.searchsorted(found[query], needed[query])
            if totals[query] and place < relevant.shape[1]:
                y[at] += ceiling[query, place]
    return Curve(np.asarray(levels, np.float64), y / max(len(relevant), 1))


def precision_by_radius(groups: TieGroups) -> Curve:
    """Precision and recall of all entries within Hamming radius 0, 1 .. bits, over all pairs (micro).

    P(r) = relevant pairs with d <= r / pairs with d <= r, R(r) = the same numerator / relevant pairs: the
    hash lookup of DCMH's evaluation. 0 where nothing lies within the radius.
    """
    retrieved = np.cumsum(groups.sizes.sum(axis=0))
    found = np.cumsum(groups.hits.sum(axis=0))
    precision = np.divide(found, retrieved, out=np.zeros(len(found)), where=retrieved > 0)
    return Curve(found / max(int(found[-1]), 1), precision)


def precision_curve(relevant: NDArray[Any], lengths: Sequence[int]) -> Curve:
    """Mean P@N at each list length N ("topN-precision").

    Args:
        relevant: (q, m) relevance in rank order.
        lengths: The N.
    """
    means = [float(precision_at(relevant, n).mean()) for n in lengths]
    return Curve(np.asarray(lengths, np.float64), np.asarray(means))
