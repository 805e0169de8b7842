"""Finds copies in a collection: files of the same content, and nearly the same pictures, kept apart.

Nearly the same are, among pictures whose vectors are neighbours, those that look the same (see
`diptych.engine.looks`). Vectors alone say too little: those of a picture made smaller and of its original
may be farther apart than those of two photographs of one dog.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Rows
from diptych.engine.gallery import Gallery, gallery_of
from diptych.engine.homes.entries import Stored
from diptych.engine.listing import Alike, Listed
from diptych.engine.looks import ALIKE, Looks
from diptych.engine.opening import Opened
from diptych.engine.presence import Presence
from diptych.engine.results import Progress
from diptych.errors import UsageError

__all__ = ["NEAR_AMONG", "NEIGHBOURS", "Copy", "Duplicates", "alike", "find", "neighbours"]

NEIGHBOURS = 5
"""Nearest pictures that each is compared with."""

NEAR_AMONG = 100
"""Hits, at least, of which nearly the same pictures are told under the best."""

_LEAST = 0.5  # cosine of vectors below which pictures are not looked at
_DIMENSIONS = 256  # of vectors that neighbours are sought with in large collections
_LARGE = 10_000  # pictures
_TEACH = 8192  # pictures whose main directions these are
_BLOCK = 1024  # vectors that are in memory at once, but for those that neighbours are sought with
_THREADS = 4  # that read pictures

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Copy:
    """A file among copies.

    Args:
        id: Its name in the collection.
        path: The file.
        bytes: Its size.
        likeness: How much it looks the same as the one of its group that it is most like, at most 1; 1 for
            the same content.
    """

    id: str
    path: Path
    bytes: int
    likeness: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; the likeness with four digits."""
        return {
            "id": self.id,
            "path": str(self.path),
            "bytes": self.bytes,
            "likeness": round(self.likeness, 4),
        }


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Copies among the pictures of a collection; the largest file of each group is first.

    Args:
        exact: Groups of files of the same content.
        near: Groups of nearly the same pictures of different content; of each content one file.
        threshold: Likeness from which pictures counted as nearly the same; None if only content counted.
        pictures: How many were compared.
        missing: Files that could not be compared, as they are not there now.
        seconds: Wall time.
    """

    exact: list[list[Copy]]
    near: list[list[Copy]]
    threshold: float | None
    pictures: int
    missing: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "threshold": self.threshold,
            "pictures": self.pictures,
            "missing": self.missing,
            "seconds": round(self.seconds, 3),
            "exact": [[one.as_dict() for one in group] for group in self.exact],
            "near": [[one.as_dict() for one in group] for group in self.near],
        }


def find(
    opened: Opened, *, threshold: float | None, on_progress: Callable[[Progress], None] | None
) -> Duplicates:
    """The copies among an opened collection's pictures; see `Collection.duplicates`."""
    if threshold is not None and not 0 < threshold <= 1:
        raise UsageError(
            "the threshold is the likeness from which pictures are nearly the same, above 0 and at most 1, "
            f"such as {ALIKE}, not {threshold}"
        )
    started, presence = time.perf_counter(), Presence()

    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(Progress(done, total, 0, None, time.perf_counter() - started))

    with opened.home.snapshot():
        gallery = gallery_of(opened, "image")
        files: dict[int, _File] = {}
        by_content: dict[bytes, list[int]] = defaultdict(list)
        missing = 0
        for start in range(0, len(gallery), _BLOCK):
            block = np.arange(start, min(start + _BLOCK, len(gallery)))
            for place, one in zip(block.tolist(), gallery.stored(block), strict=True):
                if one.path is not None and presence.of(one.path) == "here":
                    files[place] = _File(one.id, one.path)
                    by_content[one.hash].append(place)
                else:
                    missing += 1
        first = np.array([places[0] for places in by_content.values()], np.int64)
        pairs = (
            np.zeros((0, 2), np.int64)
            if threshold is None
            else first[neighbours(gallery, first, report=report)]
        )
    exact = [
        _copies([(files[one], 1.0) for one in places]) for places in by_content.values() if len(places) > 1
    ]
    near = [] if threshold is None else _near(files, pairs, threshold, report)
    seconds = time.perf_counter() - started
    return Duplicates(exact, near, threshold, len(files), missing, seconds)


