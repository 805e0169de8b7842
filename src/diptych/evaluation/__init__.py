"""Measures systems on protocols of data sets, in both directions, and keeps their rankings."""

from diptych.evaluation.measure import (
    Evaluation,
    Fold,
    definitions,
    evaluate,
    matched,
    measure_of,
    rescore,
    score,
    scores,
)

__all__ = [
    "Evaluation",
    "Fold",
    "definitions",
    "evaluate",
    "matched",
    "measure_of",
    "rescore",
    "score",
    "scores",
]
