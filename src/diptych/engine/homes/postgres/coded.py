"""Search among very many pictures in PostgreSQL: by a graph of their vectors (HNSW), or by binary codes.

Codes stand in a table of bits beside that of the vectors, with a graph of their own; see
`diptych.engine.homes.candidates` for what is the same on all servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Side
from diptych.engine.homes import candidates
from diptych.engine.homes.entries import State, VectorColumn
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.engine.homes.postgres.home import Postgres

__all__ = ["Coded"]

_BLOCK = 8192  # vectors that are encoded at a time
_WIDEST = 1_000  # candidates that pgvector keeps in mind while it walks a graph
_MOST_DIMENSIONS = 4_000  # of a halfvec in a graph


class Coded(candidates.Coded):
    """The codes or the graph of a column's pictures, in tables.

    Args:
        home: Whose column is used.
    """

    MADE_WITH, CODES_IN_GRAPH, WIDEST = "HNSW of half vectors", True, _WIDEST
    TRIED = (10, 20, 40, 64, 100, 150, 200, 300, 400, 600, 800, _WIDEST)
    home: Postgres

    def __init__(self, home: Postgres) -> None:
        super().__init__(home)
        self._whole: tuple[State, bool] | None = None

    @classmethod
    def check_graph(cls, column: VectorColumn) -> None:
        """See that pgvector takes the vectors of a column into a graph."""
        if column.dimensions > _MOST_DIMENSIONS:
            raise UsageError(
                f"a graph of pgvector takes vectors of at most {_MOST_DIMENSIONS} dimensions, and "
                f"{column.model} gives {column.dimensions}; take codes of 512 bits instead"
            )

    @property
    def table(self) -> str:
        """That holds the codes."""
        return f"code_{self.column.id}"

    @property
    def usable(self) -> bool:
        """Whether it covers all pictures as this thread sees them."""
        if self.facts.get("fingerprint") != self.column.fingerprint:
            return False
        if self.is_graph:
            return True  # which the server keeps
        if self.codes is None:
            return False
        with self.home.snapshot() as state:
            if self._whole is None or self._whole[0] != state:
                self._whole = state, self.home.covers(self.table, self.column)
            return self._whole[1]

    def fill(self, *, anew: bool = False) -> None:
        """Make the codes that are lacking, and the graph if it is not there."""
        home, column = self.home, self.column
        if self.is_graph:
            home.index_graph(f"vector_{column.id}", "vector halfvec_ip_ops", where="side = 'image'")
            return
        if self.codes is None:
            return
        home.have_codes(self.table, int(self.facts["bits"]), anew=anew)
        exact = home.vectors_now("image")
        lacking = home.without_code(self.table, column)
        for start in range(0, len(lacking), _BLOCK):
            rows = lacking[start : start + _BLOCK]
            home.put_codes(self.table, rows, self.codes.encode(exact.of(rows), "image"))
        if self.facts.get("graph"):
            home.index_graph(self.table, "code bit_hamming_ops")
        self._whole = None

    def best(
        self, queries: Floats, side: Side, count: int, k: int, within: Rows | None
    ) -> list[NDArray[Any]]:
        """The k best rows of each query (q, d) among so many candidates, and their scores."""
        return [self._best(query, side, count, k, within) for query in queries]

    def _best(self, query: Floats, side: Side, count: int, k: int, within: Rows | None) -> NDArray[Any]:
        from pgvector import Bit, HalfVector, Vector

        vectors = f"vector_{self.column.id}"
        if self.is_graph:
            near = f"SELECT row FROM {vectors} WHERE side = 'image' ORDER BY vector <#> %s LIMIT %s"
            first: Any = HalfVector(query.astype(np.float16))
        else:
            assert self.codes is not None, "it is usable"
            # By an expression that no index has, where all codes are to be compared.
            apart = "code <~> %s" if self.facts.get("graph") else "(code <~> %s) + 0"
            near = f"SELECT row FROM {self.table} ORDER BY {apart} LIMIT %s"
            first = Bit(self.codes.encode(query[None], side)[0].tobytes())
        which, values = ("", []) if within is None else (" WHERE row = ANY(%s)", [within])
        with self.home.snapshot():
            if self.facts.get("graph"):
                self.home.walk_widely(min(max(count, k), _WIDEST))
            return self.home.scored(
                f"WITH near AS MATERIALIZED ({near}) SELECT row, -(vector::vector <#> %s) AS score "
                f"FROM near JOIN {vectors} USING (row){which} ORDER BY score DESC, row LIMIT %s",
                first, max(count, k), Vector(query), *values, k,
            )  # fmt: skip
