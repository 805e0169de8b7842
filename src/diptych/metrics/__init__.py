"""How good is a ranking: pure functions of scores (or embeddings, or codes) and of what is relevant.

Say what is relevant with `ByLabel`, `ByPairs` or `Given`; give scores as a matrix or as `Embedded`; then
`measure` computes everything about one direction, and the functions of the modules below it single values:

>>> import numpy as np
>>> scores = np.array([[0.9, 0.8, 0.7], [0.1, 0.3, 0.2]])
>>> found = measure(scores, ByPairs(np.array([[0, 1], [1, 1]]), (2, 3)))
>>> found["R@1"], found["MAP@ALL"]
(0.5, 0.75)

Ties: average precision, P@n and NDCG are what is expected over all orders of equal scores, recall counts a
tie with an irrelevant entry against the system, and the best, worst and expected value over all orders stand
beside both; the functions of single values take relevance in an order that was chosen. Scores that are NaN,
and relevance that is neither 0 nor 1, raise `BadData`. A query that nothing is relevant to counts with the
value 0, and the result says how many there were.
"""

from diptych.metrics.bootstrap import Difference, bootstrap, paired_differences
from diptych.metrics.curves import Curve, interpolated_precision, precision_by_radius, precision_curve
from diptych.metrics.gain import ndcg, tied_ndcg
from diptych.metrics.hamming import hamming_average_precision, hamming_groups
from diptych.metrics.precision import Denominator, TieGroups, average_precision, precision_at
from diptych.metrics.recall import FirstRanks, Ties, first_ranks, first_ranks_both_ways
from diptych.metrics.relevance import ByLabel, ByPairs, Given, Relevance
from diptych.metrics.scores import Embedded, Matrix, Ranked, Replaced, Scores, score_blocks
from diptych.metrics.summary import (
    TIE_RULE,
    Keep,
    Measured,
    expected_average_precision,
    measure,
    measure_both_ways,
    order,
    pooled,
    tie_groups,
)

__all__ = [
    "TIE_RULE",
    "ByLabel",
    "ByPairs",
    "Curve",
    "Denominator",
    "Difference",
    "Embedded",
    "FirstRanks",
    "Given",
    "Keep",
    "Matrix",
    "Measured",
    "Ranked",
    "Relevance",
    "Replaced",
    "Scores",
    "TieGroups",
    "Ties",
    "average_precision",
    "bootstrap",
    "expected_average_precision",
    "first_ranks",
    "first_ranks_both_ways",
    "hamming_average_precision",
    "hamming_groups",
    "interpolated_precision",
    "measure",
    "measure_both_ways",
    "ndcg",
    "order",
    "paired_differences",
    "pooled",
    "precision_at",
    "precision_by_radius",
    "precision_curve",
    "score_blocks",
    "tie_groups",
    "tied_ndcg",
]
