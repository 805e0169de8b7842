"""Exact search over vectors in half precision, chunk by chunk, with faiss' kernel.

The vectors may lie in a file that is larger than memory (`Stored`): each chunk is copied into the same
megabyte, which stays in the processor's cache. Measured at 100,000 x 512: 9 ms a query, against 34 ms for a
product with a whole matrix in single precision.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Hits, Rows
from diptych.errors import BadData
from diptych.index.flat import best

__all__ = ["Stored", "one_thread", "scores", "search", "taken"]

_CHUNK = 1024  # vectors that are scored at a time
_CONVERTED = 256  # vectors that are made single precision at a time: they, too, stay in the cache
_MOST_MAPPED = 640 << 20  # bytes of a file that stay mapped; a page of the system divides it


class Stored(np.memmap[Any, np.dtype[Any]]):
    """Vectors in a file of which only the first part stays mapped, and the rest is read.

    What is mapped counts as memory of this process, so that a search that looks at vectors all over a large
    file must not leave it mapped; and what it takes to map a gigabyte for every search hangs on the pieces in
    which the system happens to keep the file: 5 ms of 15,000 vectors of 1 KB, or 33 to 45. To map a part of
    it and to read the rest takes 11 to 16 ms (`python benchmarks/search.py stored`).
    """

    _file: int | None = None

    @classmethod
    def of(cls, path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> Self:
        """The vectors of a file, which may be replaced or deleted meanwhile.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is shorter than so many vectors.
        """
        with path.open("rb") as file:
            made = cls(file, kind, mode="r", shape=shape)
            if hasattr(os, "preadv"):  # Windows lacks it: there, all stays mapped
                made._file = os.dup(file.fileno())
            return made

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def copied(self, places: Rows | slice, out: NDArray[Any]) -> None:
        """Copy the vectors at some places into (m, d), those beyond what stays mapped without mapping them.

        Args:
            places: (m,) ascending, or a slice without steps.
            out: (m, d), written over.

        Raises:
            BadData: the file was cut off meanwhile.
        """
        width = self.strides[0]
        edge = len(self) if self._file is None else _MOST_MAPPED // width
        if isinstance(places, slice):
            near = min(max(edge - places.start, 0), len(out))
            out[:near] = self[places.start : places.start + near]
            if near < len(out):
                self._read((places.start + near) * width, _bytes_of(out[near:]))
            return
        near = int(np.searchsorted(places, edge))
        _taken(self, places[:near], out[:near])
        if near < len(places):
            self._read_each((places[near:] * width).tolist(), out[near:])

    def _read_each(self, offsets: Sequence[int], out: NDArray[Any]) -> None:
        """Read a row of (m, d) at each offset: thousands for a search, so that each step counts."""
        assert self._file is not None
        file, read, width = self._file, os.preadv, out.strides[0]
        room = _bytes_of(out)
        for start, offset in zip(range(0, len(room), width), offsets, strict=True):
            row = room[start : start + width]
            if read(file, (row,), offset) != width:
                self._read(offset, row)

    def _read(self, offset: int, room: memoryview) -> None:
        """Fill room from an offset on; the system may give less at a time than it is asked for."""
        assert self._file is not None
        while len(room):
            got = os.preadv(self._file, (room,), offset)
            if not got:
                raise BadData(
                    f"{self.filename} was cut off while it was read; "
                    "open the collection again, and it is made anew"
                )
            room, offset = room[got:], offset + got

    def let_go(self) -> None:
        """Count what was looked at beyond the part that stays mapped no longer as memory of this process."""
        mapped = getattr(self, "_mmap", None)
        if mapped is not None and self.nbytes > _MOST_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED, _MOST_MAPPED)


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.view(np.uint8).reshape(-1).data


def taken(vectors: NDArray[Any], places: Rows | slice) -> NDArray[Any]:
    """(m, d) a copy of some of the vectors (n, d), however they are kept; `places` ascending."""
    found = np.empty((_count(vectors, places), *vectors.shape[1:]), vectors.dtype)
    _copied(vectors, _part(places, 0, len(found)), found)
    return found


def _count(vectors: NDArray[Any], places: Rows | slice | None) -> int:
    if places is None:
        return len(vectors)
    return len(range(*places.indices(len(vectors)))) if isinstance(places, slice) else len(places)


def _part(places: Rows | slice | None, start: int, stop: int) -> Rows | slice:
    """From the start-th to the stop-th of the places."""
    if places is None or isinstance(places, slice):
        first = (places.start or 0) if places is not None else 0
        return slice(first + start, first + stop)
    return places[start:stop]


def _copied(vectors: NDArray[Any], places: Rows | slice, out: NDArray[Any]) -> None:
    if isinstance(vectors, Stored):
        vectors.copied(places, out)
    elif isinstance(places, slice):
        out[:] = vectors[places]
    else:
        _taken(vectors, places, out)


def _taken(vectors: NDArray[Any], places: Rows, out: NDArray[Any]) -> None:
    # "clip" is the mode that copies without a buffer between; no place lies outside
    np.take(vectors, places, axis=0, out=out, mode="clip")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for what faiss does in the block: two on a busy machine turned 3 ms into 264 ms.

    OpenMP keeps the number for each thread of the system by itself, so nothing that others do meanwhile is
    changed (`tests/index/test_half.py` shows it); faiss takes none with a search. It is put back.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def search(queries: Floats, vectors: NDArray[Any], rows: Rows, k: int, places: Rows | None = None) -> Hits:
    """The k best of each query by inner product, ties by row.

    Args:
        queries: (q, d) float32.
        vectors: (n, d) half precision.
        rows: (n,) row numbers of the vectors, ascending.
        k: Hits.
        places: (m,) which of the n are searched, ascending; all, if None.
    """
    import faiss

    count = _count(vectors, places)
    index = faiss.IndexScalarQuantizer(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.is_trained = True  # half precision needs no training
    size = min(_CHUNK, max(count, 1)) * index.code_size
    index.codes.resize(size)
    room = faiss.rev_swig_ptr(index.codes.data(), size).view(np.float16).reshape(-1, vectors.shape[1])
    found: list[list[tuple[Floats, Rows]]] = [[] for _ in queries]
    with one_thread():
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            chosen = _part(places, start, stop)
            _copied(vectors, chosen, room[: stop - start])
            index.ntotal = stop - start
            kept = min(k + 1, stop - start)
            scores, at = index.search(queries, kept)
            if kept > k and (scores[:, k] == scores[:, k - 1]).any():  # ties go by row, not by chance
                scores, at = index.search(queries, stop - start)
            numbers = rows[chosen]
            for query, (line, near) in enumerate(zip(scores, at, strict=True)):
                found[query].append((line, numbers[near]))
    hits = [best(*_joined(parts), k) for parts in found]
    if not hits:
        return Hits(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
    return Hits(np.concatenate([hit.rows for hit in hits]), np.concatenate([hit.scores for hit in hits]))


def _joined(parts: list[tuple[Floats, Rows]]) -> tuple[Floats, Rows]:
    if not parts:
        return np.zeros((1, 0), np.float32), np.zeros(0, np.int64)
    return np.concatenate([scores for scores, _ in parts])[None], np.concatenate([rows for _, rows in parts])


def scores(queries: Floats, vectors: NDArray[Any], places: Rows | slice | None = None) -> Floats:
    """Inner products (q, m), for many queries: each vector is converted once for all of them.

    Args:
        queries: (q, d) float32.
        vectors: (n, d) half precision.
        places: (m,) which of the n, ascending, or a slice without steps; all, if None.
    """
    count = _count(vectors, places)
    found = np.empty((len(queries), count), np.float32)
    shape = _CONVERTED, vectors.shape[1]
    room, bits, single = np.empty(shape, np.float16), np.empty(shape, np.int32), np.empty(shape, np.float32)
    for start in range(0, count, _CONVERTED):
        stop = min(start + _CONVERTED, count)
        some = room[: stop - start]
        _copied(vectors, _part(places, start, stop), some)
        made = _in_single(some, bits[: len(some)], single[: len(some)])
        np.matmul(queries, made.T, out=found[:, start:stop])
    return found


def _in_single(vectors: NDArray[Any], bits: NDArray[np.int32], out: Floats) -> Floats:
    """Finite numbers of half precision in single, by moving their bits: 3.5 times as fast as NumPy's own way.

    Args:
        vectors: (n, d) half precision.
        bits, out: (n, d), both written over.
    """
    np.copyto(bits, vectors.view(np.int16))
    np.left_shift(bits, 13, out=bits)  # the fraction has 23 bits now, and the exponent stands after it
    np.bitwise_and(bits, -0x70000001, out=bits)  # of the copies of the sign, the first stays
    return np.multiply(
        bits.view(np.float32), np.float32(2.0**112), out=out
    )  # exponents count from -127, not -15
