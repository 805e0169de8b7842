"""The columns of vectors in a collection's file: one for each model, of which searches use the main one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows, Side
from diptych.engine.homes.entries import Lacking, VectorColumn
from diptych.engine.homes.local.database import Database, damaged
from diptych.engine.homes.names import name_of
from diptych.errors import CollectionError

__all__ = ["Columns"]

_MAIN = "main"
_COLUMN = "SELECT id, name, model, fingerprint, similarity, dimensions, type FROM vector_column "
# Those of one column (?1) and one side (?2).
_VECTORS = "item JOIN vector ON vector.row = item.row AND vector.vector_column = ?1 WHERE item.side = ?2 "
_LACKING = "side = ?2 AND NOT EXISTS (SELECT 1 FROM vector WHERE row = item.row AND vector_column = ?1) "
_PICTURE = (
    "JOIN item AS picture ON picture.file = item.file AND picture.side = 'image' "
    "JOIN vector AS image ON image.row = picture.row AND image.vector_column = ?1 "
)
_AT_ONCE = 10_000  # vectors that one statement asks for
_SETTINGS = ("codes", "codes_rotation")  # that each column has for itself


class Columns:
    """What a record says of its vectors: of those in the main column or, after `using`, in another."""

    _db: Database
    _path: Path
    _chosen: int | None = None

    # The columns

    def using(self, column: VectorColumn) -> Self:
        """The same record, whose vectors are those of one column, whichever is the main one."""
        view = copy.copy(self)
        view._chosen = column.id
        return view

    @property
    def column(self) -> VectorColumn | None:
        """The column that is used; None in a collection that has no model yet."""
        if self._chosen is None:
            return self._column(self._db.one(_COLUMN + "WHERE name = ?", _MAIN))
        found = self._column(self._db.one(_COLUMN + "WHERE id = ?", self._chosen))
        if found is None:
            raise CollectionError(f"{self._path} has no vectors of that model any more; it was dropped")
        return found

    def columns(self) -> list[VectorColumn]:
        """All columns, the main one first, then as they came."""
        found = self._db.every(_COLUMN + "ORDER BY name != ?, id", _MAIN)
        return [column for line in found if (column := self._column(line)) is not None]

    def _column(self, line: Any) -> VectorColumn | None:
        if line is None:
            return None
        column = VectorColumn(*line)
        if not isinstance(column.fingerprint, str) or (column.similarity == "hamming") != (
            column.type == "bits"
        ):
            raise damaged(self._path, "what it says of its vectors does not fit together")
        return column

    def put_column(self, name: str, model: str, fingerprint: str, similarity: str, dimensions: int) -> None:
        """Make a column, or say anew what one holds; inside a batch."""
        kind = "bits" if similarity == "hamming" else "float16"
        self._db.run(
            "INSERT INTO vector_column (name, model, fingerprint, similarity, dimensions, type) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET model = excluded.model, "
            "fingerprint = excluded.fingerprint, similarity = excluded.similarity, "
            "dimensions = excluded.dimensions, type = excluded.type",
            name, model, fingerprint, similarity, dimensions, kind,
        )  # fmt: skip

    def make_main(self, column: VectorColumn) -> None:
        """Make a column the one that searches use, and that before it one beside; inside a batch."""
        self._db.run("UPDATE vector_column SET name = 'beside:' || model WHERE name = ?", _MAIN)
        self._db.run("UPDATE vector_column SET name = ? WHERE id = ?", _MAIN, column.id)

    def drop_column(self, column: VectorColumn) -> None:
        """Forget a column with its vectors and codes; inside a batch."""
        mine = self.using(column)
        for name in _SETTINGS:
            self._db.run("DELETE FROM setting WHERE name = ?", mine.of_column(name))
        self._db.run("DELETE FROM vector WHERE vector_column = ?", column.id)
        self._db.run("DELETE FROM vector_column WHERE id = ?", column.id)

    def of_column(self, name: str) -> str:
        """The name of a setting, or of a file, that each column has for itself."""
        return name if self._number <= 1 else f"{name}-{self._number}"

    @property
    def _number(self) -> int:
        """Number of the column that is used; 0, which none has and no vector refers to, if there is none."""
        if self._chosen is not None:
            return self._chosen
        column = self.column
        return 0 if column is None else column.id

    # Their vectors

    def vectors(self, side: Side, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Row and stored vector of a side's items with rows above `after`, ascending."""
        yield from self._db.each(
            f"SELECT item.row, vector FROM {_VECTORS} AND item.row > ?3 ORDER BY item.row",
            self._number, side, after,
        )  # fmt: skip

    def vectors_of(self, rows: Rows) -> NDArray[Any]:
        """The stored vectors of items (m,), in their order: (m, d) half precision, or (m, bytes) codes."""
        column, found = self.column, dict[int, bytes]()
        assert column is not None, "vectors are of a column"
        wanted = np.asarray(rows, np.int64).tolist()
        for start in range(0, len(wanted), _AT_ONCE):
            some = json.dumps(wanted[start : start + _AT_ONCE])
            found |= self._db.every(
                "SELECT row, vector FROM vector WHERE vector_column = ? "
                "AND row IN (SELECT value FROM json_each(?))",
                column.id, some,
            )  # fmt: skip
        each = column.dimensions // 8 if column.type == "bits" else 2 * column.dimensions
        if any(len(found.get(row, b"")) != each for row in wanted):
            raise damaged(self._path, "an item has no vector, or one of another length")
        kept = np.dtype(np.uint8 if column.type == "bits" else np.float16)
        shape = len(wanted), each // kept.itemsize
        return np.frombuffer(b"".join(map(found.__getitem__, wanted)), kept).reshape(shape)

    def row_numbers(self, side: Side) -> NDArray[np.int64]:
        """Every row of a side that has a vector, ascending, as an array."""
        rows = self._db.each(f"SELECT item.row FROM {_VECTORS} ORDER BY item.row", self._number, side)
        return np.fromiter((row for (row,) in rows), np.int64)

    def pairs(self, *, vectors: bool = True) -> Iterator[tuple[int, int, bytes | None, bytes | None]]:
        """Of every caption, in the order of their rows: its row, that of its picture, the vectors of both.

        Args:
            vectors: Whether to read these; else None stands in their place.
        """
        which = "image.vector, vector.vector" if vectors else "NULL, NULL"
        yield from self._db.each(
            f"SELECT item.row, picture.row, {which} FROM {_VECTORS.replace('WHERE', _PICTURE + 'WHERE')} "
            "ORDER BY item.row",
            self._number, "text",
        )  # fmt: skip

    def count_vectors(self, side: Side, *, upto: int | None = None) -> int:
        """How many items of a side have a vector; only those with rows up to one, if that is given."""
        found = self._db.one(
            f"SELECT count(*) FROM {_VECTORS} AND (?3 IS NULL OR item.row <= ?3)", self._number, side, upto
        )
        return int(found[0])

    def was_filled(self, since: int) -> bool:
        """Whether a later generation gave a vector to an item before others that had one."""
        found = self._db.one("SELECT filled FROM vector_column WHERE id = ?", self._number)
        return found is not None and found[0] > since

    def lacking(self, side: Side, *, after: int, most: int) -> list[Lacking]:
        """Some items of a side that have no vector, with rows above `after`, ascending."""
        found = self._db.every(
            # CROSS: in the order of the items, however few of them lack one.
            f"SELECT item.row, path, hash, text FROM item CROSS JOIN file ON file.id = item.file "
            f"WHERE {_LACKING} AND item.row > ?3 ORDER BY item.row LIMIT ?4",
            self._number, side, after, most,
        )  # fmt: skip
        for *_, text in found:
            if not isinstance(text, str | None):
                raise damaged(self._path, "a text is none")
        return [Lacking(*line) for line in found]

    def count_lacking(self, side: Side) -> int:
        """How many items of a side have no vector."""
        return int(self._db.one(f"SELECT count(*) FROM item WHERE {_LACKING}", self._number, side)[0])

    def last_row(self, side: Side) -> int:
        """The last row of a side that has a vector; 0 if none has."""
        found = self._db.one(
            f"SELECT item.row FROM {_VECTORS} ORDER BY item.row DESC LIMIT 1", self._number, side
        )
        return 0 if found is None else int(found[0])

    def put_vectors(self, vectors: Mapping[int, bytes], *, among: bool) -> None:
        """Give items the vectors that they lack; inside a batch.

        Args:
            vectors: By row.
            among: Whether later rows of that side have vectors already.
        """
        number = self._number
        if among:
            self._db.run(
                "UPDATE vector_column SET filled = (SELECT max(generation) + 1 FROM batch) WHERE id = ?",
                number,
            )
        self._db.run_many(
            "INSERT INTO vector (row, vector_column, vector) VALUES (?, ?, ?)",
            ((row, number, vector) for row, vector in vectors.items()),
        )

    def ids(self, side: Side) -> list[str]:
        """Names of the files of all items of a side that have a vector, in the order of their rows."""
        found = self._db.each(
            "SELECT path FROM item CROSS JOIN file ON file.id = item.file JOIN vector "
            "ON vector.row = item.row AND vector_column = ?1 WHERE side = ?2 ORDER BY item.row",
            self._number, side,
        )  # fmt: skip
        return [name_of(key) for (key,) in found]
