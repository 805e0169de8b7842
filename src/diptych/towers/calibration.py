"""From scores to the chance of a match.

A score counts by how many standard deviations it lies above what the query scores with unrelated entries,
z = (s - q.mu) / sqrt(q' Sigma q). A logistic function of z is fitted on pairs that were not learned from,
true matches against wrong ones a hundred times as frequent; among more entries a match is rarer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats

__all__ = ["FITTED_AMONG", "Background", "chances", "fitted"]

FITTED_AMONG = 100  # entries to one match, in the fit
_FACTORS = 64  # directions kept of the covariance
_ROUNDS = 50  # of Newton's method


@dataclass(frozen=True)
class Background:
    """Where unrelated vectors lie.

    Args:
        mean: (d,).
        factor: (d, k), the leading directions, scaled by their deviations.
        rest: Mean variance of the other directions.
    """

    mean: NDArray[Any]
    factor: NDArray[Any]
    rest: float

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        """That of vectors (n, d)."""
        values, directions = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
        kept = slice(-_FACTORS, None)
        factor = directions[:, kept] * np.sqrt(np.maximum(values[kept], 0))
        rest = max(float(values[:-_FACTORS].mean()), 1e-8)
        return cls(vectors.mean(axis=0), factor.astype(np.float32), rest)

    def deviations(self, queries: Floats, scores: Floats) -> Floats:
        """By how many standard deviations (q, k) the scores of queries (q, d) lie above the expected."""
        expected = np.asarray(queries @ self.mean)[:, None]
        spread = np.square(queries @ self.factor).sum(axis=1)
        rest = self.rest * np.square(queries).sum(axis=1)
        deviation = np.asarray(np.sqrt(spread + rest), np.float32)[:, None]
        return np.asarray((scores - expected) / deviation)


def chances(z: Floats, line: NDArray[Any], entries: int) -> Floats:
    """How likely each is a match, (q, k) in [0, 1].

    Args:
        z: From `Background.deviations`.
        line: Slope and offset, from `fitted`.
        entries: How many were searched, of which one is taken to match.
    """
    slope, offset = line
    offset = offset + np.log((FITTED_AMONG - 1) / (max(entries, 2) - 1))
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-(slope * z + offset))))


def fitted(z: Floats, matches: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Slope and offset (2,) of the chance of a match, where one entry in a hundred is one; Newton's method.

    Args:
        z: (q, n) of queries and entries.
        matches: (q, n), which of them belong together.
    """
    right, wrong = z[matches], z[~matches]
    x = np.concatenate([right, wrong]).astype(np.float64)
    y = np.concatenate([np.ones(len(right)), np.zeros(len(wrong))])
    prior = 1 / FITTED_AMONG
    weight = np.where(y > 0, prior / len(right), (1 - prior) / len(wrong))
    design, beta = np.stack([x, np.ones_like(x)], axis=1), np.zeros(2)
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (y - chance)) - 1e-6 * beta
        curvature = (design * (weight * chance * (1 - chance))[:, None]).T @ design + 1e-6 * np.eye(2)
        beta += np.linalg.solve(curvature, gradient)
    return beta
