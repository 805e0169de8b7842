"""The stages of a search, and `over`, which makes one of any system. What is measured here is what is served.

A stage maps a `Run` to a `Run`; `a >> b` joins them. As sentences: a hybrid is
``over(dcmh, gallery, 100) >> Rerank(vilt, 100)``; rewriting is ``Rewrite(ask) >> search``. `to` names the
side of the gallery that is searched: "image" (text query, image results: TqI) or "text" (IqT).
"""

from diptych.pipeline.encode import Remembered, contents, encode, encode_readable, holding
from diptych.pipeline.hybrid import DEPTH, EQUAL, Cost, Hybrid
from diptych.pipeline.over import Indexed, by_vectors, over
from diptych.pipeline.rankings import MOST_PAIRS, hits_of, score_matrix, scores_of, stacked
from diptych.pipeline.rerank import LOOKED_AT, RESCORED, Agree, Rerank, as_they_are, standardised
from diptych.pipeline.stages import (
    Answers,
    Compares,
    Exhaustive,
    Fuse,
    PairScores,
    Repeat,
    Rewrite,
    Search,
    Select,
)
from diptych.pipeline.weighing import weights_of

__all__ = [
    "DEPTH",
    "EQUAL",
    "LOOKED_AT",
    "MOST_PAIRS",
    "RESCORED",
    "Agree",
    "Answers",
    "Compares",
    "Cost",
    "Exhaustive",
    "Fuse",
    "Hybrid",
    "Indexed",
    "PairScores",
    "Remembered",
    "Repeat",
    "Rerank",
    "Rewrite",
    "Search",
    "Select",
    "as_they_are",
    "by_vectors",
    "contents",
    "encode",
    "encode_readable",
    "hits_of",
    "holding",
    "over",
    "score_matrix",
    "scores_of",
    "stacked",
    "standardised",
    "weights_of",
]
