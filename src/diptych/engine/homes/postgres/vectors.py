"""Exact search over the vectors of one side, by the server; many queries at once are compared here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Hits, Rows, Side
from diptych.engine.homes.candidates import compared, hits_of
from diptych.engine.homes.entries import VectorColumn
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.engine.homes.postgres.columns import parameter

if TYPE_CHECKING:
    from diptych.engine.homes.postgres.record import Record

__all__ = ["Exact"]

_MANY = 32  # queries for which it is cheaper to fetch the vectors once than to have each compared there
_MORE = 32  # vectors that are compared in full precision beyond those that are wanted
_LONGEST = 1.001  # of a unit vector in half precision


class Exact:
    """A side of a column as it was at one moment, as `Vectors`; what was removed since is not found.

    Args:
        record: Holds the vectors.
        column: Which of them.
        side: Of the items.
        rows: (n,) that can be found, ascending.
    """

    def __init__(self, record: Record, column: VectorColumn, side: Side, rows: Rows) -> None:
        self._record, self._column, self._side, self.rows = record, column, side, rows

    def of(self, rows: Rows) -> Floats:
        """Vectors (m, d) of some of the rows (m,) in single precision; of binary codes, +1 and -1."""
        known, found = self._record.stored_vectors(self._column, self._side, np.asarray(rows, np.int64))
        found = found[np.searchsorted(known, rows)]
        return similarity.unpack(found) if self._column.type == "bits" else found.astype(np.float32)

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """The rows, ascending, and their vectors as they are kept: (n, d) half precision, or (n, bytes)."""
        known, found = self._record.stored_vectors(self._column, self._side)
        if np.array_equal(known, self.rows):
            return known, found
        there = np.isin(known, self.rows, assume_unique=True)
        return known[there], found[there]

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        queries = compared(np.asarray(vectors, np.float32), self._column)
        if len(queries) > _MANY:
            known, found = self.stored()
            alive = np.ones(len(known), np.bool_)
            return Snapshot(self._column.similarity, known, found, alive).search(queries, k, within)
        among = None if within is None else np.asarray(within, np.int64)
        return hits_of([self.best(one, k, among) for one in queries], k)

    def best(self, query: Floats, k: int, within: Rows | None) -> NDArray[Any]:
        """The k best rows of one query (d,), as it is compared, and their scores: "row" and "score"."""
        how = {"hamming": self._by_bits, "cosine": self._by_cosine}.get(
            self._column.similarity, self._by_product
        )
        found = how(query, k, within)
        if within is None and not np.isin(found["row"], self.rows).all():
            return how(query, k, self.rows)  # older items got their vectors meanwhile
        return found

    def _among(self, within: Rows | None) -> tuple[str, list[Any]]:
        """The lines of the table that may be found."""
        if within is not None:
            return "side = %s AND row = ANY(%s)", [self._side, within]
        return "side = %s AND row <= %s", [self._side, int(self.rows[-1]) if len(self.rows) else 0]

    # Ordered by an expression, for which there is no index, so that none that only comes near is used.

    def _by_bits(self, query: Floats, k: int, within: Rows | None) -> NDArray[Any]:
        which, values = self._among(within)
        code = parameter(similarity.pack(query[None])[0].tobytes(), self._column)
        return self._record.scored(
            f"SELECT row, -(vector <~> %s) FROM vector_{self._column.id} WHERE {which} "
            "ORDER BY (vector <~> %s) + 0, row LIMIT %s",
            code, *values, code, k,
        )  # fmt: skip

    def _by_product(self, query: Floats, k: int, within: Rows | None) -> NDArray[Any]:
        from pgvector import Vector

        which, values = self._among(within)
        return self._record.scored(
            f"SELECT row, -(vector::vector <#> %s) FROM vector_{self._column.id} WHERE {which} "
            "ORDER BY (vector::vector <#> %s) + 0, row LIMIT %s",
            Vector(query), *values, Vector(query), k,
        )  # fmt: skip

    def _by_cosine(self, query: Floats, k: int, within: Rows | None) -> NDArray[Any]:
        """The server compares halves fast, so these find somewhat more than k, which it compares in full.

        No more are needed once the worst of these is worse than the k-th by more than rounding can make.
        """
        from pgvector import HalfVector, Vector

        which, values = self._among(within)
        rounded = query.astype(np.float16)
        error = float(np.linalg.norm(query - rounded.astype(np.float32))) * _LONGEST + 1e-6
        more = _MORE
        while True:
            lines = self._record.nearest(
                f"WITH near AS MATERIALIZED (SELECT row, vector, vector <#> %s AS apart "
                f"FROM vector_{self._column.id} WHERE {which} ORDER BY (vector <#> %s) + 0, row LIMIT %s) "
                "SELECT row, -(vector::vector <#> %s), -apart FROM near",
                HalfVector(rounded), *values, HalfVector(rounded), k + more, Vector(query),
            )  # fmt: skip
            order = np.lexsort((lines["row"], -lines["score"]))[:k]
            found: NDArray[Any] = lines[order]
            if len(lines) < k + more or found["score"][-1] > lines["roughly"].min() + error:
                return found
            more *= 8
