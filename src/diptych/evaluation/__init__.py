"""Measures systems on protocols of data sets, in both directions, and keeps their rankings."""

from diptych.evaluation.compare import Comparison, compare
from diptych.evaluation.measure import Both, compared, definitions, evaluate, measure_of, score
from diptych.evaluation.ranking import Evaluation, Fold, matched, rescore

__all__ = [
    "Both",
    "Comparison",
    "Evaluation",
    "Fold",
    "compare",
    "compared",
    "definitions",
    "evaluate",
    "matched",
    "measure_of",
    "rescore",
    "score",
]
