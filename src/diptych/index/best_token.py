"""Exact search where an entry, or a query, is several vectors, and the best pair of them counts (BLIP-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Hits, Rows, checked_k
from diptych.index.flat import Flat, best

if TYPE_CHECKING:
    from diptych.metrics.scores import Matrix

__all__ = ["BestToken"]

_BLOCK = 1 << 24  # scores of tokens in memory at once


class BestToken:
    """A `Searchable` over entries of t vectors each: a query's score is that of the best pair of vectors.

    It asks a `Flat` index over all vectors of all entries for as many as can hide k entries: it is exact.

    Args:
        vectors: (n, t, d), compared by inner product.

    Example:
        >>> pictures = np.array([[[1, 0], [0.6, 0.8]], [[0, 1], [-0.6, 0.8]]], np.float32)
        >>> BestToken(pictures).search(np.array([[[1, 0]], [[0, 1]]], np.float32), 2).scores.round(1)
        array([[1. , 0. ],
               [1. , 0.8]], dtype=float32)
    """

    def __init__(self, vectors: NDArray[Any]) -> None:
        self.vectors: Floats = np.ascontiguousarray(vectors, np.float32)
        self._flat = Flat.of(self.vectors.reshape(-1, self.vectors.shape[-1]), "dot")

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.vectors)

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best entries of each query (q, m, d), ties by row; only rows of `within`, if given.

        Raises:
            UsageError: `k` is not positive.
        """
        k, each = checked_k(k), self.vectors.shape[1]
        vectors = np.asarray(vectors, np.float32)
        if not len(self):
            return Hits(
                np.full((len(vectors), k), -1, np.int64), np.full((len(vectors), k), -np.inf, np.float32)
            )
        tokens = (
            None if within is None else (np.asarray(within)[:, None] * each + np.arange(each)).reshape(-1)
        )
        wanted = min(k, len(self)) * each
        flat = self._flat.search(vectors.reshape(-1, vectors.shape[-1]), wanted, tokens)
        rows = flat.rows.reshape(len(vectors), -1)
        scores = flat.scores.reshape(len(vectors), -1)
        parts = []
        for line, values in zip(rows, scores, strict=True):
            entries, place = np.unique(line[line >= 0] // each, return_inverse=True)
            found = np.full(len(entries), -np.inf, np.float32)
            np.maximum.at(found, place, values[line >= 0])
            parts.append(best(found[None], entries, k))
        if not parts:
            return Hits(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
        return Hits(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))

    def compared(self, vectors: NDArray[Any]) -> Matrix:
        """Scores of queries (q, m, d) with every entry."""
        from diptych.metrics.scores import Matrix  # a search has no need of the metrics

        vectors = np.asarray(vectors, np.float32)
        n, each, d = self.vectors.shape
        found = np.zeros((len(vectors), n), np.float32)
        size = max(1, _BLOCK // max(n * each * max(vectors.shape[1], 1), 1))
        flat = self.vectors.reshape(-1, d)
        for start in range(0, len(vectors), size):
            part = vectors[start : start + size]
            pairs = part.reshape(-1, d) @ flat.T
            found[start : start + size] = pairs.reshape(len(part), -1, n, each).max(axis=(1, 3))
        return Matrix(found)
