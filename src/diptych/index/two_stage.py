"""Two stages: Hamming distance over codes chooses candidates, exact scores rank them.

The first stage reads a thirty-second of the bytes of single-precision vectors of as many dimensions as bits.
How many candidates it must pass on so that enough true neighbours are among them depends on the data, so it
is calibrated on held-out queries against exact search, not set by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Hits, Rows, checked_k
from diptych.errors import UsageError
from diptych.index import half
from diptych.index.codes import Packed
from diptych.index.flat import best, places_of

__all__ = ["Calibration", "TwoStage", "calibrate", "calibrations", "exact_rows", "lower_end", "without"]

_BLOCK = 1 << 22  # scores that are in memory at once
_SAMPLE = 8192  # distances that the radius is estimated from
_COPIED = 12  # times fewer codes are copied, to be scanned by themselves: to copy one costs several scanned
_RECENT = 4  # arrays of rows that a search is limited to, which are often those of the one before
_STEPS = 1000  # counts of candidates that are tried; one per cent apart for a million vectors
_DEVIATIONS = 3.09  # of a normal variable, above which one in a thousand lies


@dataclass(frozen=True)
class Calibration:
    """How many candidates a recall needs.

    Args:
        recall: What was asked for.
        k: Of how many best hits.
        candidates: What reaches it; the whole gallery where nothing less does.
        measured: Recall of the held-out queries with so many candidates.
        low: Lower end of its one-sided 99.9 % interval, which is what reaches the target.
        queries: How many were held out.
        gallery: Vectors at the time.
        side: Of the queries, "text" or "image".
    """

    recall: float
    k: int
    candidates: int
    measured: float
    low: float
    queries: int
    gallery: int
    side: str = "text"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class TwoStage:
    """A `Searchable` over codes, then over vectors.

    Args:
        codes: Packed codes (n, bits / 8) of the vectors.
        vectors: (n, d) unit vectors, any float type; may be memory-mapped, as only candidates are read.
        rows: (n,) ascending row numbers; 0 .. n - 1, if None.
        encode: Packed codes (q, bits / 8) of the queries' vectors (q, d).
        candidates: How many the first stage passes on; no fewer than the hits that are asked for.
        alive: (n,) which of them can be found; all, if None.

    Raises:
        UsageError: codes and vectors of different numbers.
    """

    similarity = "cosine"

    def __init__(
        self,
        codes: Packed,
        vectors: NDArray[Any],
        rows: Rows | None = None,
        *,
        encode: Callable[[NDArray[Any]], Packed],
        candidates: int = 0,
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        if len(codes) != len(vectors):
            raise UsageError(f"{len(codes)} codes and {len(vectors)} vectors do not belong together")
        self.codes, self.vectors = np.ascontiguousarray(codes), vectors
        self.rows: Rows = (
            np.arange(len(codes), dtype=np.int64) if rows is None else np.asarray(rows, np.int64)
        )
        self.encode, self.candidates = encode, candidates
        self.alive = None if alive is None or alive.all() else alive
        places = None if self.alive is None else np.flatnonzero(self.alive)
        self._whole = _Nearest(self.codes, self.alive, places)
        self._recent: list[tuple[Rows, _Nearest]] = []  # of limited searches, shared with what `asked` gives

    def __len__(self) -> int:
        """Number of vectors that can be found."""
        return len(self.codes) if self.alive is None else int(np.count_nonzero(self.alive))

    def asked(self, *, candidates: int, encode: Callable[[NDArray[Any]], Packed] | None = None) -> TwoStage:
        """The same vectors and codes with other candidates, or for queries of another kind."""
        changed = copy.copy(self)
        changed.candidates, changed.encode = candidates, encode or self.encode
        return changed

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best of the candidates, ties by row.

        Args:
            vectors: (q, d) of the queries.
            k: Hits.
            within: Only these rows; where they are no more than the candidates, all are scored.

        Raises:
            UsageError: k is not positive.
        """
        k, queries = checked_k(k), similarity.unit(vectors)
        hits = Hits(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32))
        near = self._whole if within is None else self._limited(within)
        if not len(near):
            return hits
        for line, code in enumerate(self.encode(np.asarray(vectors))):
            candidates = near.find(code, max(self.candidates, k))
            found = self._scored(candidates, queries[line], min(k, len(candidates)))
            hits.rows[line, : found.rows.shape[1]] = found.rows[0]
            hits.scores[line, : found.rows.shape[1]] = found.scores[0]
        return hits

    def _limited(self, within: Rows) -> _Nearest:
        """What finds the nearest of some rows only: scanned by themselves where they are few."""
        known = next((near for rows, near in tuple(self._recent) if rows is within), None)
        if known is None:
            known = self._made(within)
        if isinstance(within, np.ndarray) and not within.flags.writeable:  # others may change meanwhile
            others = [one for one in self._recent if one[0] is not within]
            self._recent[:] = [(within, known), *others[: _RECENT - 1]]
        return known

    def _made(self, within: Rows) -> _Nearest:
        places = places_of(self.rows, within)
        if self.alive is not None:
            places = places[self.alive[places]]
        if _COPIED * len(places) < len(self.codes):
            return _Nearest(self.codes[places], None, places)
        among = np.zeros(len(self.codes), np.bool_)
        among[places] = True
        return _Nearest(self.codes, among, places)

    def nearest(self, code: Packed, count: int) -> Rows:
        """Places (count,) of the codes nearest to one (bits / 8,), ascending; ties at the edge by place."""
        return self._whole.find(code, count)

    def _scored(self, places: Rows, query: NDArray[Any], k: int) -> Hits:
        """The k best of some places by exact scores, ties by row. Half precision stays what it is."""
        if self.vectors.dtype != np.float16:
            found = np.take(self.vectors, places, axis=0).astype(np.float32)
            return best((found @ query)[None], self.rows[places], k)
        return half.search(query[None], self.vectors, self.rows, k, places)


