"""flat: every query is compared with every vector, which is what other indexes are measured against.

Similarities: cosine, dot, hamming, maxsim
Finds: the true best, ties by row
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych import similarity as similarities
from diptych.core import Floats, Hits, Rows, checked_k
from diptych.errors import BadData, UsageError

if TYPE_CHECKING:
    from diptych.metrics.scores import Embedded

__all__ = ["Flat", "among", "best", "places_of"]

# Scores of this many entries are in memory at once: enough for BLAS to be at its best, little for a laptop.
_BLOCK = 1 << 22
_FEW = 64  # times fewer numbers are looked up by bisection
_SPARSE = 8  # numbers that a table has for each that matters, at most


def best(scores: Floats, rows: Rows, k: int) -> Hits:
    """The k best columns of each line of scores (q, n), as the rows (n,) they stand for, ties by row.

    Lines with fewer than k columns are filled with row -1 and score -inf.
    """
    q, n = scores.shape
    kept = min(k, n)
    hits = Hits(np.full((q, k), -1, np.int64), np.full((q, k), -np.inf, np.result_type(scores, np.float32)))
    for line in range(q if kept else 0):
        values = scores[line]
        if kept < n:
            # Everything as good as the k-th: ties at the edge must be settled by row, not by the partition.
            edge = np.partition(values, n - kept)[n - kept]
            columns = np.flatnonzero(values >= edge)
        else:
            columns = np.arange(n)
        order = np.lexsort((rows[columns], -values[columns]))[:kept]
        hits.rows[line, :kept] = rows[columns[order]]
        hits.scores[line, :kept] = values[columns[order]]
    return hits


def among(rows: Rows, within: Rows) -> NDArray[np.bool_]:
    """Which of some rows (m,), in any order, are in a set (n,), ascending.

    Each is looked up by bisection, unless there are nearly as many as in the set, whose numbers lie close:
    then a table of these is several times as fast, as it is written and read in order.
    """
    if not len(within) or not len(rows):
        return np.zeros(len(rows), np.bool_)
    first, span = int(within[0]), int(within[-1]) - int(within[0]) + 1
    found: NDArray[np.bool_]
    if len(rows) * _FEW < len(within) or span > _SPARSE * (len(rows) + len(within)):
        found = within[np.searchsorted(within, rows).clip(max=len(within) - 1)] == rows
        return found
    table = np.zeros(span, np.bool_)
    table[within - first] = True
    places = rows - first
    found = table.take(places, mode="clip") & (places >= 0) & (places < span)
    return found


def places_of(rows: Rows, within: Rows) -> Rows:
    """Places (m,), ascending, of those of the rows (n,), ascending, that are in a set (r,), in any order."""
    wanted = np.asarray(within, np.int64)
    if (wanted[1:] <= wanted[:-1]).any():
        wanted = np.unique(wanted)
    if len(wanted) * _FEW > len(rows):
        return np.flatnonzero(among(rows, wanted))
    places = np.searchsorted(rows, wanted).clip(max=max(len(rows) - 1, 0))
    there: Rows = places[rows[places] == wanted] if len(rows) else places[:0]
    return there


class Flat:
    """An `Index` that compares with everything; the truth that other indexes are measured against.

    Args:
        dim: Dimensions (or bits) of a vector.
        similarity: "cosine", "dot", "hamming" or "maxsim".

    Example:
        >>> index = Flat(2)
        >>> index.add(np.array([7, 9]), np.array([[1, 0], [0, 1]]))
        >>> index.search(np.array([[1, 0.1]]), 1).rows
        array([[7]])
    """

    def __init__(self, dim: int, similarity: str = "cosine") -> None:
        self.dim, self.similarity = dim, similarity
        self._compare = similarities.named(similarity)
        self._rows: Rows = np.zeros(0, np.int64)
        self._vectors: Floats = np.zeros((0, dim), np.float32)

    @classmethod
    def of(cls, vectors: NDArray[Any], similarity: str = "cosine") -> Self:
        """The index of vectors (n, d) under the rows 0 .. n - 1."""
        vectors = np.asarray(vectors)
        index = cls(vectors.shape[-1] if vectors.size else 1, similarity)
        if len(vectors):
            index.add(np.arange(len(vectors), dtype=np.int64), vectors)
        return index

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self._rows)

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Store vectors (n, d) under rows (n,); a row already there is replaced.

        Raises:
            UsageError: shapes that do not fit.
            BadData: vectors that are not finite, naming the first one's row.
        """
        rows, vectors = np.asarray(rows, np.int64), np.asarray(vectors)
        if vectors.shape[-1] != self.dim or len(rows) != len(vectors):
            raise UsageError(
                f"{len(rows)} rows and vectors {vectors.shape} do not fit an index of {self.dim} dimensions"
            )
        similarities.check_finite(vectors, "vector")
        if self.similarity == "cosine":
            vectors = similarities.unit(vectors)
        else:
            with np.errstate(over="ignore"):
                vectors = np.array(vectors, np.float32)
            similarities.check_finite(vectors, "in single precision, vector")
        _, last = np.unique(rows[::-1], return_index=True)  # of a row given twice the last counts
        if len(last) < len(rows):
            keep = np.sort(len(rows) - 1 - last)
            rows, vectors = rows[keep], vectors[keep]
        self.remove(rows)
        if not len(self._rows):
            self._rows, self._vectors = rows, vectors
        else:
            self._rows = np.concatenate([self._rows, rows])
            self._vectors = np.concatenate([self._vectors, vectors])

    def remove(self, rows: Rows) -> None:
        """Forget rows (n,); rows that are not there are ignored."""
        stays = ~np.isin(self._rows, rows)
        if not stays.all():
            self._rows, self._vectors = self._rows[stays], self._vectors[stays]

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given.

        Raises:
            UsageError: `k` is not positive.
        """
        k = checked_k(k)
        rows, gallery = self._rows, self._vectors
        if within is not None:
            chosen = np.isin(rows, within)
            rows, gallery = rows[chosen], gallery[chosen]
        queries = np.asarray(vectors)
        if self.similarity == "cosine":
            queries = similarities.unit(queries)
        compare = similarities.dot if self.similarity == "cosine" else self._compare
        size = max(1, _BLOCK // max(len(rows), 1))
        parts = [
            best(compare(queries[start : start + size], gallery), rows, k)
            for start in range(0, len(queries), size)
        ]
        if not parts:
            return Hits(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
        return Hits(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))

    def compared(self, vectors: NDArray[Any]) -> Embedded:
        """Scores of queries (q, d) with every vector, in ascending order of rows, computed when needed."""
        from diptych.metrics.scores import Embedded  # a search has no need of the metrics

        order = np.argsort(self._rows, kind="stable")
        sorted_already = bool((order[:-1] < order[1:]).all())
        gallery = self._vectors if sorted_already else self._vectors[order]
        if self.similarity == "cosine":  # what is kept has unit length
            return Embedded(similarities.unit(vectors), gallery, "dot")
        return Embedded(np.asarray(vectors), gallery, self.similarity)

    def save(self, path: Path) -> None:
        """Write everything to the file `path` (NumPy's zip format)."""
        with path.open("wb") as file:
            np.savez(file, rows=self._rows, vectors=self._vectors, similarity=np.array(self.similarity))

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index that was saved.

        Raises:
            BadData: the file is not one that `save` wrote.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                index = cls(saved["vectors"].shape[-1], str(saved["similarity"]))
                index._rows, index._vectors = saved["rows"], saved["vectors"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadData(f"{path} is not a saved index ({error}); build it again") from error
        return index
