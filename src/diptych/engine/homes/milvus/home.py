"""milvus: a record in a folder or in PostgreSQL, whose vectors are searched in Milvus.

Address: milvus://HOST:19530/?record=FOLDER
Needs: diptych[milvus]
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import methodcaller
from typing import Any, Self

import numpy as np

from diptych.core import SIDES, Floats, Side
from diptych.engine.homes.base import Home
from diptych.engine.homes.candidates import WithCodes
from diptych.engine.homes.entries import State, VectorColumn
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.engine.homes.milvus.coded import Coded
from diptych.engine.homes.milvus.connecting import Server
from diptych.engine.homes.milvus.mirror import Form, Mirror
from diptych.engine.homes.milvus.vectors import Exact
from diptych.errors import CollectionError, UsageError

__all__ = ["Milvus"]

_MOST_DIMENSIONS = 32_768  # of a vector


class Milvus(WithCodes):
    """A `Home`: what its record is, but for searching vectors.

    Whatever is not said here is the record's, which holds everything; a server that is away or was emptied
    keeps nobody from reading it.

    Args:
        record: The home that holds everything.
        server: The server that searches.
    """

    coded_by = Coded

    def __init__(self, record: Home, server: Server) -> None:
        self.record, self.server = record, server
        self.known_codes = {}
        self._now: dict[VectorColumn, tuple[State, Mapping[Side, Exact]]] = {}
        self._mirrors: dict[VectorColumn, Mirror] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "record":
            raise AttributeError(name)
        return getattr(self.record, name)

    @property
    def believed(self) -> bool:
        """As the record."""
        return self.record.believed

    @believed.setter
    def believed(self, value: bool) -> None:
        self.record.believed = value

    @property
    def name(self) -> str:
        """What it is called where people read it."""
        return self.server.address.shown

    def close(self) -> None:
        """Let go of the record and of the connection."""
        self.record.close()
        self.server.close()

    def using(self, column: VectorColumn) -> Self:
        """The same home, whose vectors and codes are those of one column."""
        view = type(self)(self.record.using(column), self.server)
        view.known_codes, view._now, view._mirrors = self.known_codes, self._now, self._mirrors
        return view

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the record's lock; an address at which nobody answers is told before hours of work."""
        self.server.connect()
        with self.record.writing():
            yield

    def put_column(self, name: str, model: str, fingerprint: str, similarity: str, dimensions: int) -> None:
        """Make a column, or say anew what one holds; inside a batch."""
        if similarity != "hamming" and dimensions > _MOST_DIMENSIONS:
            raise UsageError(
                f"Milvus takes vectors of at most {_MOST_DIMENSIONS} dimensions, and {model} gives "
                f"{dimensions}; keep this collection in a folder"
            )
        self.record.put_column(name, model, fingerprint, similarity, dimensions)

    # Searching

    def vectors_now(self, side: Side) -> Any:
        """The vectors of a side as this thread sees them now."""
        column = self.record.column
        if column is None or not column.dimensions:
            none = np.zeros(0, np.int64)
            return Snapshot("cosine", none, np.zeros((0, 0), np.float16), none.astype(np.bool_))
        with self.record.snapshot() as state:
            known = self._now.get(column)
            if known is None or known[0] != state:
                known = self._now[column] = state, self._sides(column, state)
        return known[1][side]

    def _sides(self, column: VectorColumn, state: State) -> Mapping[Side, Exact]:
        record = self.record.using(column)
        if column not in self._mirrors:
            self._mirrors[column] = Mirror(self.server, record, self.form(column), record.vectors_of)
        mirror, rows = self._mirrors[column], {side: record.row_numbers(side) for side in SIDES}
        mirror.follow(state, rows)
        return {side: Exact(record, column, side, rows[side], state, mirror) for side in SIDES}

    def form(self, column: VectorColumn) -> Form:
        """What the copy of a column looks like: other vectors are another copy."""
        what = f"{column.fingerprint}:{column.similarity}:{column.dimensions}"
        which = hashlib.blake2b(what.encode(), digest_size=6).hexdigest()
        bits = column.type == "bits"
        name = f"{self._prefix}{column.id}_{which}"
        return Form(name, column.dimensions, bits, "BIN_FLAT" if bits else "FLAT")

    @property
    def _prefix(self) -> str:
        """With which the names of all copies of this record begin."""
        return f"{self.server.address.collection}_{(self.record.get('id') or '')[:16]}_"

    def get_ready(self, side: Side) -> None:
        """Load what the next search of a side needs."""
        self.vectors_now(side)

    def keep_codes(self, encode_texts: Callable[[Sequence[str]], Floats]) -> None:
        """Bring all copies up to date with the pictures."""
        self.vectors_now("image")
        super().keep_codes(encode_texts)

    def tidy(self) -> None:
        """Remove what was left of columns and codes that are no more."""
        self.record.tidy()
        needed = set()
        for column in self.record.columns():
            mine = self.using(column)
            needed.add(self.form(column).name)
            if mine.codes is not None:
                needed.add(Coded(mine).form.name)
        for name in self.server.ask(methodcaller("list_collections")):
            if name.startswith(self._prefix) and name not in needed:
                with contextlib.suppress(CollectionError):  # others may have removed it, and miss nothing
                    self.server.ask(methodcaller("drop_collection", name))
