"""A copy of a column's vectors, or of their codes, in a collection of a Milvus server.

The record holds everything; the copy only searches, and may be dropped at any time. It says in a row of its
own in which state of the record it is, and is brought from there to the one that is read: what came is put in
under the number of its row in the record, what went is deleted. Both may be done twice, by whoever comes
first, so that no lock is needed, and whoever is killed leaves nothing that the next does not find.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import SIDES, Rows, Side
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import State
from diptych.engine.homes.milvus.connecting import NotThere, Server
from diptych.errors import CollectionBusy

__all__ = ["MOST", "Form", "Mirror"]

MOST = 16_384
"""Hits that Milvus gives at most."""

_STATE, _OWN_ROW = "state", -1  # the partition and the number of the row that says what the copy has
_AT_ONCE = 4 << 20  # bytes of vectors in one request
_DELETED = 5_000  # rows in one request
_QUERIES = 64  # in one request
_SETTLED = 10.0  # seconds after which all of a cluster has what it acknowledged; it promises five
_TRIES = 3
_FLUSHED = 5_000  # new rows for which a segment is closed, so that it gets its index
_TIMEOUT = 60.0  # seconds for one request
_INDEXING = 600.0  # seconds for an index


@dataclass(frozen=True, slots=True)
class Form:
    """What a copy looks like on the server.

    Args:
        name: Of the collection there.
        dimensions: Of a vector; bits of a code.
        bits: Whether they are codes, eight bits to a byte.
        index: Kind of index.
        sides: Of which items.
        options: Of the index.
    """

    name: str
    dimensions: int
    bits: bool
    index: str
    sides: Sequence[Side] = SIDES
    options: Mapping[str, int] = field(default_factory=dict)


class Mirror:
    """One copy.

    Args:
        server: Where it is.
        home: The record, with the column that is copied.
        form: What it looks like.
        vectors: Gives what is stored of some rows of the record, (m, d) or (m, bytes).
    """

    def __init__(
        self, server: Server, home: Home, form: Form, vectors: Callable[[Rows], NDArray[Any]]
    ) -> None:
        self._server, self._home, self.form, self._vectors = server, home, form, vectors
        self._lock = threading.Lock()
        self._has: tuple[State, float] | None = None  # and since when this process knows it
        self._last: tuple[State, Mapping[Side, Rows]]
        self._looked = False

    def follow(self, state: State, rows: Mapping[Side, Rows]) -> None:
        """Bring it to a state of the record, unless it is there or beyond.

        Args:
            state: Which this thread reads.
            rows: (n,) of each side in that state, ascending.
        """
        with self._lock:
            self._last = state, rows
            if self._has is not None and self._has[0] == state:
                return
            said = self._found()
            known = None if said is None else State(*said["state"])
            if known is not None and not self._home.knows(known):
                self._drop()  # of a record that went another way
                said, known = self._found(), None
            beyond = known is not None and known.generation > state.generation
            if not beyond and (known != state or not self._whole(rows)):
                self._bring(state, rows, said)
            self._has = state, time.monotonic()

    def search(
        self, side: Side, queries: NDArray[Any], limit: int, *, within: Rows | None = None, **options: int
    ) -> list[tuple[Rows, NDArray[np.float32]]]:
        """The rows nearest to each query, and their scores by the server, the best first.

        Args:
            side: Of the rows.
            queries: (q, d), or (q, bytes) of codes.
            limit: Rows of each, at most `MOST`.
            within: Rows that are allowed, if not all; few enough to be named one by one.
            options: Of the search.
        """
        # A cluster may lag behind what it acknowledged; once it cannot any more, nobody waits for it.
        settled = self._has is not None and time.monotonic() - self._has[1] > _SETTLED
        found: list[tuple[Rows, NDArray[np.float32]]] = []
        for start in range(0, len(queries), _QUERIES):
            some = queries[start : start + _QUERIES]
            asked = [one.tobytes() for one in some] if self.form.bits else list(some)
            how: Any = {
                "data": asked,
                "anns_field": "vector",
                "limit": limit,
                "filter": "" if within is None else f"row in {within.tolist()}",
                "partition_names": [side],
                "search_params": {"metric_type": self._metric, "params": options},
                "consistency_level": "Bounded" if settled else "Strong",
            }
            try:
                answers = self._asked("search", **how)
            except NotThere:  # any more: somebody has emptied the server
                self._has = None
                self.follow(*self._last)
                answers = self._asked("search", **{**how, "consistency_level": "Strong"})
            for hits in answers:
                numbers = np.fromiter((hit["id"] for hit in hits), np.int64, len(hits))
                scores = np.fromiter((hit["distance"] for hit in hits), np.float32, len(hits))
                found.append((numbers, -scores if self.form.bits else scores))
        return found

    def settle(self) -> None:
        """Close what is being filled, have it merged, and wait until the index has all of it.

        The server merges small parts by itself some time later, each of which has a graph of its own that is
        walked as widely as a large one: what is measured before that is too good.
        """
        until = time.monotonic() + _INDEXING
        self._asked("flush")
        self._indexed(until)
        merging = self._asked("compact")
        while self._server.ask(lambda client: client.get_compaction_state(merging)) == "Executing":
            if time.monotonic() > until:
                break  # it goes on by itself
            time.sleep(0.5)
        self._indexed(until)
        self._asked("release_collection")  # what is in memory has been filled row by row, without a graph
        self._asked("load_collection")

    def _indexed(self, until: float) -> None:
        """Wait for the index; if it takes longer, the server compares one by one meanwhile."""
        while self._asked("describe_index", index_name="vector").get("pending_index_rows", 0):
            if time.monotonic() > until:
                return
            time.sleep(0.5)

    @property
    def _metric(self) -> str:
        return "HAMMING" if self.form.bits else "IP"

    # What it has

    def _found(self) -> dict[str, Any] | None:
        """What it says of itself, for which it is made if it is not there; None if nothing yet."""
        how: Any = {
            "ids": [_OWN_ROW],
            "output_fields": ["said"],
            "partition_names": [_STATE],
            "consistency_level": "Strong",
        }
        try:
            lines = self._asked("get", **how)
        except NotThere:
            self._make()
            lines = self._asked("get", **how)
        return dict(json.loads(lines[0]["said"])) if lines else None

    def _whole(self, rows: Mapping[Side, Rows]) -> bool:
        """Whether it has as many rows as it should; looked at once, as nobody else takes any away."""
        if self._looked:
            return True
        self._looked = True
        return self._count() == sum(len(rows[side]) for side in self.form.sides)

    def _count(self) -> int:
        lines = self._asked(
            "query", filter="", output_fields=["count(*)"], partition_names=list(self.form.sides),
            consistency_level="Strong",
        )  # fmt: skip
        return int(lines[0]["count(*)"])

    def there(self, side: Side) -> Rows:
        """The rows (n,) of a side that it has, ascending."""

        def read(client: Any) -> Rows:
            pages = client.query_iterator(
                self.form.name, batch_size=MOST, filter="row >= 0", output_fields=["row"],
                partition_names=[side], consistency_level="Strong", timeout=_TIMEOUT,
            )  # fmt: skip
            found: list[int] = []
            while page := pages.next():
                found += [line["row"] for line in page]
            pages.close()
            return np.unique(np.array(found, np.int64))

        return self._server.ask(read)

    # Bringing it up to date

    def _bring(self, state: State, rows: Mapping[Side, Rows], said: Mapping[str, Any] | None) -> None:
        """Make it the copy of a state.

        Raises:
            CollectionBusy: others bring it elsewhere all the time.
        """
        expected, came = sum(len(rows[side]) for side in self.form.sides), 0
        if said is None:  # so that what an interruption leaves is known to be of this record
            self._say(state, {side: rows[side][:0] for side in self.form.sides})
        for attempt in range(_TRIES):
            for side in self.form.sides:
                old = {} if said is None else said["sides"].get(side, {})
                new, gone = self._difference(side, rows[side], old if not attempt else {"sum": ""})
                self._put(side, new)
                self._delete(gone)
                came += len(new)
            if self._count() == expected:
                break
        else:
            raise CollectionBusy(
                f"{self._server.address.shown} is being written to by others all the time; do it again"
            )
        if came > _FLUSHED:
            self._asked("flush")
        self._say(state, rows)

    def _difference(self, side: Side, rows: Rows, old: Mapping[str, Any]) -> tuple[Rows, Rows]:
        """The rows that are to come, and those that are to go."""
        if not old:
            return rows, rows[:0]
        before = rows[: np.searchsorted(rows, old.get("last", 0), side="right")]
        if _sum(before) == old["sum"]:  # as in most cases: nothing went
            return rows[len(before) :], rows[:0]
        there = self.there(side)
        return np.setdiff1d(rows, there), np.setdiff1d(there, rows)

    def _put(self, side: Side, rows: Rows) -> None:
        each = self.form.dimensions // 8 if self.form.bits else self.form.dimensions * 4
        block = max(1, _AT_ONCE // each)
        for start in range(0, len(rows), block):
            some = rows[start : start + block]
            vectors = self._vectors(some)
            if not self.form.bits:
                vectors = vectors.astype(np.float32)
            lines = [
                {"row": row, "said": "", "vector": one.tobytes() if self.form.bits else one}
                for row, one in zip(some.tolist(), vectors, strict=True)
            ]
            self._asked("upsert", data=lines, partition_name=side)

    def _delete(self, rows: Rows) -> None:
        for start in range(0, len(rows), _DELETED):
            self._asked("delete", ids=rows[start : start + _DELETED].tolist())

    def _say(self, state: State, rows: Mapping[Side, Rows]) -> None:
        """Write down which state it has; last, in the same log, so that it never says too much."""
        sides = {
            side: {"last": int(found[-1]) if len(found) else 0, "sum": _sum(found)}
            for side, found in rows.items()
        }
        said = json.dumps({"state": [state.generation, state.token], "sides": sides})
        bits = self.form.bits
        nothing: Any = (
            bytes(self.form.dimensions // 8) if bits else np.zeros(self.form.dimensions, np.float32)
        )
        line = {"row": _OWN_ROW, "said": said, "vector": nothing}
        self._asked("upsert", data=[line], partition_name=_STATE)

    # Making it

    def _make(self) -> None:
        """Make what is lacking of it; all of which may be there."""
        form = self.form

        def make(client: Any) -> None:
            from pymilvus import DataType

            schema = client.create_schema(
                auto_id=False, enable_dynamic_field=False,
                description="a copy for searching, made by Diptych; it is filled again where it is dropped",
            )  # fmt: skip
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("said", DataType.VARCHAR, max_length=1_000)
            kind = DataType.BINARY_VECTOR if form.bits else DataType.FLOAT_VECTOR
            schema.add_field("vector", kind, dim=form.dimensions)
            if not client.has_collection(form.name, timeout=_TIMEOUT):
                client.create_collection(
                    form.name, schema=schema, num_shards=1, consistency_level="Bounded", timeout=_TIMEOUT
                )
            for partition in (_STATE, *form.sides):
                if not client.has_partition(form.name, partition, timeout=_TIMEOUT):
                    client.create_partition(form.name, partition, timeout=_TIMEOUT)
            index = client.prepare_index_params()
            index.add_index(
                "vector", index_type=form.index, index_name="vector", metric_type=self._metric,
                params=dict(form.options),
            )  # fmt: skip
            client.create_index(form.name, index, timeout=_TIMEOUT)
            client.load_collection(form.name, timeout=_TIMEOUT)

        self._server.ask(make)

    def _drop(self) -> None:
        self._asked("drop_collection")

    def _asked(self, what: str, **how: Any) -> Any:
        """What a request about its collection gives."""
        return self._server.ask(lambda client: getattr(client, what)(self.form.name, timeout=_TIMEOUT, **how))


def _sum(rows: Rows) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows, np.int64).tobytes(), digest_size=16).hexdigest()
