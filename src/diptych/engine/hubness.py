"""Takes from pictures that are near to everything what that gains them: nearest neighbour normalisation.

Chowdhury et al., "Nearest neighbor normalization improves multimodal retrieval" (EMNLP 2024): of the
score of an entry, a share of the mean of its best scores with a bank of other queries is taken away.
Whether it helps, `benchmarks/hubness.py` measures.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from diptych import similarity
from diptych.core import Floats, Side
from diptych.engine.homes.base import Home
from diptych.errors import UsageError

__all__ = ["AMONG", "FEWEST", "NEAREST", "SHARE", "Hubness", "bank_of", "bias"]

Hubness = Literal["nnn"]
"""What takes hubs back."""

FEWEST = 200
"""Captions, or pictures, of a collection without which nothing is corrected."""

AMONG = 200
"""Best hits whose order is made anew."""

NEAREST = 16
"""Scores with the bank whose mean counts; k of the paper."""

SHARE = 0.5
"""Of the mean that is taken away; alpha of the paper."""

_ITSELF = (
    0.999  # cosine from which a query of the bank is the entry itself, as of a collection's own pictures
)
_BANK = 2000  # captions or pictures that stand for what will be asked, at most


def bias(bank: Floats, vectors: Floats) -> Floats:
    """What is taken from the score of each entry, (n,).

    Args:
        bank: (m, d) of queries, of length 1.
        vectors: (n, d) of entries, of length 1.
    """
    scores = vectors @ bank.T
    scores[scores > _ITSELF] = -1
    k = min(NEAREST, scores.shape[1])
    best = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    return np.asarray(SHARE * best.mean(axis=1), np.float32)


def bank_of(home: Home, side: Side) -> Floats:
    """Vectors (m, d), of length 1, of queries like those that will be asked: the captions, or the pictures.

    Args:
        home: Whose they are.
        side: What is asked with.

    Raises:
        UsageError: the vectors do not compare by cosine, or there are too few.
    """
    column = home.column
    if column is not None and column.similarity != "cosine":
        raise UsageError(
            f"hubness is corrected where vectors compare by cosine; {column.model} has {column.similarity}"
        )
    vectors = home.vectors_now(side)
    rows = vectors.rows
    if len(rows) < FEWEST:
        what = "captions" if side == "text" else "pictures"
        raise UsageError(
            f"hubness is corrected with {what} of the collection, and there are {len(rows)}; with less than "
            f"{FEWEST}, results get worse rather than better"
        )
    return similarity.unit(vectors.of(rows[:: -(-len(rows) // _BANK)]))
