"""Hits and scores as stages hand them on: the hits so far, rankings in one array, scores of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Hits, Rows, Run, Scorer, Stage, offered
from diptych.errors import UsageError

if TYPE_CHECKING:  # a search has no need of the metrics
    from diptych.metrics.scores import Scores

__all__ = ["MOST_PAIRS", "hits_of", "score_matrix", "scores_of", "stacked"]

MOST_PAIRS = 10_000_000
"""More pairs than these are not scored one by one for a whole matrix."""


def hits_of(run: Run) -> Hits:
    """The hits so far.

    Raises:
        UsageError: nothing was searched yet.
    """
    if run.hits is None:
        raise UsageError("this stage works on hits, but nothing was searched before it")
    return run.hits


def stacked(ranked: Sequence[tuple[Rows, Floats]], k: int) -> Hits:
    """Rankings of any length as one (q, k) array, filled with -1 and -inf."""
    width = min(k, max((len(rows) for rows, _ in ranked), default=0))
    kind = np.result_type(np.float32, *(scores for _, scores in ranked))
    hits = Hits(np.full((len(ranked), width), -1, np.int64), np.full((len(ranked), width), -np.inf, kind))
    for at, (rows, scores) in enumerate(ranked):
        hits.rows[at, : len(rows[:width])] = rows[:width]
        hits.scores[at, : len(rows[:width])] = scores[:width]
    return hits


def score_matrix(scorer: Scorer, images: Any, texts: Any) -> NDArray[Any]:
    """Score of every pair, (n_images, n_texts), as the scorer gives them.

    Args:
        scorer: Asked for all at once where it offers that, else pair by pair.
        images, texts: Sequences of what it takes.

    Raises:
        UsageError: there are more than `MOST_PAIRS` pairs, and the scorer knows them only one by one.
    """
    whole = offered(scorer, "score")
    if whole is not None:
        return np.asarray(whole(images, texts))
    count = len(images) * len(texts)
    if count > MOST_PAIRS:
        raise UsageError(
            f"{len(images)} images with {len(texts)} texts are {count:,} pairs, and {type(scorer).__name__} "
            f"scores each by itself (at most {MOST_PAIRS:,}); search with an encoder first and re-rank "
            "its first hits: over(encoder, ...) >> Rerank(scorer, depth)"
        )
    rows, columns = np.divmod(np.arange(count), max(len(texts), 1))
    scored = scorer.score_pairs(images, texts, np.stack([rows, columns], axis=1))
    return np.asarray(scored).reshape(len(images), len(texts))


def scores_of(stage: Stage, run: Run) -> Scores:
    """Scores of each query with each entry: the stage's own block by block, or else those of its hits.

    Raises:
        UsageError: the stage ends without hits.
    """
    from diptych.metrics.scores import Ranked

    found: Scores | None = stage.scores(run)
    if found is not None:
        return found
    hits = stage(run).hits
    if hits is None:
        raise UsageError(f"{stage!r} ended without hits")
    return Ranked(hits, len(run.gallery))
