"""How much two pictures look the same, up to size, compression, brightness, contrast and a crop.

Each picture becomes a small grey look. One is laid over every part of the other, of three quarters of a
side and more, first coarsely; where they agree best, fine looks are laid over each other, and what counts
is how their edges correlate. Grey levels alone agree too easily: those of two pages of text do, their edges
do not.
"""

from __future__ import annotations

import functools
import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import ImageError

__all__ = ["ALIKE", "Looks", "likeness", "look_of"]

ALIKE = 0.8
"""Likeness from which pictures are nearly the same; `docs/collection.md` says what it was measured on."""

Look = NDArray[np.uint8]

_FINE = 64  # pixels of a look's sides
_STAGES = (
    (16, 0.9),
    (32, 0.9),
)  # sides of coarser looks, and correlations below which nothing finer is tried
_LEAST = 0.75  # of a side: the smallest part that a look is laid over
_KEPT = 2048  # fine looks that are remembered


class Looks:
    """Looks of picture files, read when they are asked for; coarse ones are kept, and some of the fine."""

    def __init__(self) -> None:
        self._coarse: dict[Path, Look | None] = {}
        self._fine: OrderedDict[Path, Look] = OrderedDict()

    def read(self, path: Path) -> None:
        """Read a picture ahead of its being asked for; several threads may."""
        if path not in self._coarse:
            self._of(path)

    def likeness(self, first: Path | None, second: Path | None) -> float:
        """How much two pictures look the same, at most 1; 0 if one cannot be read or has no file."""
        if first is None or second is None:
            return 0.0
        for path in (first, second):
            self.read(path)
        coarse = self._coarse[first], self._coarse[second]
        if coarse[0] is None or coarse[1] is None or not _promising(coarse[0], coarse[1]):
            return 0.0
        fine = self._of(first), self._of(second)
        return 0.0 if fine[0] is None or fine[1] is None else likeness(fine[0], fine[1])

    def _of(self, path: Path) -> Look | None:
        look = self._fine.get(path)
        if look is None:
            try:
                look = look_of(path)
            except ImageError:
                self._coarse[path] = None
                return None
            self._coarse[path] = np.rint(_shrunk(look, _STAGES[-1][0])).astype(np.uint8)
            self._fine[path] = look
            if len(self._fine) > _KEPT:
                self._fine.popitem(last=False)
        return look


def look_of(path: Path) -> Look:
    """The look (64, 64) of a picture.

    Raises:
        ImageError: it cannot be read.
    """
    from PIL import Image

    from diptych.media.raw import open_any

    grey = open_any(path, size=_FINE).convert("L")
    return np.asarray(grey.resize((_FINE, _FINE), Image.Resampling.BILINEAR, reducing_gap=2.0), np.uint8)


def likeness(first: Look, second: Look) -> float:
    """How much two looks (64, 64) are the same, at most 1; 0 where even their grey levels differ.

    Looks without any contrast, as of a wall, are like nothing: they do not say enough.
    """
    if not _promising(first, second):
        return 0.0
    side, least = _STAGES[-1]
    looks = first.astype(np.float32), second.astype(np.float32)
    found = []
    for whole, part in (looks, looks[::-1]):
        score, window = _best(_shrunk(whole, side), _shrunk(part, side))
        if score >= least:
            found.append(_edges(whole, part, [_FINE // side * edge for edge in window]))
    return max(found, default=0.0)


def _promising(first: Look, second: Look) -> bool:
    """Whether grey levels of coarse looks agree somewhere."""
    for side, least in _STAGES:
        a, b = _shrunk(first, side), _shrunk(second, side)
        if max(_best(a, b)[0], _best(b, a)[0]) < least:
            return False
    return True


def _shrunk(look: NDArray[np.generic], side: int) -> Floats:
    """A look in fewer pixels, each the mean of those that it stands for."""
    by = len(look) // side
    cells = np.asarray(look, np.float32).reshape(side, by, side, by)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)


def _best(whole: Floats, part: Floats) -> tuple[float, tuple[int, int, int, int]]:
    """Highest correlation of a look with a part of another, and that part: top, bottom, left, right."""
    edges, _ = _windows(len(whole))
    asked = _level(_shrunk(part, len(part) // 2).reshape(1, -1))[0]
    scores = _told(whole) @ asked
    down, right = divmod(int(scores.argmax()), len(edges))
    return float(scores.max()), (*edges[down], *edges[right])


def _told(look: Floats) -> Floats:
    """All windows (w * w, m * m) of a look in half as many pixels, each without its mean and of length 1."""
    edges, resample = _windows(len(look))
    count, cells = len(edges), len(look) // 2
    found = (resample @ look @ resample.T).reshape(count, cells, count, cells)
    return _level(found.transpose(0, 2, 1, 3).reshape(count * count, cells * cells))


def _level(flat: NDArray[Any]) -> Floats:
    """Lines without their means and of length 1; shorter where they differ by less than a grey level."""
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), flat.shape[1] ** 0.5)
    return np.asarray(flat / norm, np.float32)


@functools.cache
def _windows(side: int) -> tuple[list[tuple[int, int]], Floats]:
    """Windows of one axis, the whole first: where each begins and ends, and what resamples all (w * m, n)."""
    cells = side // 2
    edges = [
        (start, start + size)
        for size in range(side, int(_LEAST * side) - 1, -1)
        for start in range(side - size + 1)
    ]
    return edges, np.concatenate([_resample(side, start, stop, cells) for start, stop in edges])


def _resample(side: int, start: float, stop: float, cells: int) -> Floats:
    """What takes pixels (n,) to means (cells,) over equal parts of a window."""
    bounds = np.linspace(start, stop, cells + 1)
    pixels = np.arange(side)
    overlap = np.minimum(bounds[1:, None], pixels + 1) - np.maximum(bounds[:-1, None], pixels)
    return np.asarray(np.maximum(overlap, 0) * cells / (stop - start), np.float32)


def _edges(whole: Floats, part: Floats, window: list[int]) -> float:
    """Correlation of the edges of a look and of a part of another, near a window of that."""
    near = [sorted({min(max(edge + by, 0), _FINE) for by in (-1, 0, 1)}) for edge in window]
    cells = int(_LEAST * _FINE)
    down, right = (
        [_resample(_FINE, start, stop, cells) for start, stop in itertools.product(*one)]
        for one in (near[:2], near[2:])
    )
    small = _resample(_FINE, 0, _FINE, cells)
    told = _differences(small @ part @ small.T)
    return max(float(_differences(rows @ whole @ columns.T) @ told) for rows in down for columns in right)


def _differences(look: NDArray[Any]) -> Floats:
    """Differences of neighbouring grey levels, of length 1 together."""
    found = np.concatenate([np.diff(look, axis=axis).ravel() for axis in (0, 1)])
    return np.asarray(found / max(float(np.linalg.norm(found)), 1.0), np.float32)
