"""Disposable copies of one side's vectors as one memory-mapped matrix, built from the record.

Deleting them loses nothing; anything about them that is doubtful makes them be built again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Hits, Rows
from diptych.engine.record import Record, Side
from diptych.errors import UsageError
from diptych.index.flat import best

__all__ = ["SearchFiles"]

# Up to this many bytes of single-precision vectors are kept in memory, where a scan is several times faster.
_KEPT_BYTES = 1 << 30
_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class _Matrix:
    rows: Rows
    vectors: NDArray[Any]


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
        self._generation = -1
        self._matrix = _Matrix(np.zeros(0, np.int64), np.zeros((0, 0), np.float16))
        self._single: Floats | None = None

    @property
    def rows(self) -> Rows:
        """The rows that can be found, ascending."""
        return self._current().rows

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
        rows, chosen = matrix.rows, None
        if within is not None:
            chosen = np.flatnonzero(np.isin(rows, within))
            rows = rows[chosen]
        queries = np.asarray(vectors, np.float32)
        if self._kind == "cosine":
            queries = similarity.unit(queries)
        scores = np.empty((len(queries), len(rows)), np.float32)
        if self._single is not None:
            gallery = self._single if chosen is None else self._single[chosen]
            np.matmul(queries, gallery.T, out=scores)
        else:
            for start in range(0, len(rows), _BLOCK_ROWS):
                at = slice(start, start + _BLOCK_ROWS)
                block = matrix.vectors[at] if chosen is None else matrix.vectors[chosen[at]]
                scores[:, at] = self._scores(queries, block)
        return best(scores, rows, k)

    def vectors(self, rows: Rows) -> NDArray[Any]:
        """Stored vectors of these rows, which must exist."""
        matrix = self._current()
        return matrix.vectors[np.searchsorted(matrix.rows, rows)]

    def _scores(self, queries: Floats, block: NDArray[Any]) -> Floats:
        if self._kind == "hamming":
            return similarity.hamming(queries, similarity.unpack(np.ascontiguousarray(block)))
        return queries @ block.astype(np.float32).T

    def _current(self) -> _Matrix:
        generation = self._record.generation
        if generation != self._generation:
            self._single = None
            self._matrix = self._opened(generation) or self._built(generation)
            self._generation = generation
        wanted = self._matrix.vectors.size * 4
        if self._single is None and self._kind != "hamming" and wanted <= _KEPT_BYTES:
            self._single = self._matrix.vectors.astype(np.float32)
        return self._matrix

    def _paths(self, generation: int) -> tuple[Path, Path]:
        stem = f"{self._side}-{generation}"
        return self._folder / f"{stem}.npy", self._folder / f"{stem}.rows.npy"

    def _opened(self, generation: int) -> _Matrix | None:
        """What is on disk, or None if it is missing, damaged or not of this generation."""
        try:
            vectors, rows = (np.load(path, mmap_mode="r") for path in self._paths(generation))
            stamp = json.loads((self._folder / f"{self._side}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, EOFError):
            return None
        expected = {"generation": generation, "shape": list(vectors.shape), "kind": self._kind}
        whole = stamp == expected and len(rows) == len(vectors) == self._record.count(self._side)
        return _Matrix(np.asarray(rows), vectors) if whole else None

    def _built(self, generation: int) -> _Matrix:
        """The matrix out of the record; written to disk where that is possible."""
        kind = np.uint8 if self._kind == "hamming" else np.float16
        count = self._record.count(self._side)
        rows, vectors, at = np.zeros(count, np.int64), np.zeros((count, 0), kind), 0
        for row, data in self._record.vectors(self._side):
            if at == count:  # somebody added meanwhile; those belong to the next generation
                break
            if not at:
                vectors = np.zeros((count, len(data) // np.dtype(kind).itemsize), kind)
            rows[at], vectors[at] = row, np.frombuffer(data, kind)
            at += 1
        matrix = _Matrix(rows[:at], vectors[:at])
        if self._record.generation == generation:
            self._write(matrix, generation)
        return matrix

    def _write(self, matrix: _Matrix, generation: int) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob(f"{self._side}-*"):
                old.unlink(missing_ok=True)
            for path, array in zip(self._paths(generation), (matrix.vectors, matrix.rows), strict=True):
                unfinished = path.with_suffix(f".{os.getpid()}.part")
                with unfinished.open("wb") as file:
                    np.save(file, array)
                unfinished.replace(path)
            stamp = {"generation": generation, "shape": list(matrix.vectors.shape), "kind": self._kind}
            (self._folder / f"{self._side}.json").write_text(json.dumps(stamp), encoding="utf-8")
        except OSError:
            # A full disk, a read-only folder, or (on Windows) an old file that another process maps: the
            # matrix in memory serves as well, and the next process tries again.
            return
