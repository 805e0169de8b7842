"""Measures searches that go on in rounds: hits by round, as ChatIR counts them, and what a round brings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Item, Rows, Run

__all__ = ["answering", "best_log_rank_integral", "hits_by_round", "measure_rounds", "ranks_by_round"]

Ranks = NDArray[np.int64]


def hits_by_round(ranks: Ranks, k: int = 10, *, cumulative: bool = True) -> NDArray[np.float64]:
    """Hits@k at each round, (rounds,) in [0, 1].

    Args:
        ranks: (q, rounds) of each query's target, from 1 on.
        k: A hit is a rank of at most this.
        cumulative: Whether a query that was a hit once stays one, which hides later losses.

    Example:
        >>> ranks = np.array([[30, 12, 8, 15], [3, 50, 50, 50], [40, 30, 20, 11]])
        >>> hits_by_round(ranks).round(3), hits_by_round(ranks, cumulative=False).round(3)
        (array([0.333, 0.333, 0.667, 0.667]), array([0.333, 0.   , 0.333, 0.   ]))
    """
    hits = ranks <= k
    return np.asarray(
        (np.logical_or.accumulate(hits, axis=1) if cumulative else hits).mean(axis=0), np.float64
    )


def best_log_rank_integral(ranks: Ranks) -> float:
    """PlugIR's BRI: the integral of the log of the best rank so far over the rounds; lower is better.

    With ``r_t`` the best rank up to round t of T: ``(log r_0 / 2 + log r_1 + ... + log r_T / 2) / T``, the
    trapezoids between the rounds, as a mean over the queries; of a single round its log.
    """
    logs = np.log(np.minimum.accumulate(np.asarray(ranks, np.float64), axis=1))
    if logs.shape[1] == 1:
        return float(logs.mean())
    return float(((logs[:, 1:] + logs[:, :-1]) / 2).mean())


def measure_rounds(ranks: Ranks, k: int = 10) -> dict[str, Any]:
    """Everything about ranks (q, rounds): hits both ways, mean rank by round, and BRI."""
    return {
        f"Hits@{k}": hits_by_round(ranks, k).tolist(),
        f"Hits@{k} of the round": hits_by_round(ranks, k, cumulative=False).tolist(),
        "mean rank": ranks.mean(axis=0).tolist(),
        "BRI": best_log_rank_integral(ranks),
    }


def ranks_by_round(rounds: Iterable[Run], targets: Rows) -> tuple[Ranks, Run]:
    """Ranks (q, rounds) of the targets in the hits after each round, and the run after the last.

    A target that is not among the hits has the rank after the gallery's last.

    Args:
        rounds: The runs, such as a dialogue's stage gives them.
        targets: (q,) gallery rows.
    """
    columns, last = [], Run((), ())
    for last in rounds:
        assert last.hits is not None
        columns.append(
            [
                (line.index(target) if target in line else len(last.gallery)) + 1
                for line, target in zip(last.hits.rows.tolist(), targets.tolist(), strict=True)
            ]
        )
    return np.array(columns, np.int64).T, last


def answering(captions: Sequence[Sequence[str]], encoder: Any) -> Any:
    """A simulated user who knows further captions of the picture looked for, and answers with them.

    To each question the one that is nearest to it, each once; then "I don't know".

    Args:
        captions: For each query, by the number that is its `id`.
        encoder: Whose vectors of texts say what is near.
    """
    left = [list(one) for one in captions]

    def answer(query: Item, question: str) -> str:
        known = left[int(query.id)]
        if not known:
            return "I don't know"
        vectors = encoder.encode_text([question, *known])
        return known.pop(int(np.argmax(vectors[1:] @ vectors[0])))

    return answer
