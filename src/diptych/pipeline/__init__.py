"""The stages of a search, and `over`, which makes one of any system. What is measured here is what is served.

A stage maps a `Run` to a `Run`; `a >> b` joins them. As sentences: a hybrid is
``over(dcmh, gallery, 100) >> Rerank(vilt, 100)``; rewriting is ``Rewrite(ask) >> search``. `to` names the
side of the gallery that is searched: "image" (text query, image results: TqI) or "text" (IqT).
"""

from diptych.pipeline.encode import Remembered, contents, encode, encode_readable, holding
from diptych.pipeline.over import Indexed, by_vectors, over
from diptych.pipeline.rankings import MOST_PAIRS, hits_of, score_matrix, scores_of, stacked
from diptych.pipeline.rerank import RESCORED, Agree, Rerank
from diptych.pipeline.stages import (
    Compares,
    Exhaustive,
    Fuse,
    PairScores,
    Repeat,
    Rewrite,
    Search,
    Select,
)

__all__ = [
    "MOST_PAIRS",
    "RESCORED",
    "Agree",
    "Compares",
    "Exhaustive",
    "Fuse",
    "Indexed",
    "PairScores",
    "Remembered",
    "Repeat",
    "Rerank",
    "Rewrite",
    "Search",
    "Select",
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
]
