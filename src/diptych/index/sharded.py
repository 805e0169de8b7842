"""Search over parts of the vectors, each an index of its own, here or on other machines.

Every part gives its k best, and the k best of those are the k best of all. So parts that are exact answer as
one exact index does: of codes in every number, of real vectors up to the rounding of a product, which depends
on how many vectors are multiplied at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Hits, Index, Rows, Searchable, checked_k
from diptych.errors import BadData, Unreachable, UsageError
from diptych.index.flat import Flat

__all__ = ["Sharded", "merged", "shard_files"]

_ENDING = ".shard"


def merged(parts: Sequence[Hits], k: int) -> Hits:
    """The k best of hits (q, any) that name different rows, ties by row.

    Args:
        parts: At least one, of the same queries.
        k: Hits to keep; lines with fewer are filled with row -1 and score -inf.
    """
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    if rows.shape[1] < k:
        fill = (len(rows), k - rows.shape[1])
        rows = np.concatenate([rows, np.full(fill, -1, np.int64)], axis=1)
        scores = np.concatenate([scores, np.full(fill, -np.inf, scores.dtype)], axis=1)
    order = np.lexsort((rows, -scores, rows < 0), axis=1)[:, :k]
    return Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


class Sharded:
    """An `Index` over indexes, of which each has some of the rows; all are searched at a time.

    A part that raises `Unreachable` is left out of the answer of `answered`, which says so; `search`, which
    cannot say so, raises it. The stage `diptych.pipeline.Search` notes it with the queries.

    Args:
        shards: The parts, no two with the same row. To be changed and saved, each must be an `Index`.

    Raises:
        UsageError: there is no part.

    Example:
        >>> index = Sharded([Flat(2), Flat(2)])
        >>> index.add(np.array([7, 8, 9]), np.array([[1, 0], [0, 1], [1, 1]]))
        >>> index.search(np.array([[1, 0.1]]), 2).rows
        array([[7, 9]])
    """

    def __init__(self, shards: Sequence[Searchable]) -> None:
        if not shards:
            raise UsageError("an index in parts needs at least one part")
        self.shards = list(shards)

    @classmethod
    def of(cls, vectors: NDArray[Any], similarity: str = "cosine", *, shards: int) -> Self:
        """The index of vectors (n, d) under the rows 0 .. n - 1, in so many exact parts.

        Raises:
            UsageError: fewer than one part.
        """
        vectors = np.asarray(vectors)
        index = cls([Flat(vectors.shape[-1] if vectors.size else 1, similarity) for _ in range(shards)])
        if len(vectors):
            index.add(np.arange(len(vectors), dtype=np.int64), vectors)
        return index

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Store vectors (n, d) under rows (n,); a row already there is replaced.

        A row's number decides its part, so that it is always the same and the parts are of a size.
        """
        rows, vectors = np.asarray(rows, np.int64), np.asarray(vectors)
        if len(rows) != len(vectors):
            raise UsageError(f"{len(rows)} rows and {len(vectors)} vectors do not belong together")
        for at, shard in enumerate(self._changeable()):
            ours = rows % len(self.shards) == at
            if ours.any():
                shard.add(rows[ours], vectors[ours])

    def remove(self, rows: Rows) -> None:
        """Forget rows (n,); rows that are not there are ignored."""
        for shard in self._changeable():
            shard.remove(rows)

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given.

        Raises:
            UsageError: `k` is not positive.
            Unreachable: a part does not answer.
        """
        hits, lost = self.answered(vectors, k, within)
        if lost:
            raise Unreachable(f"{lost}; search again, or take what the others found by `answered`")
        return hits

    def answered(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> tuple[Hits, str]:
        """The same of those parts that answer, and what is missing, in a sentence; empty if nothing is.

        Raises:
            UsageError: `k` is not positive.
            Unreachable: no part answers.
        """
        k = checked_k(k)

        def one(shard: Searchable) -> Hits | Unreachable:
            try:
                return shard.search(vectors, k, within)
            except Unreachable as error:
                return error

        with ThreadPoolExecutor(len(self.shards), thread_name_prefix="shard") as pool:
            found = list(pool.map(one, self.shards))
        hits = [part for part in found if isinstance(part, Hits)]
        lost = [part for part in found if isinstance(part, Unreachable)]
        if not hits:
            raise Unreachable(f"none of {len(found)} parts of the index answers ({lost[0]})")
        missing = f"{len(lost)} of {len(found)} parts of the index did not answer ({lost[0]})" if lost else ""
        return merged(hits, k), missing

    def save(self, path: Path) -> None:
        """Write every part to a file of its own in the folder `path`, for `open` or for other machines.

        Raises:
            UsageError: the folder holds parts of another number.
        """
        path.mkdir(parents=True, exist_ok=True)
        wanted = [path / f"{at:05}-of-{len(self.shards):05}{_ENDING}" for at in range(len(self.shards))]
        if set(path.glob(f"*{_ENDING}")) - set(wanted):
            raise UsageError(f"{path} holds an index in another number of parts; give an empty folder")
        for file, shard in zip(wanted, self._changeable(), strict=True):
            shard.save(file)

    @classmethod
    def open(cls, path: Path, opens: Callable[[Path], Searchable] = Flat.open) -> Self:
        """The index that was saved.

        Args:
            path: The folder.
            opens: Opens a part.

        Raises:
            BadData: a part is missing or damaged.
        """
        return cls([opens(file) for file in shard_files(path)])

    def _changeable(self) -> list[Index]:
        fixed = next((shard for shard in self.shards if not isinstance(shard, Index)), None)
        if fixed is not None:
            raise UsageError(
                f"a part of this index ({type(fixed).__name__}) can only be searched; change the saved parts "
                "and open them again"
            )
        return [shard for shard in self.shards if isinstance(shard, Index)]


def shard_files(folder: Path) -> list[Path]:
    """The files of all parts of a saved index, in order.

    Raises:
        BadData: there is none, or one of them is missing.
    """
    found = sorted(folder.glob(f"*{_ENDING}"))
    if not found:
        raise BadData(f"{folder} holds no index in parts; save one there first")
    count = found[0].name.removesuffix(_ENDING).rpartition("-")[2]
    if not count.isdecimal() or len(found) != int(count):
        raise BadData(f"{folder} holds {len(found)} parts of an index of {count.lstrip('0')}; save it again")
    return found