def neighbours(
    gallery: Gallery, places: Rows, k: int = NEIGHBOURS, *, report: Report = lambda done, total: None
) -> NDArray[np.int64]:
    """Pairs (m, 2) of pictures, as positions in `places`, of which one is among the k nearest of the other.

    In large collections they are sought in the space of the main directions of the vectors; each pair's own
    vectors then say how near it is. Time grows with the square of their number, memory with a kilobyte each.

    Args:
        gallery: Holds the vectors.
        places: (n,) of the pictures in it.
        k: How many.
        report: Told how far it is.
    """
    import faiss

    count = len(places)
    if count < 2:
        return np.zeros((0, 2), np.int64)
    main = _main_directions(gallery, places)
    sought: Floats | None = None
    for start in range(0, count, _BLOCK):
        block = _vectors(gallery, places[start : start + _BLOCK])
        block = block if main is None else block @ main
        sought = np.empty((count, block.shape[1]), np.float32) if sought is None else sought
        sought[start : start + len(block)] = block
    assert sought is not None
    kept = min((2 * k if main is not None else k) + 1, count)  # itself is one of them
    found: list[NDArray[np.int64]] = []
    for start in range(0, count, _BLOCK):
        report(start, count)
        part = np.arange(start, min(start + _BLOCK, count))
        scores, near = faiss.knn(sought[part], sought, kept, faiss.METRIC_INNER_PRODUCT)
        if main is not None:
            own = _vectors(gallery, places[part])
            others, at = np.unique(near, return_inverse=True)
            at = at.reshape(near.shape)
            for column in range(kept):
                scores[:, column] = np.einsum(
                    "ij,ij->i", own, _vectors(gallery, places[others[at[:, column]]])
                )
        scores[near == part[:, None]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        lines, columns = np.nonzero(np.take_along_axis(scores, best, 1) >= _LEAST)
        found.append(np.stack([part[lines], near[lines, best[lines, columns]]], axis=1))
    report(count, count)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def alike(gallery: Gallery, places: Rows, looks: Looks) -> Alike:
    """What finds, for the hits of a search, which of the better ones is nearly the same picture.

    Args:
        gallery: Holds the vectors.
        places: (m,) of the hits in it.
        looks: Remembers how pictures look.
    """
    vectors = _vectors(gallery, places)

    def found(place: int, hit: Stored, listed: Sequence[Listed]) -> Listed | None:
        scores = vectors[[one.place for one in listed]] @ vectors[place]
        for at in np.argsort(-scores, kind="stable")[:NEIGHBOURS].tolist():
            better: Listed = listed[at]
            if scores[at] >= _LEAST and looks.likeness(hit.path, better.entry.path) >= ALIKE:
                return better
        return None

    return found


def _vectors(gallery: Gallery, places: Rows) -> Floats:
    return similarity.unit(gallery.vectors(places))


def _main_directions(gallery: Gallery, places: Rows) -> Floats | None:
    """Directions (d, 256) in which vectors differ most; None where there are few pictures or dimensions."""
    if len(places) < _LARGE:
        return None
    some = np.unique(np.linspace(0, len(places) - 1, _TEACH).astype(np.int64))
    sample = _vectors(gallery, places[some])
    if sample.shape[1] <= _DIMENSIONS:
        return None
    _, directions = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(directions[:, -_DIMENSIONS:])


def _near(
    files: Mapping[int, _File], pairs: NDArray[np.int64], threshold: float, report: Report
) -> list[list[Copy]]:
    """Groups of pictures, each joined by pairs that look the same."""
    looks, group = Looks(), _Groups()
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(pairs), _BLOCK):
            report(start, len(pairs))
            block = pairs[start : start + _BLOCK]
            list(threads.map(looks.read, [files[one].path for one in np.unique(block).tolist()]))
            for first, second in block.tolist():
                alike = looks.likeness(files[first].path, files[second].path)
                if alike >= threshold:
                    group.join(first, second, alike)
    report(len(pairs), len(pairs))
    return [_copies([(files[one], group.likeness[one]) for one in places]) for places in group.all()]


class _File(NamedTuple):
    id: str
    path: Path


class _Groups:
    """Numbers that are joined in pairs, and how alike each is to what it was joined with at best."""

    def __init__(self) -> None:
        self.likeness: dict[int, float] = {}
        self._of: dict[int, list[int]] = {}

    def join(self, first: int, second: int, likeness: float) -> None:
        for one in (first, second):
            self.likeness[one] = max(likeness, self.likeness.get(one, 0.0))
            self._of.setdefault(one, [one])
        kept, gone = self._of[first], self._of[second]
        if kept is not gone:
            kept.extend(gone)
            self._of.update(dict.fromkeys(gone, kept))

    def all(self) -> Iterable[list[int]]:
        """The groups, by their least number."""
        return sorted({id(one): sorted(one) for one in self._of.values()}.values())


def _copies(found: Sequence[tuple[_File, float]]) -> list[Copy]:
    """A group, the largest file first, then by name."""
    copies = [Copy(one.id, one.path, _size(one.path), likeness) for one, likeness in found]
    return sorted(copies, key=lambda one: (-one.bytes, one.id))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone by now
        return 0
