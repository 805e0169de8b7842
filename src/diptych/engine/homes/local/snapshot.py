"""One side of a collection at one moment, ready to be searched exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Hits, Rows
from diptych.index import half
from diptych.index.flat import best, places_of

__all__ = ["Snapshot"]

_FEW_QUERIES = 4  # beyond, one matrix product of many queries is faster than faiss query by query
_BLOCK_ROWS = 16_384
_MOST_SCORES = 1 << 24  # that are in memory at a time, whatever is asked of however many


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A `Searchable` over one side as it was at one moment; the collection may go on meanwhile.

    Args:
        kind: Similarity of the encoder.
        all_rows: (n,) row numbers ascending.
        vectors: (n, d) half precision, or packed codes (n, bytes).
        alive: (n,) which of them can be found; the others were removed.
        single: The vectors of a small collection in single precision.
    """

    kind: str
    all_rows: Rows
    vectors: NDArray[Any]
    alive: NDArray[np.bool_]
    single: Floats | None = None

    @property
    def rows(self) -> Rows:
        """The rows that can be found, ascending."""
        return self.all_rows if self.alive.all() else self.all_rows[self.alive]

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """All rows that can be found, ascending, and their vectors as kept; mapped where possible."""
        if self.alive.all():
            return self.all_rows, self.vectors
        return self.all_rows[self.alive], self.vectors[self.alive]

    def of(self, rows: Rows) -> Floats:
        """Vectors (m, d) of some of the rows (m,) in single precision; of binary codes, +1 and -1."""
        places, back = np.unique(np.searchsorted(self.all_rows, rows), return_inverse=True)
        found = half.taken(self.vectors, places)[back]
        return similarity.unpack(found) if self.kind == "hamming" else found.astype(np.float32)

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        queries = self._queries(vectors)
        at = self._places(within)
        count = len(self.all_rows) if at is None else len(at)
        if not count:
            return best(np.zeros((len(queries), 0), np.float32), self.all_rows[:0], k)
        few = 8 * count < len(self.all_rows)
        if self.kind != "hamming" and self.single is None and not few and len(queries) <= _FEW_QUERIES:
            return half.search(queries, self.vectors, self.all_rows, k, at)
        rows = self.all_rows if at is None else self.all_rows[at]
        step = max(_BLOCK_ROWS, _MOST_SCORES // max(len(queries), 1))
        found = []
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            found.append(best(self._scores(queries, part if at is None else at[part]), rows[part], k))
        return found[0] if len(found) == 1 else _joined(found, k)

    def _places(self, within: Rows | None) -> NDArray[np.intp] | None:
        """Where the vectors are that may be found; None for all."""
        whole = bool(self.alive.all())
        if within is None:
            return None if whole else np.flatnonzero(self.alive)
        places = places_of(self.all_rows, within)
        return places if whole else places[self.alive[places]]

    def _queries(self, vectors: NDArray[Any]) -> Floats:
        queries = np.asarray(vectors, np.float32)
        return similarity.unit(queries) if self.kind == "cosine" else queries

    def _scores(self, queries: Floats, at: NDArray[np.intp] | slice) -> Floats:
        """Scores (q, m) of the vectors at these positions."""
        if self.single is not None:
            return queries @ self.single[at].T
        if self.kind != "hamming":
            return half.scores(queries, self.vectors, at)
        positions = np.arange(at.start, at.stop) if isinstance(at, slice) else at
        scores = np.empty((len(queries), len(positions)), np.float32)
        for start in range(0, len(positions), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            block = half.taken(self.vectors, positions[part])
            scores[:, part] = similarity.hamming(queries, similarity.unpack(block))
        return scores


def _joined(parts: list[Hits], k: int) -> Hits:
    """The k best of each query among the best of parts of the rows, which come in their order."""
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    lines = [best(scores[at : at + 1], rows[at], k) for at in range(len(rows))]
    return Hits(np.concatenate([one.rows for one in lines]), np.concatenate([one.scores for one in lines]))
