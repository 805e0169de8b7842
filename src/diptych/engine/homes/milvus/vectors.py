"""Exact search over one side: Milvus finds somewhat more than are wanted, which the record's vectors settle.

So scores and the order of equal ones are those of every other home, however a server computes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Hits, Rows, Side
from diptych.engine.homes.base import Home
from diptych.engine.homes.candidates import FOUND, compared, hits_of
from diptych.engine.homes.entries import State, VectorColumn
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.engine.homes.milvus.mirror import MOST, Mirror
from diptych.index.flat import among

__all__ = ["Exact"]

_MORE = 32  # rows that are compared again beyond those that are wanted
_FEW = 4_096  # rows that are compared here rather than named to the server one by one
_ROUNDED = 1e-5  # share of a score that sums in another order may differ by


class Exact:
    """A side of a column as it was at one moment, as `Vectors`.

    Args:
        home: The record, with the column.
        column: Which that is.
        side: Of the items.
        rows: (n,) that can be found, ascending.
        state: Of the record at that moment.
        mirror: The copy, of that state or a later one.
    """

    def __init__(
        self, home: Home, column: VectorColumn, side: Side, rows: Rows, state: State, mirror: Mirror
    ) -> None:
        self._home, self._column, self._side = home, column, side
        self.rows, self._state, self._mirror = rows, state, mirror

    def of(self, rows: Rows) -> Floats:
        """Vectors (m, d) of some of the rows (m,) in single precision; of binary codes, +1 and -1."""
        found = self._home.vectors_of(np.asarray(rows, np.int64))
        return similarity.unpack(found) if self._column.type == "bits" else found.astype(np.float32)

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """The rows, ascending, and their vectors as they are kept: (n, d) half precision, or (n, bytes)."""
        return self.rows, self._home.vectors_of(self.rows)

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        queries = compared(np.asarray(vectors, np.float32), self._column)
        return hits_of(self._best(queries, k, within), k)

    def best(self, query: Floats, k: int, within: Rows | None) -> NDArray[Any]:
        """The k best rows of one query (d,), as it is compared, and their scores: "row" and "score"."""
        return self._best(query[None], k, within)[0]

    def ranked(self, query: Floats, rows: Rows, k: int) -> NDArray[Any]:
        """The k best of some rows (m,) for a query (d,), compared in full: `FOUND`."""
        return _ranked(query, rows, self.of(rows), self._column, k)

    def _best(self, queries: Floats, k: int, within: Rows | None) -> list[NDArray[Any]]:
        """What is found for each query (q, d), as it is compared: `FOUND`."""
        allowed = self.rows if within is None else within[among(within, self.rows)]
        few = within is not None and len(allowed) <= _FEW
        if few or not len(allowed) or k + _MORE > MOST:
            return self._compared_here(queries, k, allowed)
        found: list[NDArray[Any]] = [np.zeros(0, FOUND)] * len(queries)
        left, more = np.arange(len(queries)), _MORE
        while len(left):
            # Of what is found without a filter, as large a share passes it as of all.
            limit = math.ceil((k + more) * len(self.rows) / max(len(allowed), 1))
            named = None
            if limit > MOST and len(allowed) < len(self.rows):
                limit, named = k + more, allowed
            if limit > MOST:
                for at, lines in zip(left, self._compared_here(queries[left], k, allowed), strict=True):
                    found[at] = lines
                break
            packed = similarity.pack(queries[left]) if self._column.type == "bits" else queries[left]
            answers = self._mirror.search(self._side, packed, limit, within=named)
            candidates = [np.unique(rows[among(rows, allowed)]) for rows, _ in answers]
            if self._home.latest_state != self._state:  # what went since may have gone from the copy
                gone = np.setdiff1d(allowed, self._mirror.there(self._side), assume_unique=True)
                candidates = [np.union1d(rows, gone) for rows in candidates]
            every = np.unique(np.concatenate(candidates))
            vectors = self.of(every)
            again = []
            for at, rows, (_, scores) in zip(left, candidates, answers, strict=True):
                mine = vectors[np.searchsorted(every, rows)]
                found[at] = _ranked(queries[at], rows, mine, self._column, k)
                if len(scores) == limit and not _settled(queries[at], found[at], mine, scores[-1], k):
                    again.append(at)
            left, more = np.array(again, np.int64), more * 8
        return found

    def _compared_here(self, queries: Floats, k: int, rows: Rows) -> list[NDArray[Any]]:
        """The same from the record's vectors alone."""
        if not len(rows):
            return [np.zeros(0, FOUND)] * len(queries)
        vectors = self._home.vectors_of(rows)
        whole = Snapshot(self._column.similarity, rows, vectors, np.ones(len(rows), np.bool_))
        hits = whole.search(queries, k)
        found = []
        for numbers, scores in zip(hits.rows, hits.scores, strict=True):
            lines = np.zeros(int((numbers >= 0).sum()), FOUND)
            lines["row"], lines["score"] = numbers[: len(lines)], scores[: len(lines)]
            found.append(lines)
        return found


def _ranked(query: Floats, rows: Rows, vectors: Floats, column: VectorColumn, k: int) -> NDArray[Any]:
    found = np.zeros(len(rows), FOUND)
    found["row"] = rows
    if column.type == "bits":
        found["score"] = similarity.hamming(query[None], vectors)[0]
    else:
        found["score"] = (vectors * query).sum(axis=1)  # row by row, so that equal ones have equal scores
    order = np.lexsort((rows, -found["score"]))[:k]
    return found[order]


def _settled(query: Floats, found: NDArray[Any], vectors: Floats, worst: float, k: int) -> bool:
    """Whether no row that was not given can be better than the k-th, or as good."""
    if len(found) < k:
        return False
    longest = float(np.linalg.norm(vectors, axis=1).max()) * float(np.linalg.norm(query))
    return float(found["score"][-1]) > float(worst) + _ROUNDED * longest
