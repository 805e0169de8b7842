"""From scores to relevance: whether an entry shows what was asked, told by what nothing shows.

The score of one hit says little of this, and what the query scores elsewhere says less: it takes from
things that many pictures show. What tells is r = mean(s_i, ..., s_{i+2}) + w sigma: the scores of hit i and
of the two after it, and how far pictures in general differ for the query, sigma^2 = q' Sigma q, which is
little for things that pictures of the kind never show. Queries for what is not there have an r that is
close to normal, and its mean grows with the logarithm of the number of entries. So a hit is told by its
percentile: the share of such queries whose best hit has a lower r.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Side

__all__ = ["AVERAGED", "Background", "Kind", "Line", "Relevance", "averaged", "averages"]

Kind = Literal["text", "image", "composed"]
"""What asks: words, one picture, or anything with a picture beside something else."""

AVERAGED = 3  # hits, where words ask for pictures or a picture for words
_FACTORS = 64  # directions kept of the covariance
_PREFIX = "relevance"
_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class Background:
    """How entries in general differ.

    Args:
        factor: (d, k), the leading directions of their covariance, scaled by their deviations.
        rest: Mean variance of the other directions.
    """

    factor: NDArray[Any]
    rest: float

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        """That of vectors (n, d)."""
        values, directions = np.linalg.eigh(
            np.cov(vectors.T.astype(np.float64)).reshape([vectors.shape[1]] * 2)
        )
        kept = slice(-_FACTORS, None)
        factor = directions[:, kept] * np.sqrt(np.maximum(values[kept], 0))
        others = np.maximum(values[:-_FACTORS], 0)
        return cls(factor.astype(np.float32), float(others.mean()) if len(others) else 0.0)

    def spread(self, queries: Floats) -> Floats:
        """Standard deviation (q,) of the scores of queries (q, d) with such entries."""
        along = np.square(queries @ self.factor).sum(axis=1)
        across = self.rest * np.maximum(np.square(queries).sum(axis=1), 0)
        return np.asarray(np.sqrt(along + across), np.float32)


@dataclass(frozen=True)
class Line:
    """What relevance queries have for which nothing is there, among n entries: mean + growth log(n).

    Args:
        averaged: Hits whose scores are averaged.
        weight: Of the spread, in r.
        mean, growth: Expected r.
        deviation: Of r around it.
    """

    averaged: int
    weight: float
    mean: float
    growth: float
    deviation: float

    def percentiles(self, spread: Floats, scores: Floats, entries: int) -> Floats:
        """Share (q, k) of queries for what is not there, whose best hit is less relevant.

        Args:
            spread: (q,), of `Background.spread`.
            scores: (q, k), descending, of hits 1 to k; -inf for none.
            entries: How many were searched.
        """
        relevance = averages(scores, self.averaged) + self.weight * spread[:, None]
        z = (relevance - self.mean - self.growth * math.log(max(entries, 1))) / self.deviation
        return np.asarray((1 + _erf(np.nan_to_num(z, neginf=-9) / math.sqrt(2))) / 2, np.float32)


@dataclass(frozen=True)
class Relevance:
    """A calibration: how relevant hits are, as `diptych.core.Capabilities.calibrate` tells it.

    Args:
        backgrounds: Of the entries of each side.
        lines: By kind of query and side searched, those that are calibrated.
    """

    backgrounds: Mapping[Side, Background]
    lines: Mapping[tuple[Kind, Side], Line]

    def __call__(
        self, queries: Floats, scores: Floats, *, to: Side, entries: int, of: Kind | None = None
    ) -> Floats:
        """Percentiles (q, k) in [0, 1], NaN where queries of that kind are not calibrated.

        Args:
            queries: (q, d).
            scores: (q, k), descending, from the first hit on; a hit counts together with the two after it.
            to: Side that was searched.
            entries: How many were searched.
            of: What asks; words for pictures and a picture for words, if None.
        """
        line = self.lines.get((of or ("text" if to == "image" else "image"), to))
        if line is None:
            return np.full(np.shape(scores), np.nan, np.float32)
        return line.percentiles(self.backgrounds[to].spread(queries), scores, entries)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays that `of_arrays` takes."""
        found: dict[str, NDArray[Any]] = {}
        for side, background in self.backgrounds.items():
            found[f"{_PREFIX}_{side}_factor"] = background.factor
            found[f"{_PREFIX}_{side}_rest"] = np.array(background.rest)
        for (kind, side), line in self.lines.items():
            found[f"{_PREFIX}_{kind}_{side}_line"] = np.array(astuple(line)[1:], np.float64)
        return found

    @staticmethod
    def names(arrays: Iterable[str]) -> set[str]:
        """Those names among the names of arrays that `arrays` may give."""
        return {name for name in arrays if name.startswith(f"{_PREFIX}_")}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self | None:
        """What was saved; None if the arrays hold none."""
        backgrounds: dict[Side, Background] = {}
        lines: dict[tuple[Kind, Side], Line] = {}
        for side in _SIDES:
            if f"{_PREFIX}_{side}_factor" in arrays:
                rest = float(arrays[f"{_PREFIX}_{side}_rest"])
                backgrounds[side] = Background(arrays[f"{_PREFIX}_{side}_factor"], rest)
            for kind in _KINDS:
                numbers = arrays.get(f"{_PREFIX}_{kind}_{side}_line")
                if numbers is not None:
                    lines[kind, side] = Line(averaged(kind, side), *numbers.tolist())
        return cls(backgrounds, lines) if lines else None


_SIDES: tuple[Side, ...] = ("image", "text")
_KINDS: tuple[Kind, ...] = ("text", "image", "composed")


def averaged(kind: Kind, side: Side) -> int:
    """How many hits count together where a kind of query searches a side."""
    return AVERAGED if {kind, side} == {"text", "image"} else 1


def averages(scores: Floats, count: int) -> Floats:
    """The mean (q, k) of each score and of the `count - 1` after it, or of those of them that there are.

    Args:
        scores: (q, k), descending; -inf for none.
        count: How many.
    """
    there = np.isfinite(scores)
    sums, counts = np.zeros(scores.shape), np.zeros(scores.shape)
    for shift in range(min(count, scores.shape[1])):
        width = scores.shape[1] - shift
        sums[:, :width] += np.where(there, scores, 0)[:, shift:]
        counts[:, :width] += there[:, shift:]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, sums / counts, -np.inf)
