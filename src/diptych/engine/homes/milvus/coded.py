"""Search among very many pictures in Milvus: by a graph of their vectors (HNSW), or by binary codes.

Both are further copies beside that which is searched exactly; see `diptych.engine.homes.candidates`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Side
from diptych.engine.homes import candidates
from diptych.engine.homes.entries import VectorColumn
from diptych.engine.homes.milvus.mirror import MOST, Form, Mirror
from diptych.engine.homes.milvus.vectors import Exact
from diptych.index.flat import among

if TYPE_CHECKING:
    from diptych.engine.homes.milvus.home import Milvus

__all__ = ["Coded"]

_LINKS, _BUILDING = 16, 128  # of an entry of a graph, and candidates while it is built


class Coded(candidates.Coded):
    """The codes or the graph of a column's pictures, in Milvus.

    Args:
        home: Whose column is used.
    """

    MADE_WITH, CODES_IN_GRAPH, WIDEST = "HNSW of vectors in single precision", False, MOST
    TRIED = (10, 20, 40, 64, 100, 150, 200, 300, 400, 600, 800, 1_000, 1_500, 2_000, 4_000, 8_000, 16_000)
    home: Milvus

    def __init__(self, home: Milvus) -> None:
        super().__init__(home)
        self._mirror: Mirror | None = None

    @classmethod
    def check_graph(cls, column: VectorColumn) -> None:
        """Milvus takes all vectors that it takes at all into a graph."""

    @property
    def most(self) -> float:
        """Candidates that can be asked for."""
        return MOST

    @property
    def usable(self) -> bool:
        """Whether codes or a graph are of the vectors that are stored now; what is lacking is put in."""
        return self.facts.get("fingerprint") == self.column.fingerprint and (
            self.is_graph or self.codes is not None
        )

    @property
    def form(self) -> Form:
        """What the copy with the codes, or the graph, looks like."""
        plain = self.home.form(self.column)
        if self.is_graph:
            return replace(
                plain, name=f"{plain.name}_graph", index="HNSW", sides=("image",),
                options={"M": _LINKS, "efConstruction": _BUILDING},
            )  # fmt: skip
        return replace(
            plain, name=f"{plain.name}_codes_{str(self.facts.get('id'))[:12]}", index="BIN_FLAT",
            sides=("image",), bits=True, dimensions=int(self.facts["bits"]),
        )  # fmt: skip

    def fill(self, *, anew: bool = False) -> None:
        """Bring the copy up to date; other codes are another copy."""
        if self.usable:
            self._following()
        if anew and self.is_graph and self._mirror is not None:
            self._mirror.settle()  # or else calibrations would compare with all, and searches would not

    def best(
        self, queries: Floats, side: Side, count: int, k: int, within: Rows | None
    ) -> list[NDArray[Any]]:
        """The k best rows of each query (q, d) among so many candidates, and their scores."""
        exact: Exact = self.home.vectors_now("image")
        mirror, limit = self._following(), min(max(count, k), MOST)
        if self.is_graph:
            answers = mirror.search("image", queries, limit, ef=limit)
        else:
            assert self.codes is not None, "it is usable"
            answers = mirror.search("image", self.codes.encode(queries, side), limit)
        allowed = exact.rows if within is None else within
        return [
            exact.ranked(query, rows[among(rows, allowed)], k)
            for query, (rows, _) in zip(queries, answers, strict=True)
        ]

    def _following(self) -> Mirror:
        """The copy, in the state that this thread reads or a later one."""
        if self._mirror is None:
            self._mirror = Mirror(self.home.server, self.home.record, self.form, self._stored)
        with self.home.snapshot() as state:
            self._mirror.follow(state, {"image": self.home.vectors_now("image").rows})
        return self._mirror

    def _stored(self, rows: Rows) -> NDArray[Any]:
        found = self.home.record.vectors_of(rows)
        if self.is_graph:
            return found
        assert self.codes is not None, "it is usable"
        return self.codes.encode(found.astype(np.float32), "image")
