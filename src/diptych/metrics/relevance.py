"""What counts as a match: three ways to say which gallery entries are relevant to which queries.

All give the same thing, blocks of a boolean matrix (queries, gallery), without ever holding the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.errors import UsageError
from diptych.similarity import words

__all__ = ["Bools", "ByLabel", "ByPairs", "Given", "Relevance", "blocks"]

Bools = NDArray[np.bool_]


class Relevance(Protocol):
    """Which of n gallery entries are relevant to each of q queries."""

    shape: tuple[int, int]
    """(q, n)."""

    def block(self, start: int, stop: int) -> Bools:
        """Rows `start` to `stop` of the relevance matrix, (stop - start, n)."""
        ...

    def totals(self) -> Rows:
        """(q,) number of relevant entries of each query."""
        ...

    def transposed(self) -> Relevance:
        """The same matches asked from the other side."""
        ...


class ByLabel:
    """Relevant if query and entry share at least one label, the rule of the label data sets.

    Args:
        query: (q, C) multi-hot; anything that is not 0 counts as 1.
        gallery: (n, C).

    Raises:
        UsageError: the two have different numbers of classes.
    """

    def __init__(self, query: NDArray[Any], gallery: NDArray[Any]) -> None:
        query, gallery = np.asarray(query) != 0, np.asarray(gallery) != 0
        if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
            raise UsageError(
                "labels must be (q, C) and (n, C) with the same classes, "
                f"not {query.shape} and {gallery.shape}"
            )
        self.query, self.gallery = query, gallery
        self.shape = (len(query), len(gallery))
        # 64 labels to a word: sharing one is a bitwise "and".
        self._query, self._gallery = words(query), np.ascontiguousarray(words(gallery).T)

    def block(self, start: int, stop: int) -> Bools:
        """Rows `start` to `stop` of the relevance matrix."""
        asked = self._query[start:stop]
        shared = (asked[:, :1] & self._gallery[0]) != 0
        for word in range(1, len(self._gallery)):
            shared |= (asked[:, word : word + 1] & self._gallery[word]) != 0
        return np.asarray(shared)

    def totals(self) -> Rows:
        """(q,) number of relevant entries of each query."""
        found = [part.sum(axis=1) for _, _, part in blocks(self)]
        return np.concatenate([*found, np.zeros(0, np.int64)]).astype(np.int64)

    def grades(self, start: int, stop: int) -> Rows:
        """(stop - start, n) number of labels that query and entry share."""
        return np.asarray(
            self.query[start:stop].astype(np.float32) @ self.gallery.T.astype(np.float32)
        ).astype(np.int64)

    def transposed(self) -> ByLabel:
        """The same matches asked from the other side."""
        return ByLabel(self.gallery, self.query)


class ByPairs:
    """Relevant if the pair is listed, the rule of caption data sets; several entries a query are fine.

    Args:
        pairs: (p, 2) query row and gallery row; a pair given twice counts once.
        shape: (q, n).

    Raises:
        UsageError: a row that does not exist.
    """

    def __init__(self, pairs: NDArray[Any], shape: tuple[int, int]) -> None:
        pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
        if len(pairs) and (pairs.min() < 0 or (pairs.max(axis=0) >= np.asarray(shape)).any()):
            raise UsageError(f"pairs name rows outside {shape[0]} queries and {shape[1]} gallery entries")
        self.shape = shape
        self.pairs: Rows = np.unique(pairs, axis=0)
        self._starts = np.searchsorted(self.pairs[:, 0], np.arange(shape[0] + 1))

    def block(self, start: int, stop: int) -> Bools:
        """Rows `start` to `stop` of the relevance matrix."""
        found = np.zeros((stop - start, self.shape[1]), bool)
        part = self.between(start, stop)
        found[part[:, 0] - start, part[:, 1]] = True
        return found

    def between(self, start: int, stop: int) -> Rows:
        """The pairs (p', 2) of queries `start` to `stop`."""
        return np.asarray(self.pairs[self._starts[start] : self._starts[stop]])

    def totals(self) -> Rows:
        """(q,) number of relevant entries of each query."""
        return np.diff(self._starts)

    def transposed(self) -> ByPairs:
        """The same matches asked from the other side."""
        return ByPairs(self.pairs[:, ::-1], (self.shape[1], self.shape[0]))


class Given:
    """Relevant where a matrix says so, such as the hand-made one of Bi-CMR.

    Args:
        matrix: (q, n); anything that is not 0 counts as relevant.
    """

    def __init__(self, matrix: NDArray[Any]) -> None:
        self.matrix: Bools = np.asarray(matrix) != 0
        if self.matrix.ndim != 2:
            raise UsageError(f"a relevance matrix must be (queries, gallery), not {self.matrix.shape}")
        self.shape = (self.matrix.shape[0], self.matrix.shape[1])

    def block(self, start: int, stop: int) -> Bools:
        """Rows `start` to `stop` of the relevance matrix."""
        return np.asarray(self.matrix[start:stop])

    def totals(self) -> Rows:
        """(q,) number of relevant entries of each query."""
        return np.asarray(self.matrix.sum(axis=1), np.int64)

    def transposed(self) -> Given:
        """The same matches asked from the other side."""
        return Given(self.matrix.T)


def blocks(relevance: Relevance, *, entries: int = 1 << 22) -> Iterator[tuple[int, int, Bools]]:
    """All blocks, (start, stop, rows), each of about so many entries."""
    queries, gallery = relevance.shape
    size = max(1, entries // max(gallery, 1))
    for start in range(0, queries, size):
        stop = min(start + size, queries)
        yield start, stop, relevance.block(start, stop)
