"""Hamming search over packed codes: exact, inverted or by graph. The kernels are faiss's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Hits, Rows, checked_k
from diptych.errors import BadData, UnknownName, UsageError
from diptych.index.codes import Packed

__all__ = ["Hamming", "Kind"]

Kind = Literal["exact", "inverted", "graph"]


class Hamming:
    """An `Index` of codes, eight bits to a byte in memory and on disk.

    Takes +1/-1 codes (n, bits), where > 0 is a set bit, or packed ones (n, bits / 8) uint8. Scores are minus
    the number of differing bits.

    Args:
        bits: Code length, a multiple of 8.
        kind: "exact" compares with every code, ties by row; "inverted" looks into the `probes` nearest of
            `lists` clusters; "graph" walks a navigable small world. The latter two miss some, are built when
            they are first searched, and pay off from about a million codes.
        lists: Clusters of "inverted"; the square root of the number of codes, if None.
        probes: Clusters that are looked into.
        width: Candidates that "graph" keeps while it walks.

    Raises:
        UsageError: bits that are no multiple of 8.
        UnknownName: another kind.
    """

    similarity = "hamming"

    def __init__(
        self, bits: int, *, kind: Kind = "exact", lists: int | None = None, probes: int = 16, width: int = 64
    ) -> None:
        if bits < 8 or bits % 8:
            raise UsageError(f"codes have a multiple of 8 bits, not {bits}; take 16, 32, 64 or 128")
        if kind not in get_args(Kind):
            raise UnknownName("kind of Hamming index", kind, get_args(Kind))
        self.bits, self.kind, self.lists, self.probes, self.width = bits, kind, lists, probes, width
        self._rows: Rows = np.zeros(0, np.int64)
        self._codes: Packed = np.zeros((0, bits // 8), np.uint8)
        self._built: Any = None

    def __len__(self) -> int:
        """Number of codes."""
        return len(self._rows)

    @property
    def codes(self) -> Packed:
        """(n, bits / 8), in the order of `rows`."""
        return self._codes

    @property
    def rows(self) -> Rows:
        """(n,) ascending."""
        return self._rows

    def packed(self, codes: NDArray[Any]) -> Packed:
        """Codes as packed bytes.

        Raises:
            UsageError: they have another length.
        """
        codes = np.asarray(codes)
        if codes.ndim == 2 and codes.dtype == np.uint8 and codes.shape[1] == self.bits // 8:
            return codes
        if codes.ndim != 2 or codes.shape[1] != self.bits:
            raise UsageError(f"codes {codes.shape} do not fit an index of {self.bits} bits")
        return similarity.pack(codes)

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Store codes under rows (n,); a row already there is replaced.

        Raises:
            UsageError: shapes that do not fit.
        """
        rows, codes = np.asarray(rows, np.int64), self.packed(vectors)
        if len(rows) != len(codes):
            raise UsageError(f"{len(rows)} rows and {len(codes)} codes do not belong together")
        _, last = np.unique(rows[::-1], return_index=True)  # of a row given twice the last counts
        keep = len(rows) - 1 - last
        self.remove(rows)
        joined = np.concatenate([self._rows, rows[keep]])
        # In the order of rows, so that ties by place are ties by row.
        order = np.argsort(joined, kind="stable")
        self._rows = joined[order]
        self._codes = np.concatenate([self._codes, codes[keep]])[order]
        self._built = None

    def remove(self, rows: Rows) -> None:
        """Forget rows (n,); rows that are not there are ignored."""
        stays = ~np.isin(self._rows, rows)
        if not stays.all():
            self._rows, self._codes = self._rows[stays], self._codes[stays]
            self._built = None

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k nearest rows of each query; only rows of `within`, if given (which is searched exactly).

        Raises:
            UsageError: `k` is not positive.
        """
        k = checked_k(k)
        queries = np.ascontiguousarray(self.packed(vectors))
        rows, codes = self._rows, self._codes
        if within is not None:
            chosen = np.isin(rows, within)
            rows, codes = rows[chosen], codes[chosen]
        hits = Hits(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32))
        if not len(queries) or not len(codes):
            return hits
        distance, places = self._nearest(queries, codes, min(k, len(codes)), exact=within is not None)
        found = places >= 0
        width = places.shape[1]
        hits.rows[:, :width] = np.where(found, rows[np.maximum(places, 0)], -1)
        hits.scores[:, :width] = np.where(found, -distance.astype(np.float32), -np.inf)
        return hits

    def _nearest(
        self, queries: Packed, codes: Packed, k: int, *, exact: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        import faiss

        if self.kind == "exact" or exact:
            # The counting variant keeps a list for each distance: many hits cost no more than few.
            distance, places = faiss.knn_hamming(queries, np.ascontiguousarray(codes), k, variant="mc")
            return distance, places
        if self._built is None:
            self._built = self._build(faiss)
        found: tuple[NDArray[Any], NDArray[Any]] = self._built.search(queries, k)
        return found

    def _build(self, faiss: Any) -> Any:
        codes = np.ascontiguousarray(self._codes)
        if self.kind == "graph":
            graph = faiss.IndexBinaryHNSW(self.bits, 32)
            graph.hnsw.efSearch = self.width
            graph.add(codes)
            return graph
        lists = min(self.lists or int(len(codes) ** 0.5) or 1, len(codes))
        quantizer = faiss.IndexBinaryFlat(self.bits)
        inverted = faiss.IndexBinaryIVF(quantizer, self.bits, lists)
        inverted.nprobe = self.probes
        inverted.cp.min_points_per_centroid = 1  # a small collection is searched, not warned about
        inverted.train(codes)
        inverted.add(codes)
        inverted.quantizer_of_this_index = quantizer  # faiss does not keep it alive
        return inverted

    def save(self, path: Path) -> None:
        """Write everything to the file `path` (NumPy's zip format)."""
        with path.open("wb") as file:
            np.savez(
                file,
                rows=self._rows,
                codes=self._codes,
                kind=np.array(self.kind),
                settings=np.array([self.lists or 0, self.probes, self.width]),
            )

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index that was saved.

        Raises:
            BadData: the file is not one that `save` wrote.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                lists, probes, width = map(int, saved["settings"])
                kind: Any = str(saved["kind"])
                index = cls(
                    saved["codes"].shape[1] * 8, kind=kind, lists=lists or None, probes=probes, width=width
                )
                index._rows, index._codes = saved["rows"], saved["codes"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadData(f"{path} is not a saved index ({error}); build it again") from error
        return index