class _Nearest:
    """Finds the codes nearest to others. A sample of the distances says how far to look, so that the scan
    itself keeps no order.

    Args:
        codes: (n, bits / 8).
        among: (n,) which of them may be found; all, if None.
        places: What is told of those that may be found, ascending; their own numbers, if None.
    """

    def __init__(self, codes: Packed, among: NDArray[np.bool_] | None, places: Rows | None) -> None:
        self._codes, self._among = np.ascontiguousarray(codes), among
        self._told = places if among is None else None
        self._places, self._count = places, len(codes) if places is None else len(places)
        step = max(1, len(codes) // _SAMPLE)
        sample = self._codes[::step]
        self._sample = np.ascontiguousarray(sample if among is None else sample[among[::step]])

    def __len__(self) -> int:
        return self._count

    def find(self, code: Packed, count: int) -> Rows:
        """As many of them, ascending; ties at the edge by place."""
        if count >= self._count:
            return np.arange(self._count, dtype=np.int64) if self._places is None else self._places
        histogram = np.bincount(_distances(self._sample, code), minlength=8 * len(code) + 1)
        share = 1.1 * count / self._count * histogram.sum() + 1  # a little more, as it is a sample
        radius = int(np.searchsorted(np.cumsum(histogram), share))
        while True:
            found, distances = _within(self._codes, code, radius)
            if self._among is not None:
                there = self._among[found]
                found, distances = found[there], distances[there]
            if len(found) >= count:
                break
            radius += max(1, len(code) // 16)
        edge = int(np.searchsorted(np.cumsum(np.bincount(distances)), count))
        keep = distances < edge
        level = np.flatnonzero(distances == edge)
        keep[level[: count - np.count_nonzero(keep)]] = True
        return found[keep] if self._told is None else self._told[found[keep]]


def _within(codes: Packed, code: Packed, radius: int) -> tuple[Rows, NDArray[np.int64]]:
    """Places, ascending, and distances of the codes that differ in at most `radius` bits."""
    import faiss

    result = faiss.RangeSearchResult(1)
    asked = np.ascontiguousarray(code)
    search = faiss.hamming_range_search  # type: ignore[attr-defined]  # the stubs lack it
    search(  # it takes what is nearer than the radius
        faiss.swig_ptr(asked), faiss.swig_ptr(codes), 1, len(codes), radius + 1, codes.shape[1], result
    )
    count = int(faiss.rev_swig_ptr(result.lims, 2)[1])
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    places = faiss.rev_swig_ptr(result.labels, count).copy()
    return places, faiss.rev_swig_ptr(result.distances, count).astype(np.int64)


def calibrate(
    index: TwoStage,
    vectors: NDArray[Any],
    *,
    recall: float = 0.98,
    k: int = 10,
    side: str = "text",
    own: Rows | None = None,
) -> Calibration:
    """The fewest candidates with which held-out queries reach one recall; see `calibrations`."""
    return calibrations(index, vectors, [recall], k=k, side=side, own=own)[0]


def calibrations(
    index: TwoStage,
    vectors: NDArray[Any],
    recalls: Sequence[float],
    *,
    k: int = 10,
    side: str = "text",
    own: Rows | None = None,
) -> list[Calibration]:
    """The fewest candidates with which held-out queries reach each recall, with a margin.

    The lower end of the one-sided 99.9 % interval of the mean recall over queries must reach the target, so
    that other queries of the same kind, of which there may be no more than of these, reach it, too.

    Args:
        index: What is searched, all of it alive; its `encode` makes the queries' codes.
        vectors: (q, d) of the held-out queries.
        recalls: Shares of the k true best that must be found.
        k: Of how many hits.
        side: What the queries are, for the record.
        own: (q,) places of the queries, where they are vectors of the index: what is its own nearest
            neighbour finds that for nothing, so each is left out of its own true hits.

    Raises:
        UsageError: no queries, or a recall that is not between 0 and 1.
    """
    for recall in recalls:
        if not 0 < recall <= 1:
            raise UsageError(f"a recall lies above 0 and at most at 1, not {recall}")
    if not len(vectors):
        raise UsageError("recall is calibrated on queries, and there are none")
    size = len(index)
    k = min(k, size - (own is not None))
    if k < 1:
        return [Calibration(one, k, size, 1.0, 1.0, len(vectors), size, side) for one in recalls]
    truth = exact_rows(index.vectors, vectors, k + (own is not None))
    if own is not None:
        truth = without(truth, own)
    ranks = _ranks(index.codes, index.encode(np.asarray(vectors)), truth)
    grid = np.unique(np.round(np.geomspace(max(k, 1), size, _STEPS)).astype(int))
    made = []
    for recall in recalls:
        needed, found, low = size, 1.0, 1.0
        for count in grid:
            shares = (ranks <= count).mean(axis=1)
            lower = lower_end(shares, k)
            if lower >= recall:
                needed, found, low = int(count), float(shares.mean()), lower
                break
        made.append(Calibration(recall, k, needed, found, low, len(vectors), size, side))
    return made


def lower_end(shares: NDArray[Any], k: int) -> float:
    """Lower end of the one-sided 99.9 % score interval of the mean of shares (q,) of k hits.

    As Wilson's (JASA 1927, for k = 1), with a variance in proportion to what is missed. What a sample says of
    its own deviation is too little here: most queries find everything, and where the few that do not are
    rare in the sample, mean and deviation err together.
    """
    missed = 1 - float(shares.mean())
    spread = float(shares.var()) / missed if missed else 0.0
    half = _DEVIATIONS * np.sqrt(max(spread, 1 / k) / len(shares)) / 2
    return 1 - float(half + np.sqrt(half**2 + missed)) ** 2


def without(truth: Rows, own: Rows) -> Rows:
    """(q, k) of truth (q, k + 1) without each line's own place; without its last where that is not in it."""
    keep = truth != own[:, None]
    keep[keep.all(axis=1), -1] = False
    left: Rows = truth[keep].reshape(len(truth), -1)
    return left


def exact_rows(vectors: NDArray[Any], queries: NDArray[Any], k: int) -> Rows:
    """Places (q, k) of the best vectors by exact scores, ties by place.

    Reads the vectors once, block by block, so that they may be larger than memory.
    """
    asked = similarity.unit(queries)
    size = max(1, _BLOCK // max(len(asked), 1))
    kept: Hits | None = None
    for start in range(0, len(vectors), size):
        part = half.taken(vectors, slice(start, start + size)).astype(np.float32)
        found = best(asked @ part.T, np.arange(start, start + len(part)), k)
        kept = found if kept is None else _merged(kept, found, k)
    if kept is None:
        return np.full((len(asked), k), -1, np.int64)
    return kept.rows


def _merged(first: Hits, second: Hits, k: int) -> Hits:
    rows = np.concatenate([first.rows, second.rows], axis=1)
    scores = np.concatenate([first.scores, second.scores], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def _ranks(codes: Packed, queries: Packed, truth: Rows) -> NDArray[np.int64]:
    """(q, k) place of each true neighbour among all codes by distance, from 1, ties by place."""
    ranks = np.zeros(truth.shape, np.int64)
    for line in range(len(truth)):
        distance = _distances(codes, queries[line])
        histogram = np.cumsum(np.bincount(distance))
        for at, place in enumerate(truth[line]):
            own = int(distance[place])
            nearer = int(histogram[own - 1]) if own else 0
            level = int(np.count_nonzero(distance[:place] == own))
            ranks[line, at] = nearer + level + 1
    return ranks


def _distances(codes: Packed, query: Packed) -> NDArray[np.int64]:
    """(n,) Hamming distances."""
    if codes.shape[1] % 8:
        return np.asarray(np.bitwise_count(codes ^ query).sum(axis=1), np.int64)
    wide, asked = codes.view(np.uint64), np.ascontiguousarray(query).view(np.uint64)
    return np.asarray(np.bitwise_count(wide ^ asked).sum(axis=1), np.int64)
