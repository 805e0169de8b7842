"""How relevant a hit is that a scorer of pairs has looked at, too: its percentile, calibrated anew.

A search's own calibration (`diptych.towers.calibration`) gives a hit a percentile p among the best hits of
queries for what nothing shows, so that z = probit(p) is close to normal for these. What the scorer says of
the hit adds to it: f = a z + b pair, with the slopes of a logistic regression which tells best hits of
queries for what is there from those for what is not. Among the latter f is close to normal again, and the
share of them with a lower f is the new percentile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from diptych.core import Floats
from diptych.towers.calibrating import logistic

__all__ = ["LEAST", "SecondLine"]

LEAST = 50
"""Queries of either kind that a calibration needs."""

_normal = NormalDist()
_erf = np.vectorize(math.erf, otypes=[np.float64])
_probit = np.vectorize(lambda p: _normal.inv_cdf(min(max(p, 1e-6), 1 - 1e-6)), otypes=[np.float64])
_HIGH = 0.9  # quantile beyond which there may be things that are there unnamed


@dataclass(frozen=True)
class SecondLine:
    """What f is for queries for which nothing is there.

    Args:
        of_search, of_pair: The slopes a and b.
        mean, deviation: Of f.
    """

    of_search: float
    of_pair: float
    mean: float
    deviation: float

    def percentiles(self, search: Floats, pairs: Floats) -> Floats:
        """Share (m,) of queries for what is not there, whose best hit is less relevant.

        Args:
            search: (m,) percentiles in [0, 1] by the search's calibration.
            pairs: (m,) the scorer's scores.
        """
        f = self.of_search * _probit(search) + self.of_pair * pairs
        z = (f - self.mean) / self.deviation
        return np.asarray((1 + _erf(z / math.sqrt(2))) / 2, np.float32)

    @classmethod
    def of(cls, right: tuple[Floats, Floats], wrong: tuple[Floats, Floats]) -> Self | None:
        """The line that best hits give; None where they are too few, or nothing tells them apart.

        Args:
            right: Percentiles (q,) and pairs' scores (q,) of queries for what is there.
            wrong: The same of queries for what is not.
        """
        if min(len(right[0]), len(wrong[0])) < LEAST:
            return None
        true, false = (np.stack([_probit(search), pairs], axis=1) for search, pairs in (right, wrong))
        of_search, of_pair = (max(slope, 0.0) for slope in logistic(true, false))
        if of_search == of_pair == 0:
            return None
        f = of_search * false[:, 0] + of_pair * false[:, 1]
        middle, high = np.quantile(f, [0.5, _HIGH])
        deviation = (high - middle) / _normal.inv_cdf(_HIGH)
        return cls(of_search, of_pair, float(middle), max(float(deviation), 1e-6))

    def as_dict(self) -> dict[str, float]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of_dict(cls, kept: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        return cls(*(float(kept[name]) for name in ("of_search", "of_pair", "mean", "deviation")))
