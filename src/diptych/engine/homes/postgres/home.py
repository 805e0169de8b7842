"""The home in a schema of a PostgreSQL database; vectors are compared by pgvector, exactly or by a graph."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Searchable, Side
from diptych.engine.homes.address import Address
from diptych.engine.homes.entries import State, VectorColumn
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.engine.homes.postgres import schema
from diptych.engine.homes.postgres.connecting import Connector
from diptych.engine.homes.postgres.database import Database
from diptych.engine.homes.postgres.record import Record
from diptych.engine.homes.postgres.vectors import Exact
from diptych.errors import UsageError

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


class Postgres(Record):
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

    # Codes

    @property
    def codes(self) -> Mapping[str, Any] | None:
        """What is known of the pictures' codes or graph; None if there are none."""
        return None

    def packed(self) -> tuple[Rows, NDArray[np.uint8]] | None:
        """Rows (n,) of the pictures, ascending, and their codes (n, bits / 8); None if there are none."""
        column = self.column
        if column is not None and column.type == "bits":
            found: tuple[Rows, NDArray[np.uint8]] = self.vectors_now("image").stored()
            return found
        return None

    def quick(self, sides: Sequence[Side], recall: float | None, k: int) -> Searchable | None:
        """What searches pictures by codes or a graph; None if only exact search promises the recall."""
        return None

    def make_codes(self, by: int | str, encode_texts: Callable[[Sequence[str]], Floats]) -> Mapping[str, Any]:
        """Give the pictures codes or a graph; see `Collection.make_codes`."""
        raise UsageError(
            f"{self.name} compares with every picture and finds everything; codes are for collections in a "
            "folder"
        )

    def keep_codes(self, encode_texts: Callable[[Sequence[str]], Floats]) -> None:
        """Learn and calibrate codes again where much came new."""

    def take_codes(self, other: Self) -> None:
        """Have codes as another home has them, whose vectors are of the same model; the caller may write."""
