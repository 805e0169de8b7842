"""Disposable copies of one side's vectors as one memory-mapped matrix, appended to from the record.

Deleting them loses nothing; anything about them that is doubtful makes them be built again. Two plain files
hold the vectors and their row numbers in row order, a third says what they cover and how they sum up. Rows
that were removed stay in the files, unused, until they are a quarter of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
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
from diptych.errors import UsageError
from diptych.files import write
from diptych.index.flat import best

__all__ = ["SearchFiles"]

_FORMAT = 1
_APPENDED_ROWS = 8_192  # written at a time
_DEAD_SHARE = 0.25
_LOCK_SECONDS = 10
# Below this many bytes of single-precision vectors plain NumPy is fastest, and faiss need not be imported.
_SMALL_BYTES = 64 << 20
# Half-precision vectors that faiss scans at a time. They are copied into its memory, which stays in cache;
# measured at 100,000 x 512: 9 ms a query, against 34 ms for a product with a whole single-precision matrix.
_CHUNK_ROWS = 1_024
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
class _Matrix:
    """Row numbers (n,) ascending, vectors (n, d) half precision or (n, bytes), and which still count.

    `single` holds the vectors of a small collection in single precision.
    """

    rows: Rows
    vectors: NDArray[Any]
    alive: NDArray[np.bool_]
    single: Floats | None = None


class SearchFiles:
    """An exact `Index` over one side of a collection.

    Args:
        record: Where the vectors come from.
        side: "image" or "text".
        kind: Similarity of the encoder; codes ("hamming") are packed, everything else is half precision.
        folder: Where the files go.
    """

    def __init__(self, record: Record, side: Side, *, kind: str, folder: Path) -> None:
        self._record, self._side, self._kind, self._folder = record, side, kind, folder
        self._type = np.dtype(np.uint8 if kind == "hamming" else np.float16)
        self._now: tuple[int, _Matrix] | None = None
        self._lock = threading.Lock()

    @property
    def rows(self) -> Rows:
        """The rows that can be found, ascending."""
        matrix = self._current()
        return matrix.rows[matrix.alive]

    def get_ready(self) -> None:
        """Bring the files up to date and load what a search needs, so that the next one is fast."""
        if self._current().single is None and self._kind != "hamming":
            import faiss  # noqa: F401

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Refused: a collection is filled through its record.

        Raises:
            UsageError: always.
        """
        raise UsageError("search files follow their collection; use Collection.add")

    def remove(self, rows: Rows) -> None:
        """Refused: a collection is emptied through its record.

        Raises:
            UsageError: always.
        """
        raise UsageError("search files follow their collection; use Collection.remove")

    def save(self, path: Path) -> None:
        """Refused: these files are made anew whenever they are missing.

        Raises:
            UsageError: always.
        """
        raise UsageError("search files are disposable; copy the collection instead")

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        matrix = self._current()
        queries = np.asarray(vectors, np.float32)
        if self._kind == "cosine":
            queries = similarity.unit(queries)
        wanted = matrix.alive if within is None else matrix.alive & np.isin(matrix.rows, within)
        if not wanted.any():
            return best(np.zeros((len(queries), 0), np.float32), matrix.rows[:0], k)
        few = 8 * np.count_nonzero(wanted) < len(wanted)
        if self._kind != "hamming" and matrix.single is None and not few and len(queries) <= _FEW_QUERIES:
            return _scan(queries, matrix, k, wanted)
        at = np.flatnonzero(wanted)
        return best(self._scores(queries, matrix, at), matrix.rows[at], k)

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """All rows that can be found, ascending, and their vectors (n, d), memory-mapped where possible."""
        matrix = self._current()
        if matrix.alive.all():
            return matrix.rows, matrix.vectors
        return matrix.rows[matrix.alive], matrix.vectors[matrix.alive]

    def vectors(self, rows: Rows) -> NDArray[Any]:
        """Stored vectors of these rows, which must exist."""
        matrix = self._current()
        return matrix.vectors[np.searchsorted(matrix.rows, rows)]

    def _scores(self, queries: Floats, matrix: _Matrix, at: NDArray[np.intp]) -> Floats:
        """Scores (q, len(at)) of the vectors at these positions."""
        if matrix.single is not None:
            return queries @ (matrix.single if len(at) == len(matrix.single) else matrix.single[at]).T
        scores = np.empty((len(queries), len(at)), np.float32)
        for start in range(0, len(at), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            block = matrix.vectors[at[part]]
            if self._kind == "hamming":
                scores[:, part] = similarity.hamming(queries, similarity.unpack(block))
            else:
                scores[:, part] = queries @ block.astype(np.float32).T
        return scores

    # Keeping up with the record

    def _current(self) -> _Matrix:
        with self._lock:
            generation = self._record.state.generation
            if self._now is None or self._now[0] != generation:
                matrix = self._brought_up_to_date(generation)
                if self._kind != "hamming" and matrix.vectors.size * 4 <= _SMALL_BYTES:
                    matrix = replace(matrix, single=matrix.vectors.astype(np.float32))
                self._now = generation, matrix
            return self._now[1]

    def _brought_up_to_date(self, generation: int) -> _Matrix:
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

    def _opened(self, stamp: _Stamp | None) -> _Matrix | None:
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
        return _Matrix(rows, vectors, alive) if whole and alive.mean() > 1 - _DEAD_SHARE else None

    def _appended(self, generation: int, stamp: _Stamp | None, matrix: _Matrix | None) -> _Matrix:
        """The files after everything that the record has beyond them was added; call with the lock held."""
        fresh = stamp is None or matrix is None
        width, count, last, sums = (0, 0, 0, (0, 0)) if stamp is None or matrix is None else (
            stamp.width, stamp.count, int(matrix.rows[-1]), (stamp.vectors_sum, stamp.rows_sum)
        )  # fmt: skip
        if fresh:
            self._path("json").unlink(missing_ok=True)
            for name in ("vectors", "rows"):  # not emptied in place: another process may look at them
                self._path(name).unlink(missing_ok=True)
        dead = np.zeros(0, np.int64) if matrix is None else matrix.rows[~matrix.alive]
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
        return _Matrix(rows, vectors, ~np.isin(rows, dead, assume_unique=True))

    def _in_memory(self) -> _Matrix:
        parts = list(_parts(self._record.vectors(self._side)))
        rows = np.concatenate([rows for rows, _ in parts]) if parts else np.zeros(0, np.int64)
        data = np.frombuffer(b"".join(data for _, data in parts), self._type)
        return _Matrix(rows, data.reshape(len(rows), -1 if len(rows) else 0), np.ones(len(rows), np.bool_))

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


def _scan(queries: Floats, matrix: _Matrix, k: int, wanted: NDArray[np.bool_]) -> Hits:
    """The k best of the wanted rows by inner product, with faiss' half-precision kernel chunk by chunk."""
    import faiss

    faiss.omp_set_num_threads(1)  # two on a busy machine turned 3 ms into 264 ms
    index = faiss.IndexScalarQuantizer(
        matrix.vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.is_trained = True
    index.codes.resize(_CHUNK_ROWS * index.code_size)
    memory, everything = int(index.codes.data()), bool(wanted.all())
    found: list[list[tuple[Floats, Rows]]] = [[] for _ in queries]
    for start in range(0, len(wanted), _CHUNK_ROWS):
        chosen = wanted[start : start + _CHUNK_ROWS]
        if not everything and not chosen.any():
            continue
        chunk = matrix.vectors[start : start + len(chosen)]
        ctypes.memmove(memory, chunk.ctypes.data, chunk.nbytes)
        index.ntotal = len(chosen)
        ask = functools.partial(index.search, queries)
        if not everything:
            bits = np.packbits(chosen, bitorder="little")
            selector: Any = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]  # faiss' own wrapper
            ask = functools.partial(ask, params=faiss.SearchParameters(sel=selector))  # type: ignore[call-arg]
        count = min(k + 1, len(chosen))
        scores, at = ask(count)
        if count > k and (scores[:, k] == scores[:, k - 1]).any():  # ties must go by row, not by chance
            scores, at = ask(len(chosen))
        for query, (line, places) in enumerate(zip(scores, at, strict=True)):
            real = places >= 0
            found[query].append((line[real], matrix.rows[start + places[real]]))
    hits = [best(*_joined(parts), k) for parts in found]
    return Hits(np.concatenate([hit.rows for hit in hits]), np.concatenate([hit.scores for hit in hits]))


def _joined(parts: list[tuple[Floats, Rows]]) -> tuple[Floats, Rows]:
    if not parts:
        return np.zeros((1, 0), np.float32), np.zeros(0, np.int64)
    return np.concatenate([scores for scores, _ in parts])[None], np.concatenate([rows for _, rows in parts])
