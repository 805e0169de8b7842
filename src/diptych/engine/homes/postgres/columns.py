"""The columns of vectors of a collection in PostgreSQL: a table for each, of `halfvec` or of `bit`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows, Side
from diptych.engine.homes.entries import Lacking, VectorColumn
from diptych.engine.homes.names import Names, name_of
from diptych.engine.homes.postgres.database import Database
from diptych.errors import CollectionError

__all__ = ["Columns", "parameter"]

_MAIN = "main"
_COLUMN = "SELECT id, name, model, fingerprint, similarity, dimensions, type FROM vector_column "
_SETTINGS = ("codes", "codes_rotation", "codes_graph")  # that each column has for itself
_MOST_DIMENSIONS = 16_000  # of a halfvec
_TYPES = {"float16": "halfvec", "bits": "bit"}
_INLINE = 3_500  # dimensions of one that fits into a page with the rest of its line


class Columns(Names):
    """What a record says of its vectors: of those in the main column or, after `using`, in another."""

    _db: Database
    place: Path
    _chosen: int | None = None

    def damaged(self, why: str) -> CollectionError:
        """What to say of tables that are no whole collection."""
        shown, schema = self._db.shown, self._db.address.collection
        return CollectionError(
            f"{shown} holds no whole collection ({why}); restore it from a copy, or drop the schema {schema} "
            "there and index again"
        )

    # The columns

    def using(self, column: VectorColumn) -> Self:
        """The same record, whose vectors are those of one column, whichever is the main one."""
        view = copy.copy(self)
        view._chosen = column.id
        return view

    @property
    def column(self) -> VectorColumn | None:
        """The column that is used; None in a collection that has no model yet."""
        which = ("name", _MAIN) if self._chosen is None else ("id", self._chosen)
        found = self._db.remembered(
            ("column", *which),
            lambda: self._db.one(f"{_COLUMN}WHERE {which[0]} = %s", which[1]),
        )
        if found is None and self._chosen is None:
            return None
        if found is None:
            raise CollectionError(f"{self._db.shown} has no vectors of that model any more; it was dropped")
        return VectorColumn(*found)

    def columns(self) -> list[VectorColumn]:
        """All columns, the main one first, then as they came."""
        return [VectorColumn(*line) for line in self._db.every(_COLUMN + "ORDER BY name <> %s, id", _MAIN)]

    def put_column(self, name: str, model: str, fingerprint: str, similarity: str, dimensions: int) -> None:
        """Make a column, or say anew what one holds; inside a batch."""
        self._db.forget()
        kind = "bits" if similarity == "hamming" else "float16"
        if dimensions > _MOST_DIMENSIONS and kind == "float16":
            raise CollectionError(
                f"{model} gives vectors of {dimensions} dimensions, and PostgreSQL keeps at most "
                f"{_MOST_DIMENSIONS}; take another model, or a collection in a folder"
            )
        before = self._db.one("SELECT id, dimensions, type FROM vector_column WHERE name = %s", name)
        number = self._db.number("vector_column_id") if before is None else before[0]
        self._db.run(
            "INSERT INTO vector_column (id, name, model, fingerprint, similarity, dimensions, type) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET model = excluded.model, "
            "fingerprint = excluded.fingerprint, similarity = excluded.similarity, "
            "dimensions = excluded.dimensions, type = excluded.type",
            number, name, model, fingerprint, similarity, dimensions, kind,
        )  # fmt: skip
        if before is not None and before[1:] == (dimensions, kind):
            return
        self._db.run(f"DROP TABLE IF EXISTS vector_{number}")
        if dimensions:
            self._db.run(
                f"CREATE TABLE vector_{number} (row bigint PRIMARY KEY REFERENCES item ON DELETE CASCADE, "
                f"side text NOT NULL, vector {_TYPES[kind]}({int(dimensions)}) NOT NULL)"
            )
            if dimensions <= _INLINE:  # they are read one after the other, and are no shorter when packed
                self._db.run(f"ALTER TABLE vector_{number} ALTER COLUMN vector SET STORAGE PLAIN")

    def make_main(self, column: VectorColumn) -> None:
        """Make a column the one that searches use, and that before it one beside; inside a batch."""
        self._db.forget()
        self._db.run("UPDATE vector_column SET name = 'beside:' || model WHERE name = %s", _MAIN)
        self._db.run("UPDATE vector_column SET name = %s WHERE id = %s", _MAIN, column.id)

    def drop_column(self, column: VectorColumn) -> None:
        """Forget a column with its vectors and codes; inside a batch."""
        self._db.forget()
        mine = self.using(column)
        for name in _SETTINGS:
            self._db.run("DELETE FROM setting WHERE name = %s", mine.of_column(name))
        self._db.run(f"DROP TABLE IF EXISTS code_{column.id}, vector_{column.id}")
        self._db.run("DELETE FROM vector_column WHERE id = %s", column.id)

    def of_column(self, name: str) -> str:
        """The name of a setting that each column has for itself."""
        column = self.column
        return name if column is None or column.id <= 1 else f"{name}-{column.id}"

    @property
    def _table(self) -> str | None:
        """The table of the column's vectors; None if there is none yet."""
        column = self.column
        return None if column is None or not column.dimensions else f"vector_{column.id}"

    # Their vectors

    def vectors(self, side: Side, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Row and stored vector of a side's items with rows above `after`, ascending."""
        if table := self._table:
            for row, vector in self._db.each(
                f"SELECT row, vector FROM {table} WHERE side = %s AND row > %s ORDER BY row", side, after
            ):
                yield row, _bytes(vector)

    def row_numbers(self, side: Side) -> Rows:
        """Every row of a side that has a vector, ascending."""
        if (table := self._table) is None:
            return np.zeros(0, np.int64)
        return self._db.rows(f"SELECT row FROM {table} WHERE side = %s ORDER BY row", side)

    def pairs(self, *, vectors: bool = True) -> Iterator[tuple[int, int, bytes | None, bytes | None]]:
        """Of every caption, in the order of their rows: its row, that of its picture, the vectors of both."""
        if (table := self._table) is None:
            return
        which = "image.vector, one.vector" if vectors else "NULL, NULL"
        for row, picture, seen, said in self._db.each(
            f"SELECT one.row, picture.row, {which} FROM {table} AS one JOIN item USING (row) "
            "JOIN item AS picture ON picture.file = item.file AND picture.side = 'image' "
            f"JOIN {table} AS image ON image.row = picture.row WHERE one.side = 'text' ORDER BY one.row"
        ):
            yield row, picture, *((_bytes(seen), _bytes(said)) if vectors else (None, None))

    def count_vectors(self, side: Side) -> int:
        """How many items of a side have a vector."""
        if (table := self._table) is None:
            return 0
        return int(self._db.one(f"SELECT count(*) FROM {table} WHERE side = %s", side)[0])

    def _lacking(self) -> str:
        table = self._table
        there = f" AND NOT EXISTS (SELECT 1 FROM {table} AS one WHERE one.row = item.row)" if table else ""
        return f"side = %s{there}"

    def lacking(self, side: Side, *, after: int, most: int) -> list[Lacking]:
        """Some items of a side that have no vector, with rows above `after`, ascending."""
        found = self._db.every(
            "SELECT item.row, path, hash, text FROM item JOIN file ON file.id = item.file "
            f"WHERE {self._lacking()} AND item.row > %s ORDER BY item.row LIMIT %s",
            side, after, most,
        )  # fmt: skip
        return [Lacking(*line) for line in found]

    def count_lacking(self, side: Side) -> int:
        """How many items of a side have no vector."""
        return int(self._db.one(f"SELECT count(*) FROM item WHERE {self._lacking()}", side)[0])

    def last_row(self, side: Side) -> int:
        """The last row of a side that has a vector; 0 if none has."""
        if (table := self._table) is None:
            return 0
        return int(self._db.one(f"SELECT coalesce(max(row), 0) FROM {table} WHERE side = %s", side)[0])

    def put_vectors(self, vectors: Mapping[int, bytes], *, among: bool) -> None:
        """Give items the vectors that they lack; inside a batch."""
        column = self.column
        assert column is not None, "vectors are of a column"
        self._db.run_many(
            f"INSERT INTO vector_{column.id} SELECT row, side, %s FROM item WHERE row = %s",
            ((parameter(vector, column), row) for row, vector in vectors.items()),
        )

    def _put_vector(self, row: int, side: Side, vector: bytes) -> None:
        column = self.column
        assert column is not None, "vectors are of a column"
        self._db.run(
            f"INSERT INTO vector_{column.id} VALUES (%s, %s, %s)", row, side, parameter(vector, column)
        )

    def ids(self, side: Side) -> list[str]:
        """Names of the files of all items of a side that have a vector, in the order of their rows."""
        if (table := self._table) is None:
            return []
        found = self._db.each(
            f"SELECT path FROM {table} AS one JOIN item USING (row) JOIN file ON file.id = item.file "
            "WHERE one.side = %s ORDER BY one.row",
            side,
        )
        return [name_of(key) for (key,) in found]

    def vectors_of(self, rows: Rows) -> NDArray[Any]:
        """The stored vectors of items (m,), in their order: (m, d) half precision, or (m, bytes) codes."""
        column = self.column
        assert column is not None, "vectors are of a column"
        known, found = self.stored_vectors(column, None, np.asarray(rows, np.int64))
        at = np.minimum(np.searchsorted(known, rows), max(len(known) - 1, 0))
        if len(rows) and not (len(known) and np.array_equal(known[at], rows)):
            raise CollectionError(f"{self._db.shown} has no vector of an item; it was removed meanwhile")
        return found[at]

    def stored_vectors(
        self, column: VectorColumn, side: Side | None, rows: Rows | None = None
    ) -> tuple[Rows, NDArray[Any]]:
        """Rows (n,) of a side, ascending, and their vectors as they are kept (n, d), or (n, bytes) of codes.

        Args:
            column: Of which.
            side: Of the items; of both, if None.
            rows: Only these, if given.
        """
        bits = column.type == "bits"
        one = ("value", "u1", (column.dimensions // 8,)) if bits else ("value", ">f2", (column.dimensions,))
        found = self._db.table(
            f"SELECT row, vector FROM vector_{column.id} WHERE (%s::text IS NULL OR side = %s)"
            f"{'' if rows is None else ' AND row = ANY(%s)'} ORDER BY row",
            side, side, *(() if rows is None else (rows,)),
            line=[("row", ">i8"), ("vector", np.dtype([("head", ">i4"), one]))],
        )  # fmt: skip
        kept: Any = np.uint8 if bits else np.float16
        return found["row"].astype(np.int64), np.ascontiguousarray(found["vector"]["value"], kept)

    def _some_vectors(self, which: str, *values: Any) -> list[tuple[str | None, bytes]]:
        """Text, and stored vector, of the items that fulfil something; of equal texts, of one."""
        if (table := self._table) is None:
            return []
        found = self._db.every(
            f"SELECT DISTINCT ON (text) text, vector FROM item JOIN {table} AS one USING (row) WHERE {which}",
            *values,
        )
        return [(text, _bytes(vector)) for text, vector in found]


def parameter(vector: bytes, column: VectorColumn) -> Any:
    """A stored vector as a parameter of a statement.

    Raises:
        CollectionError: it is not as long as the column's are.
    """
    from pgvector import Bit, HalfVector

    if column.type == "bits":
        given = 8 * len(vector)
        one: Any = Bit(bytes(vector))
    else:
        given = len(vector) // 2
        one = HalfVector(np.frombuffer(vector, np.float16))
    if given != column.dimensions:
        raise CollectionError(
            f"a vector of {given} dimensions does not go into a column of {column.dimensions}; it was made "
            f"by another model than {column.model}"
        )
    return one


def _bytes(vector: Any) -> bytes:
    """A vector that was read as it is kept elsewhere."""
    if isinstance(vector, bytes):
        return vector[4:]
    return bytes(vector.to_numpy().tobytes())
