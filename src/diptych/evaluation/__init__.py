"""Measures systems on protocols of data sets, in both directions, and keeps their rankings."""

from diptych.evaluation.measure import Both, compared, definitions, evaluate, measure_of, score
from diptych.evaluation.ranking import Evaluation, Fold, matched, rescore

__all__ = [
    "Both",
    "Evaluation",
    "Fold",
    "compared",
    "definitions",
    "evaluate",
    "matched",
    "measure_of",
    "rescore",
    "score",
]
