"""What counts as a match: three ways to say which gallery entries are relevant to which queries.

All give the same thing, blocks of a boolean matrix (queries, gallery), without ever holding the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.errors import BadData, UsageError
from diptych.similarity import words

__all__ = ["Bools", "ByLabel", "ByPairs", "Given", "Relevance", "blocks", "yes_or_no"]

Bools = NDArray[np.bool_]


def yes_or_no(values: Any, what: str) -> Bools:
    """Values of 0 and 1, or bool, of any shape, as bool.

    Args:
        values: An array or nested lists.
        what: Begins the error, such as "query labels".

    Raises:
        BadData: anything else, naming the first row and value: -1, NaN and class numbers are no answer to
            whether something holds.
    """
    given = np.asarray(values)
    if given.dtype == bool:
        return given
    if not given.size:
        return given.astype(bool)
    if given.dtype.kind not in "fiu":
        raise BadData(f"{what} must hold 0 and 1, or true and false, not {given.dtype}")
    yes = given == 1
    wrong = ~(yes | (given == 0))
    if wrong.any():
        row, *place = (int(at) for at in np.argwhere(wrong)[0])
        column = f" in column {place[0]}" if place and given.shape[1] > 1 else ""
        raise BadData(
            f"{what} row {row} holds {given[(row, *place)]}{column}, but only 0 and 1 say whether something "
            "holds; write -1/1 as 0/1, and class numbers as one column a class "
            "(diptych.data.incoming.class_labels)"
        )
    return np.asarray(yes)


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
        query: (q, C) multi-hot, of 0 and 1 or bool.
        gallery: (n, C).

    Raises:
        BadData: labels that hold anything else, naming row and value.
        UsageError: the two have different numbers of classes.
    """

    def __init__(self, query: NDArray[Any], gallery: NDArray[Any]) -> None:
        query, gallery = yes_or_no(query, "query labels"), yes_or_no(gallery, "gallery labels")
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
        BadData: numbers that are not whole.
        UsageError: a row that does not exist, or pairs of another shape.
    """

    def __init__(self, pairs: NDArray[Any], shape: tuple[int, int]) -> None:
        given = np.asarray(pairs)
        if given.size and (given.ndim != 2 or given.shape[1] != 2):
            raise UsageError(f"pairs must be (p, 2), query row and gallery row, not {given.shape}")
        if given.size and given.dtype.kind not in "iu" and not (given == np.floor(given)).all():
            row = int(np.argwhere(given != np.floor(given))[0, 0])
            raise BadData(f"pair {row} is {given[row].tolist()}, but rows are whole numbers, counted from 0")
        pairs = given.astype(np.int64).reshape(-1, 2)
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
        matrix: (q, n) of 0 and 1 or bool.

    Raises:
        BadData: it holds anything else, naming row and value.
        UsageError: it has another number of dimensions.
    """

    def __init__(self, matrix: NDArray[Any]) -> None:
        self.matrix: Bools = yes_or_no(matrix, "the relevance matrix")
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
