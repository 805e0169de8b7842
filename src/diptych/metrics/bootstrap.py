"""How sure a mean over queries is, and a difference of two: the bootstrap, by resampling the queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.errors import UsageError
from diptych.metrics.precision import Doubles

__all__ = ["Difference", "bootstrap", "paired_differences"]


def bootstrap(
    values: NDArray[Any], *, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[Doubles, Doubles]:
    """Percentile bootstrap interval of the mean over queries (Efron, Annals of Statistics 7, 1979).

    Args:
        values: (q,) or (q, m), m measures of the same queries.
        samples: Resamples of the queries, drawn with replacement.
        confidence: Share of resampled means inside the interval.
        seed: Of the draws.

    Returns:
        Low and high end, each of the shape of a mean.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return np.zeros(values.shape[1:]), np.zeros(values.shape[1:])
    rng = np.random.default_rng(seed)
    means = np.stack([counts @ values / len(values) for counts in _resampled(len(values), samples, rng)])
    return _ends(means, confidence)


@dataclass(frozen=True)
class Difference:
    """By how much the first of two systems is ahead of the second.

    Args:
        value: Difference of the means.
        low, high: Ends of its bootstrap interval.
        p: Two-sided: 1 minus the confidence at which the interval just reaches 0; at least 2 / (samples + 1).
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies above or below 0, else 0: the two cannot be told apart."""
        return int(self.low > 0) - int(self.high < 0)


def paired_differences(
    first: NDArray[Any],
    second: NDArray[Any],
    *,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Difference]:
    """Paired bootstrap of differences of means over the same queries: intervals by percentiles (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3), p values by turning them round.

    Where a system was trained with several seeds, each resample draws seeds of each system, too, and takes
    the mean of those drawn: the interval then says what another training and other queries would give.

    Args:
        first, second: (q, m) values of the same q queries by m measures, or (s, q, m) of s seeds; the two may
            have different numbers of seeds.
        samples: Resamples, drawn with replacement.
        confidence: Share of resampled differences inside the interval.
        seed: Of the draws.

    Returns:
        One difference for each measure.

    Raises:
        UsageError: the two have other queries or measures, or none.
    """
    sides = [np.asarray(side, np.float64) for side in (first, second)]
    sides = [side[None] if side.ndim == 2 else side for side in sides]
    if any(side.ndim != 3 or not side.shape[0] * side.shape[1] for side in sides) or (
        sides[0].shape[1:] != sides[1].shape[1:]
    ):
        raise UsageError(
            "a paired difference needs values (q, m), or (s, q, m), of the same queries and measures, not "
            f"{np.shape(first)} and {np.shape(second)}"
        )
    rng = np.random.default_rng(seed)
    queries = sides[0].shape[1]
    drawn = np.empty((samples, sides[0].shape[2]))
    for row, counts in enumerate(_resampled(queries, samples, rng)):
        means = [np.einsum("q,sqm->sm", counts, side) / queries for side in sides]
        # With one seed nothing is drawn, so that the draws of queries are those of `bootstrap`.
        means = [part[rng.integers(len(part), size=len(part))] if len(part) > 1 else part for part in means]
        drawn[row] = means[0].mean(axis=0) - means[1].mean(axis=0)
    value = sides[0].mean(axis=(0, 1)) - sides[1].mean(axis=(0, 1))
    low, high = _ends(drawn, confidence)
    beyond = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p = np.minimum(2 * (beyond + 1) / (samples + 1), 1)
    return [Difference(*map(float, one)) for one in zip(value, low, high, p, strict=True)]


def _resampled(queries: int, samples: int, rng: np.random.Generator) -> Iterator[Rows]:
    """How often each query is drawn, (q,), in each resample."""
    for _ in range(samples):
        yield np.bincount(rng.integers(queries, size=queries), minlength=queries)


def _ends(means: Doubles, confidence: float) -> tuple[Doubles, Doubles]:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return np.asarray(low), np.asarray(high)
