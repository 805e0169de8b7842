"""Disposable copies of one side's vectors as one memory-mapped matrix, appended to from the record.

Deleting them loses nothing; anything about them that is doubtful makes them be built again. Two plain files
hold the vectors and their row numbers in row order, a third says what they cover and how they sum up. Rows
that were removed stay in the files, unused, until they are a quarter of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Hits, Rows, Side
from diptych.engine.homes.local.record import Record
from diptych.files import write
from diptych.index import half
from diptych.index.flat import best

__all__ = ["SearchFiles", "Snapshot"]

_FORMAT = 1
_APPENDED_ROWS = 8_192  # written at a time
_DEAD_SHARE = 0.25
_LOCK_SECONDS = 10
# Below this many bytes of single-precision vectors plain NumPy is fastest, and faiss need not be imported.
_SMALL_BYTES = 64 << 20
_FEW_QUERIES = 8  # beyond, one matrix product of many queries is faster than faiss query by query
_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What the files cover.

    Args:
        format: Of the files.
        collection: Identity of the record they are from.
        generation: Of the record when they were last brought up to date.
        kind: Similarity of the encoder.
        width: Bytes of a vector.
        count: Vectors.
        vectors_sum, rows_sum: Check sums of the two files up to `count`.
    """

    format: int
    collection: str
    generation: int
    kind: str
    width: int
    count: int
    vectors_sum: int
    rows_sum: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A `Searchable` over one side as it was at one moment; the collection may go on meanwhile.

    Args:
        kind: Similarity of the encoder.
        all_rows: (n,) row numbers ascending.
        vectors: (n, d) half precision, or packed codes (n, bytes).
        alive: (n,) which of them can be found; the others were removed.
        single: The vectors of a small collection in single precision.
    """

    kind: str
    all_rows: Rows
    vectors: NDArray[Any]
    alive: NDArray[np.bool_]
    single: Floats | None = None

    @property
    def rows(self) -> Rows:
        """The rows that can be found, ascending."""
        return self.all_rows if self.alive.all() else self.all_rows[self.alive]

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        queries = self._queries(vectors)
        wanted = self.alive if within is None else self.alive & np.isin(self.all_rows, within)
        count = int(np.count_nonzero(wanted))
        if not count:
            return best(np.zeros((len(queries), 0), np.float32), self.all_rows[:0], k)
        at = None if count == len(wanted) else np.flatnonzero(wanted)
        few = 8 * count < len(wanted)
        if self.kind != "hamming" and self.single is None and not few and len(queries) <= _FEW_QUERIES:
            return half.search(queries, self.vectors, self.all_rows, k, at)
        rows = self.all_rows if at is None else self.all_rows[at]
        return best(self._scores(queries, at), rows, k)

    def scores(self, vectors: NDArray[Any], rows: Rows) -> Floats:
        """Scores (q, m) of queries (q, d) with the vectors of rows (m,), which must exist."""
        return self._scores(self._queries(vectors), np.searchsorted(self.all_rows, rows))

    def _queries(self, vectors: NDArray[Any]) -> Floats:
        queries = np.asarray(vectors, np.float32)
        return similarity.unit(queries) if self.kind == "cosine" else queries

    def _scores(self, queries: Floats, at: NDArray[np.intp] | None) -> Floats:
        """Scores (q, m) of the vectors at these positions; of all, if None."""
        if self.single is not None:
            return queries @ (self.single if at is None else self.single[at]).T
        count = len(self.vectors) if at is None else len(at)
        scores = np.empty((len(queries), count), np.float32)
        for start in range(0, count, _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            block = self.vectors[part if at is None else at[part]]
            if self.kind == "hamming":
                scores[:, part] = similarity.hamming(queries, similarity.unpack(block))
            else:
                scores[:, part] = queries @ block.astype(np.float32).T
        return scores


class SearchFiles:
    """An exact `Searchable` over one side of a collection, which it follows.

    Args:
        record: Where the vectors come from.
        side: "image" or "text".
        kind: Similarity of the encoder; codes ("hamming") are packed, everything else is half precision.
        folder: Where the files go.
    """

    def __init__(self, record: Record, side: Side, *, kind: str, folder: Path) -> None:
        self._record, self._side, self._kind, self._folder = record, side, kind, folder
        self._type = np.dtype(np.uint8 if kind == "hamming" else np.float16)
        self._now: tuple[int, Snapshot] | None = None
        self._lock = threading.Lock()

    @property
    def rows(self) -> Rows:
        """The rows that can be found, ascending."""
        return self.snapshot().rows

    def get_ready(self) -> None:
        """Bring the files up to date and load what a search needs, so that the next one is fast."""
        if self.snapshot().single is None and self._kind != "hamming":
            import faiss  # noqa: F401

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        return self.snapshot().search(vectors, k, within)

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """All rows that can be found, ascending, and their vectors (n, d), memory-mapped where possible."""
        found = self.snapshot()
        if found.alive.all():
            return found.all_rows, found.vectors
        return found.all_rows[found.alive], found.vectors[found.alive]

    # Keeping up with the record

    def snapshot(self) -> Snapshot:
        """The side as it is now; the same object until it changes."""
        with self._lock:
            generation = self._record.state.generation
            if self._now is None or self._now[0] != generation:
                matrix = self._brought_up_to_date(generation)
                if self._kind != "hamming" and matrix.vectors.size * 4 <= _SMALL_BYTES:
                    matrix = replace(matrix, single=matrix.vectors.astype(np.float32))
                self._now = generation, matrix
            return self._now[1]

    def _brought_up_to_date(self, generation: int) -> Snapshot:
        stamp = self._stamp()
        matrix = self._opened(stamp)
        if matrix is not None and stamp is not None and stamp.generation == generation and matrix.alive.all():
            return matrix
        from filelock import FileLock, Timeout

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / f"{self._side}.lock", timeout=_LOCK_SECONDS):
                stamp = self._stamp()
                return self._appended(generation, stamp, self._opened(stamp))
        except (OSError, Timeout):
            # A full disk, a read-only folder, or (on Windows) an old file that another process maps: a matrix
            # in memory serves as well, and the next process tries again.
            return self._in_memory()

    def _stamp(self) -> _Stamp | None:
        try:
            found = json.loads(self._path("json").read_text(encoding="utf-8"))
            stamp = _Stamp(**found)
        except (OSError, ValueError, TypeError):
            return None
        mine = (_FORMAT, self._record.get("id"), self._kind)
        return stamp if (stamp.format, stamp.collection, stamp.kind) == mine else None

    def _opened(self, stamp: _Stamp | None) -> Snapshot | None:
        """What is on disk, or None if it is missing, damaged, or not a beginning of what the record holds."""
        if stamp is None or not stamp.count:
            return None
        try:
            shape = (stamp.count, stamp.width // self._type.itemsize)
            vectors = np.memmap(self._path("vectors"), self._type, mode="r", shape=shape)
            rows = np.fromfile(self._path("rows"), np.int64, stamp.count)
        except (OSError, ValueError):
            return None
        if (_sum(vectors.data, stamp.width), _sum(rows.data, 8)) != (stamp.vectors_sum, stamp.rows_sum):
            return None
        there = self._record.row_numbers(self._side)
        alive = np.isin(rows, there, assume_unique=True)
        whole = np.count_nonzero(alive) == np.searchsorted(there, rows[-1], side="right")
        return (
            Snapshot(self._kind, rows, vectors, alive) if whole and alive.mean() > 1 - _DEAD_SHARE else None
        )

    def _appended(self, generation: int, stamp: _Stamp | None, matrix: Snapshot | None) -> Snapshot:
        """The files after everything that the record has beyond them was added; call with the lock held."""
        fresh = stamp is None or matrix is None
        width, count, last, sums = (0, 0, 0, (0, 0)) if stamp is None or matrix is None else (
            stamp.width, stamp.count, int(matrix.all_rows[-1]), (stamp.vectors_sum, stamp.rows_sum)
        )  # fmt: skip
        if fresh:
            self._path("json").unlink(missing_ok=True)
            for name in ("vectors", "rows"):  # not emptied in place: another process may look at them
                self._path(name).unlink(missing_ok=True)
        dead = np.zeros(0, np.int64) if matrix is None else matrix.all_rows[~matrix.alive]
        del matrix  # lets go of the mapping before the file grows
        with self._at("vectors", count * width) as to_vectors, self._at("rows", count * 8) as to_rows:
            for rows, data in _parts(self._record.vectors(self._side, after=last)):
                width, count = len(data) // len(rows), count + len(rows)
                added = (_sum(data, width), _sum(rows.data, 8))
                sums = ((sums[0] + added[0]) % 2**64, (sums[1] + added[1]) % 2**64)
                to_vectors.write(data)
                to_rows.write(rows.tobytes())
        made = _Stamp(_FORMAT, self._record.get("id") or "", generation, self._kind, width, count, *sums)
        write(self._path("json"), json.dumps(asdict(made)))
        if not count:
            return self._in_memory()
        shape = (count, width // self._type.itemsize)
        vectors = np.memmap(self._path("vectors"), self._type, mode="r", shape=shape)
        rows = np.fromfile(self._path("rows"), np.int64, count)
        return Snapshot(self._kind, rows, vectors, ~np.isin(rows, dead, assume_unique=True))

    def _in_memory(self) -> Snapshot:
        parts = list(_parts(self._record.vectors(self._side)))
        rows = np.concatenate([rows for rows, _ in parts]) if parts else np.zeros(0, np.int64)
        data = np.frombuffer(b"".join(data for _, data in parts), self._type)
        return Snapshot(
            self._kind, rows, data.reshape(len(rows), -1 if len(rows) else 0), np.ones(len(rows), np.bool_)
        )

    def _path(self, ending: str) -> Path:
        return self._folder / f"{self._side}.{ending}"

    @contextlib.contextmanager
    def _at(self, name: str, offset: int) -> Iterator[Any]:
        """The file, open for writing from `offset` on; what lies beyond is left from an interrupted run."""
        path = self._path(name)
        with path.open("r+b" if offset else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            yield file
            file.flush()
            os.fsync(file.fileno())


def _sum(data: Any, width: int) -> int:
    """Sum of the words of `data`, modulo 2**64; ten times as fast as a CRC, and a search waits for it."""
    word = next(np.dtype(f"u{size}") for size in (8, 4, 2, 1) if width % size == 0)
    return int(np.add.reduce(np.frombuffer(data, np.uint8).view(word), dtype=np.uint64))


def _parts(items: Iterator[tuple[int, bytes]]) -> Iterator[tuple[Rows, bytes]]:
    """Rows and joined vectors of many items at a time."""
    rows: list[int] = []
    data: list[bytes] = []
    for row, vector in items:
        rows.append(row)
        data.append(vector)
        if len(rows) == _APPENDED_ROWS:
            yield np.array(rows, np.int64), b"".join(data)
            rows, data = [], []
    if rows:
        yield np.array(rows, np.int64), b"".join(data)
