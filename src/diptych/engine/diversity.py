"""Orders hits so that those shown together are not all alike: maximal marginal relevance.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
summaries" (SIGIR 1998): each next hit has the best sum of how well it matches and of how unlike those
before it is. Both are first brought to one scale, as the scores of a text with pictures and of pictures
with each other lie in different parts of it.
"""

from __future__ import annotations

import numpy as np

from diptych.core import Floats, Rows

__all__ = ["AMONG", "diversified"]

AMONG = 100
"""Entries of which the order is made anew; the next as many follow with an order of their own."""


def diversified(scores: Floats, vectors: Floats, diverse: float) -> Rows:
    """Places (m,) of hits in the order of maximal marginal relevance.

    Args:
        scores: (m,) of the hits, best first or not.
        vectors: (m, d) of length 1.
        diverse: Weight of being unlike what comes before, in [0, 1]; 0 orders by score alone. It is 1 less
            lambda of the paper.
    """
    if not len(scores):
        return np.zeros(0, np.int64)
    relevance = _scaled(np.asarray(scores, np.float64), float(np.max(scores)))
    alike = _scaled(np.asarray(vectors @ vectors.T, np.float64), 1.0)
    # The first is that which matches best, however much weight there is on the rest.
    chosen = [int(np.argmax(relevance))]
    left = np.ones(len(relevance), bool)
    left[chosen] = False
    nearest = alike[chosen[0]].copy()
    while left.any():
        gain = (1 - diverse) * relevance - diverse * nearest
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        chosen.append(best)
        left[best] = False
        np.maximum(nearest, alike[best], out=nearest)
    return np.array(chosen, np.int64)


def _scaled(values: np.ndarray, top: float) -> np.ndarray:
    """Values with the lowest at 0 and `top` at 1."""
    low = float(values.min())
    return (values - low) / (top - low) if top > low else np.zeros_like(values)
