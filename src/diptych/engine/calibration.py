"""Plain words for scores: how likely a hit is a match, and whether anything matches at all.

A cosine means nothing by itself: good matches of one query score lower than bad ones of another. So a score
is told as a probability, by the encoder's own calibration, which was fitted to its scores. An encoder without
one says nothing of the kind: how far a hit stands out among the others is no probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diptych.core import Floats, offered
from diptych.engine.results import Word

__all__ = ["UNKNOWN", "WORDS", "nothing_matches", "probabilities", "word"]

WORDS: tuple[tuple[float, Word], ...] = ((0.7, "strong"), (0.4, "good"), (0.15, "fair"), (0.0, "weak"))
"""Lowest probability of each word."""

UNKNOWN: Word = "not calibrated"
"""The word for a score that has no probability."""


def probabilities(encoder: Any, queries: Floats, scores: Floats, *, to: str, entries: int) -> Floats | None:
    """How likely each hit is a match, (q, k) in [0, 1]; None for an encoder without a calibration.

    Args:
        encoder: Asked for `calibrate`; see `diptych.core.Capabilities`.
        queries: (q, d).
        scores: (q, k) of the hits; -inf counts as impossible.
        to: Side that was searched.
        entries: How many were searched: the best of many stands out further, though none matches.
    """
    calibrate = offered(encoder, "calibrate")
    if calibrate is None:
        return None
    return np.asarray(calibrate(queries, scores, to=to, entries=entries), np.float32)


def word(probability: float | None) -> Word:
    """The word for a probability, or for none."""
    if probability is None:
        return UNKNOWN
    return next(name for least, name in WORDS if probability >= least)


def nothing_matches(probability: float | None) -> bool:
    """Whether the best hit of a query is so unlikely that a person should be told; not if that is unknown."""
    return probability is not None and probability < WORDS[2][0]
