"""Where scores come from: a matrix, embeddings that are compared block by block, or a ranking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diptych import similarity as similarities
from diptych.core import Floats, Hits, Rows
from diptych.errors import BadData, UsageError

__all__ = [
    "Embedded",
    "Matrix",
    "Ranked",
    "Replaced",
    "Scores",
    "as_scores",
    "comparable",
    "score_blocks",
]

# Whole numbers beyond it are not all doubles.
_EXACT = 2**53


class Scores(Protocol):
    """Scores of q queries with n entries, larger is better, -inf for what is not ranked."""

    shape: tuple[int, int]
    """(q, n)."""

    def block(self, start: int, stop: int, left: int = 0, right: int | None = None) -> NDArray[Any]:
        """Scores of queries `start` to `stop` with entries `left` to `right`."""
        ...


class Embedded:
    """Scores of queries against a gallery that are computed when they are needed.

    Args:
        query: (q, d), or (q, t, d) for "maxsim".
        gallery: (n, d), or (n, u, d).
        similarity: "cosine" (a vector of zeros has 0 with everything), "dot", "hamming" or "maxsim".

    Raises:
        BadData: vectors that are not finite, or whose inner products leave single precision, naming the row.
        UsageError: dimensions that differ.
    """

    def __init__(self, query: NDArray[Any], gallery: NDArray[Any], similarity: str = "cosine") -> None:
        query, gallery = np.asarray(query), np.asarray(gallery)
        if query.ndim != gallery.ndim or query.shape[-1] != gallery.shape[-1]:
            raise UsageError(f"queries {query.shape} and gallery {gallery.shape} do not have one dimension")
        for side, vectors in (("query", query), ("gallery", gallery)):
            similarities.check_finite(vectors, f"{side} vector")
        self.similarity = similarity
        self._compare = similarities.named(similarity)
        if similarity == "cosine":
            query, gallery = similarities.unit(query), similarities.unit(gallery)
            self._compare = similarities.dot
        elif similarity != "hamming":
            similarities.check_lengths(query, "query vector")
            similarities.check_lengths(gallery, "gallery vector")
        self.query, self.gallery = query, gallery
        self.shape = (len(query), len(gallery))

    def block(self, start: int, stop: int, left: int = 0, right: int | None = None) -> Floats:
        """Scores of queries `start` to `stop` with entries `left` to `right`."""
        return self._compare(self.query[start:stop], self.gallery[left:right])

    def transposed(self) -> Embedded:
        """The same scores asked from the other side; "maxsim" is not symmetric, so it is refused."""
        if self.similarity == "maxsim":
            raise UsageError("maxsim differs by direction; give the embeddings of each direction apart")
        turned = object.__new__(Embedded)
        turned.__dict__.update(self.__dict__)
        turned.query, turned.gallery, turned.shape = self.gallery, self.query, self.shape[::-1]
        return turned


class Matrix:
    """Scores that are already there.

    Args:
        values: (q, n) numbers, larger is better; -inf means "not ranked" and comes last. Single and double
            precision are kept, anything else is compared in double precision.

    Raises:
        BadData: a score that is NaN or infinite upwards, or a whole number that double precision cannot tell
            from its neighbour.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        values = np.asarray(values)
        if values.ndim != 2:
            raise UsageError(f"scores must be (queries, gallery), not {values.shape}")
        values = comparable(values)
        for start in range(0, len(values), 64):
            highest = values[start : start + 64].max(axis=1, initial=-np.inf)
            bad = ~(highest < np.inf)
            if bad.any():
                row = int(bad.argmax())
                what = "NaN" if np.isnan(highest[row]) else "an infinite score"
                raise BadData(
                    f"the scores of query {start + row} contain {what}, which has no place in a ranking; "
                    "look for a division by zero or a training that diverged"
                )
        self.values = values
        self.shape = (values.shape[0], values.shape[1])

    def block(self, start: int, stop: int, left: int = 0, right: int | None = None) -> NDArray[Any]:
        """Scores of queries `start` to `stop` with entries `left` to `right`."""
        return self.values[start:stop, left:right]

    def transposed(self) -> Matrix:
        """The same scores asked from the other side."""
        turned = object.__new__(Matrix)
        turned.values = self.values.T
        turned.shape = self.shape[::-1]
        return turned


class Ranked:
    """Scores of a ranking that was made before: everything that is not in it is -inf, "not ranked".

    Args:
        hits: The ranked rows of each query and their scores.
        gallery: Entries altogether.
    """

    def __init__(self, hits: Hits, gallery: int) -> None:
        self.hits = hits
        self.shape = (len(hits.rows), gallery)

    def block(self, start: int, stop: int, left: int = 0, right: int | None = None) -> Floats:
        """Scores of queries `start` to `stop` with entries `left` to `right`."""
        rows, scores = self.hits.rows[start:stop], self.hits.scores[start:stop]
        found = np.full((len(rows), self.shape[1]), -np.inf, scores.dtype)
        line, at = np.nonzero(rows >= 0)
        found[line, rows[line, at]] = scores[line, at]
        return found[:, left:right]


class Replaced:
    """Other scores of which each query has some entries' replaced.

    Args:
        inner: The other scores.
        rows: (q, m) entries, each at most once a query; -1 for none.
        scores: (q, m) their new scores.
    """

    def __init__(self, inner: Scores, rows: Rows, scores: Floats) -> None:
        self.inner, self.rows, self.scores = inner, rows, scores
        self.shape = inner.shape

    def block(self, start: int, stop: int, left: int = 0, right: int | None = None) -> Floats:
        """Scores of queries `start` to `stop` with entries `left` to `right`."""
        given = comparable(self.inner.block(start, stop, left, right))
        found = np.array(given, np.result_type(given, self.scores))
        rows = self.rows[start:stop] - left
        line, at = np.nonzero((rows >= 0) & (rows < found.shape[1]) & (self.rows[start:stop] >= 0))
        found[line, rows[line, at]] = self.scores[start:stop][line, at]
        return found


def comparable(values: NDArray[Any]) -> NDArray[Any]:
    """Scores in single or double precision, as they are, and others in double precision.

    Unsigned numbers cannot be turned round to be sorted, -inf is no whole number, and half precision
    overflows early.

    Raises:
        BadData: no numbers, or whole ones that double precision cannot tell apart.
    """
    values = np.asarray(values)
    if values.dtype in (np.float32, np.float64):
        return values
    if values.dtype.kind not in "fiub":
        raise BadData(f"scores must be numbers, not {values.dtype}")
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        largest = max(int(values.max()), -int(values.min()))
        if largest > _EXACT:
            raise BadData(
                f"scores are whole numbers of up to {largest}, which double precision cannot tell apart; "
                "subtract what they have in common, or give their ranks"
            )
    return values.astype(np.float64)


def as_scores(scores: Scores | NDArray[Any]) -> Scores:
    """A plain matrix as `Matrix`; anything else as it is."""
    return Matrix(scores) if isinstance(scores, np.ndarray) else scores


def score_blocks(scores: Scores, *, entries: int = 1 << 21) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """All blocks of whole rows, (start, stop, scores), each of about so many entries."""
    queries, gallery = scores.shape
    size = max(1, entries // max(gallery, 1))
    for start in range(0, queries, size):
        stop = min(start + size, queries)
        yield start, stop, comparable(scores.block(start, stop))
