"""MAP over Hamming rankings from packed codes: by histogram of distances, without sorting and in little
memory.

With c bits there are only c + 1 distances, so how many entries and how many relevant ones lie at each of them
says everything about the best, the worst and the expected order of ties; and the order by row inside each is
a counting sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import UsageError
from diptych.metrics.precision import Doubles, TieGroups
from diptych.metrics.relevance import Bools, Relevance, blocks
from diptych.similarity import words

__all__ = ["hamming_average_precision", "hamming_groups"]


def hamming_groups(
    query: NDArray[Any], gallery: NDArray[Any], relevance: Relevance, *, bits: int | None = None
) -> TieGroups:
    """Entries and relevant entries at each Hamming distance from each query.

    Args:
        query: (q, bits) codes, or packed bytes (q, bits / 8) uint8.
        gallery: (n, bits), or packed likewise.
        relevance: (q, n).
        bits: Code length; taken from unpacked codes when not given.
    """
    bits = bits or _bits(query)
    sizes, hits = (np.zeros((len(query), bits + 1), np.int64) for _ in range(2))
    for row, distance, match in _distances(query, gallery, relevance):
        # One histogram for both: relevant entries are counted bits + 1 further up.
        both = np.bincount(distance + match * distance.dtype.type(bits + 1), minlength=2 * bits + 2)
        hits[row] = both[bits + 1 :]
        sizes[row] = both[: bits + 1] + hits[row]
    return TieGroups(sizes, hits)


def hamming_average_precision(query: NDArray[Any], gallery: NDArray[Any], relevance: Relevance) -> Doubles:
    """AP@ALL (q,) with ties in the order of the gallery's rows, from codes as for `hamming_groups`."""
    found = np.zeros(len(query))
    for row, distance, match in _distances(query, gallery, relevance):
        # A stable sort of small integers is a counting sort; only the relevant places are looked at further.
        places = np.flatnonzero(match[np.argsort(distance, kind="stable")])
        if len(places):
            found[row] = (np.arange(1, len(places) + 1) / (places + 1)).mean()
    return found


def _distances(
    query: NDArray[Any], gallery: NDArray[Any], relevance: Relevance
) -> Iterator[tuple[int, NDArray[np.uint16], Bools]]:
    """Query row, distances (n,) and relevance (n,), query by query."""
    asked, entries = words(query), np.ascontiguousarray(words(gallery).T)
    if asked.shape[1] != len(entries):
        raise UsageError(f"codes of {query.shape[1]} and {gallery.shape[1]} columns cannot be compared")
    if relevance.shape != (len(asked), entries.shape[1]):
        raise UsageError(
            f"{len(asked)} queries and {entries.shape[1]} entries do not fit relevance {relevance.shape}"
        )
    for start, stop, match in blocks(relevance, entries=1 << 17):
        for row in range(start, stop):
            distance: NDArray[Any] = np.bitwise_count(entries[0] ^ asked[row, 0])
            if len(entries) > 1:  # one word is at most 64, and twice that fits a byte
                distance = distance.astype(np.uint16)
            for word in range(1, len(entries)):
                distance += np.bitwise_count(entries[word] ^ asked[row, word])
            yield row, distance, match[row - start]


def _bits(codes: NDArray[Any]) -> int:
    return int(codes.shape[1]) * (8 if codes.dtype == np.uint8 else 1)
