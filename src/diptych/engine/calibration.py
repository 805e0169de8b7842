"""Plain words for scores: how far a hit stands out, and whether anything matches at all.

A cosine means nothing by itself: good matches of one query score lower than bad ones of another. So a score
is told as a probability, by the encoder's own calibration where it has one, else by how far it stands above
the scores of the same query with the rest of the collection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from diptych.core import Floats
from diptych.engine.results import Word

__all__ = ["WORDS", "nothing_matches", "probabilities", "word"]

WORDS: tuple[tuple[float, Word], ...] = ((0.7, "strong"), (0.4, "good"), (0.15, "fair"), (0.0, "weak"))
"""Lowest probability of each word."""


def probabilities(
    encoder: Any, queries: Floats, scores: Floats, sample: Callable[[], Floats], *, to: str, entries: int
) -> Floats:
    """How likely each hit is a match, (q, k) in [0, 1].

    Args:
        encoder: Asked for its own calibration, `calibrate(queries, scores, to=..., entries=...)`, if it has
            one.
        queries: (q, d).
        scores: (q, k) of the hits; -inf counts as impossible.
        sample: Gives (q, n) scores of the same queries with other entries of the collection; called only if
            the encoder has no calibration.
        to: Side that was searched.
        entries: How many were searched: the best of many stands out further, though none matches.
    """
    calibrate = getattr(encoder, "calibrate", None)
    if calibrate is not None:
        return np.asarray(calibrate(queries, scores, to=to, entries=entries), np.float32)
    others = sample()
    spread = others.std(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        deviation = (scores - others.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    # The best of n normal scores stands about sqrt(2 ln n) deviations above their mean by chance alone.
    chance = math.sqrt(2 * math.log(max(entries, 2)))
    with np.errstate(over="ignore"):
        likely = 1 / (1 + np.exp(-2 * (deviation - chance - 0.5)))
    return np.where(np.isfinite(scores), likely, 0).astype(np.float32)


def word(probability: float) -> Word:
    """The word for a probability."""
    return next(name for least, name in WORDS if probability >= least)


def nothing_matches(probability: float) -> bool:
    """Whether the best hit of a query is so unlikely that a person should be told."""
    return probability < WORDS[2][0]
