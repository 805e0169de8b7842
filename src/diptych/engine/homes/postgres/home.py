"""postgres: a schema of a PostgreSQL database; vectors are compared by pgvector, exactly or by a graph.

Address: postgresql://USER@HOST/DATABASE
Needs: diptych[postgres]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows, Side
from diptych.engine.homes.address import Address
from diptych.engine.homes.candidates import WithCodes
from diptych.engine.homes.entries import State, VectorColumn
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.engine.homes.postgres import schema
from diptych.engine.homes.postgres.coded import Coded
from diptych.engine.homes.postgres.connecting import Connector
from diptych.engine.homes.postgres.database import Database
from diptych.engine.homes.postgres.record import Record
from diptych.engine.homes.postgres.vectors import Exact

__all__ = ["Postgres", "is_there"]


def is_there(address: Address) -> bool:
    """Whether there is a collection at an address.

    Raises:
        ConnectionLost: nobody answers there.
        CollectionError: the server refuses.
    """
    connection = Connector(address)()
    with contextlib.closing(connection):
        return schema.version_of(connection, address) > 0


class Postgres(WithCodes, Record):
    """A `Home` in a PostgreSQL database; see `Record`.

    Args:
        address: Of the server and the collection.
        places: The folder of this machine that holds what belongs to collections on servers here.
        folder: That names of a new collection are relative to; None if it must be there.

    Raises:
        ConnectionLost: nobody answers there.
        TooNew: it was written by a later version of Diptych.
        CollectionError: the server refuses, or has no pgvector.
    """

    coded_by = Coded

    def __init__(self, address: Address, places: Path, folder: Path | None = None) -> None:
        connector = Connector(address)
        if folder is not None:
            schema.make(connector, folder)
        db = Database(address)
        try:
            db.with_one(lambda connection: schema.bring_up_to_date(connection, address))
            found = db.one("SELECT value FROM setting WHERE name = 'folder'")
            root = address.folder or Path(json.loads(found[0]) if found else Path.cwd())
            place = places / hashlib.blake2b(address.shown.encode(), digest_size=8).hexdigest()
            place.mkdir(parents=True, exist_ok=True)
        except BaseException:
            db.close()
            raise
        super().__init__(db, place, root)
        self.known_codes = {}
        self._now: dict[tuple[Side, VectorColumn], tuple[State, Exact]] = {}

    @property
    def name(self) -> str:
        """What it is called where people read it."""
        return self._db.shown

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the one who may write."""
        with self._db.writing():
            yield

    def again(self, action: Callable[[], Any]) -> Any:
        """What a function gives that only reads; done again if the connection was lost on the way."""
        return self._db.again(action)

    # Searching

    def vectors_now(self, side: Side) -> Any:
        """The vectors of a side as this thread sees them now."""
        column = self.column
        if column is None or not column.dimensions:
            none = np.zeros(0, np.int64)
            return Snapshot("cosine", none, np.zeros((0, 0), np.float16), none.astype(np.bool_))
        with self.snapshot() as state:
            known = self._now.get((side, column))
            if known is None or known[0] != state:
                record = self.using(column)
                known = self._now[side, column] = state, Exact(record, column, side, record.row_numbers(side))
        return known[1]

    def get_ready(self, side: Side) -> None:
        """Load what the next search of a side needs."""
        self.vectors_now(side)

    def tidy(self) -> None:
        """Nothing is left by those who were killed: what was not kept is not there."""

    def compact(self) -> None:
        """The server gives back the room of what was removed by itself."""

    # What `Coded` asks of the tables

    def covers(self, table: str, column: VectorColumn) -> bool:
        """Whether every picture that has a vector has a code."""
        return not len(self.without_code(table, column, most=1))

    def without_code(self, table: str, column: VectorColumn, most: int | None = None) -> Rows:
        """Rows (n,) of pictures that have a vector and no code."""
        if self._db.one("SELECT to_regclass(%s)", table)[0] is None:
            return self.vectors_now("image").rows[:most]  # type: ignore[no-any-return]
        return self._db.rows(
            f"SELECT row FROM vector_{column.id} AS one WHERE side = 'image' AND NOT EXISTS "
            f"(SELECT 1 FROM {table} AS two WHERE two.row = one.row) ORDER BY row LIMIT %s",
            most,
        )

    def have_codes(self, table: str, bits: int, *, anew: bool) -> None:
        """Make the table of codes, if it is not there or those that it has are others."""
        drop = [f"DROP TABLE IF EXISTS {table}"] if anew else []
        self._db.alone(
            *drop,
            f"CREATE TABLE IF NOT EXISTS {table} (row bigint PRIMARY KEY REFERENCES item ON DELETE CASCADE, "
            f"code bit({int(bits)}) NOT NULL)",
        )

    def put_codes(self, table: str, rows: Rows, codes: NDArray[np.uint8]) -> None:
        """Keep codes (n, bits / 8) of pictures (n,); of none that was removed meanwhile."""
        from pgvector import Bit

        with self.batch(changes=False):
            self._db.run_many(
                f"INSERT INTO {table} SELECT row, %s FROM item WHERE row = %s ON CONFLICT DO NOTHING",
                ((Bit(code.tobytes()), int(row)) for row, code in zip(rows, codes, strict=True)),
            )

    def index_graph(self, table: str, what: str, *, where: str = "") -> None:
        """Make a graph of a table's vectors or codes, if there is none."""
        which = f" WHERE {where}" if where else ""
        self._db.alone(f"CREATE INDEX IF NOT EXISTS {table}_graph ON {table} USING hnsw ({what}){which}")

    def walk_widely(self, count: int) -> None:
        """Keep so many candidates in mind while a graph is walked, until the snapshot ends."""
        self._db.reading(lambda connection: connection.execute(f"SET LOCAL hnsw.ef_search = {int(count)}"))
