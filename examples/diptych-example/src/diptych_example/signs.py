"""Signs: the vectors whose signs are most like the query's, then those few compared exactly.

Similarities: cosine, dot
Finds: most of the true best, the more the larger `candidates`

An index that is not exact, as small as can be; `diptych evaluate ... --index signs` says what it costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity as similarities
from diptych.core import Floats, Hits, Rows
from diptych.index.flat import best

__all__ = ["Signs"]


class Signs:
    """Two stages in memory.

    Args:
        dim: Dimensions of a vector.
        similarity: What the second stage compares by.
        candidates: Vectors that the second stage looks at, for each hit that is wanted.
    """

    def __init__(self, dim: int, similarity: str = "cosine", *, candidates: int = 10) -> None:
        self.similarity, self.candidates = similarity, candidates
        self._compare = similarities.named(similarity)
        self._rows: Rows = np.zeros(0, np.int64)
        self._vectors: Floats = np.zeros((0, dim), np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Store vectors (n, d) under rows (n,); a row already there is replaced."""
        similarities.check_finite(vectors, "vector")
        self.remove(rows)
        self._rows = np.concatenate([self._rows, rows])
        self._vectors = np.concatenate([self._vectors, np.asarray(vectors, np.float32)])

    def remove(self, rows: Rows) -> None:
        """Forget rows (n,)."""
        stays = ~np.isin(self._rows, rows)
        self._rows, self._vectors = self._rows[stays], self._vectors[stays]

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d) among the candidates; only rows of `within`, if given."""
        chosen = slice(None) if within is None else np.isin(self._rows, within)
        rows, stored = self._rows[chosen], self._vectors[chosen]
        found = Hits(
            np.full((len(vectors), k), -1, np.int64), np.full((len(vectors), k), -np.inf, np.float32)
        )
        for line, query in enumerate(vectors):
            apart = ((stored > 0) != (query > 0)).sum(axis=1)
            near = np.argsort(apart, kind="stable")[: self.candidates * k]
            hits = best(self._compare(query[None], stored[near]), rows[near], k)
            found.rows[line], found.scores[line] = hits.rows[0], hits.scores[0]
        return found

    def save(self, path: Path) -> None:
        """Write rows and vectors to a file."""
        with path.open("wb") as file:
            np.savez(file, rows=self._rows, vectors=self._vectors)
