"""How much a scorer of pairs has to say against the search before it, calibrated on held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Item, Rows, Run, Side
from diptych.pipeline.encode import Remembered, encode
from diptych.pipeline.hybrid import Hybrid
from diptych.pipeline.over import over
from diptych.pipeline.rerank import LOOKED_AT, standardised
from diptych.similarity import unit
from diptych.towers.second_look import SecondLine

__all__ = ["LEAST_QUERIES", "WEIGHTS", "Looked", "line_of", "looked_at", "weighed", "weights_of"]

WEIGHTS = tuple(number / 20 for number in range(1, 21))
"""Weights that are tried."""

LEAST_QUERIES = 50
"""Queries whose match is among the first hits, without which no weight is chosen."""

_MOST_QUERIES = 200  # of each side that ask


@dataclass(frozen=True)
class Looked:
    """What search and scorer say of the first hits of some queries.

    Args:
        rows: (q, d) entries, in the order of the search; -1 for none.
        search, pairs: (q, d) scores; NaN where there is none.
    """

    rows: Rows
    search: Floats
    pairs: Floats


def looked_at(hybrid: Hybrid, queries: Sequence[Item], entries: Sequence[Item], to: Side) -> Looked:
    """What both stages of a hybrid say of the first hits.

    Args:
        hybrid: Searches and scores.
        queries: What is asked: texts where pictures are searched, else pictures.
        entries: What is searched.
        to: The side that is searched.
    """
    depth = min(hybrid.rerank_depth, len(entries))
    run = over(hybrid, entries, depth, to=to)(Run(queries, entries))
    found = Looked(
        np.full((len(queries), depth), -1, np.int64),
        np.full((len(queries), depth), np.nan),
        np.full((len(queries), depth), np.nan),
    )
    for at, note in enumerate(run.notes):
        for place, (row, scores) in enumerate(note[LOOKED_AT].items()):
            found.rows[at, place] = row
            found.search[at, place], found.pairs[at, place] = scores
    return found


def weighed(found: Looked, right: NDArray[np.bool_]) -> float | None:
    """The weight of the pairs with which the first match ranks best, by the mean of 1 / rank.

    Of weights that are as good the middle one; None where too few queries have a match among their hits.

    Args:
        found: Of the queries.
        right: (q, d) which hits are matches.
    """
    told = right.any(axis=1)
    if told.sum() < LEAST_QUERIES:
        return None
    search, pairs = standardised(found.search[told]), standardised(found.pairs[told])
    means = []
    for weight in WEIGHTS:
        mixed = np.nan_to_num(weight * pairs + (1 - weight) * search, nan=-np.inf)
        best = np.where(right[told], mixed, -np.inf).max(axis=1, keepdims=True)
        ranks = 1 + ((mixed >= best) & ~right[told]).sum(axis=1)
        means.append(float((1 / ranks).mean()))
    good = [weight for weight, mean in zip(WEIGHTS, means, strict=True) if mean >= max(means) - 1e-9]
    return good[len(good) // 2]


def weights_of(
    hybrid: Hybrid, images: Sequence[Item], texts: Sequence[Item], pairs: Rows, *, seed: int = 0
) -> Mapping[Side, float]:
    """Weights by the side that is searched, of those sides for which there are enough pairs.

    Args:
        hybrid: Whose weights are sought; its own do not matter.
        images, texts: That neither the encoder nor the scorer has learned from. All are searched, and 200 of
            either ask.
        pairs: (p, 2) image row and text row of those that match.
        seed: Draws what asks.
    """
    random, images, texts = np.random.default_rng(seed), Remembered(images), Remembered(texts)
    found: dict[Side, float] = {}
    for to, column in (("image", 1), ("text", 0)):
        side: Side = "image" if to == "image" else "text"
        asking, entries = (texts, images) if side == "image" else (images, texts)
        every = np.unique(pairs[:, column])
        rows = np.sort(random.choice(every, min(len(every), _MOST_QUERIES), replace=False))
        place = {row: at for at, row in enumerate(rows.tolist())}
        matches = np.zeros((len(rows), len(entries)), bool)
        for pair in pairs[np.isin(pairs[:, column], rows)].tolist():
            matches[place[pair[column]], pair[1 - column]] = True
        looked = looked_at(hybrid, [asking[row] for row in rows.tolist()], entries, side)
        right = np.take_along_axis(matches, np.maximum(looked.rows, 0), 1) & (looked.rows >= 0)
        weight = weighed(looked, right)
        if weight is not None:
            found[side] = weight
    return found


def line_of(
    hybrid: Hybrid, calibrate: Any, right: Sequence[Item], wrong: Sequence[Item], entries: Sequence[Item]
) -> SecondLine | None:
    """What tells how relevant pictures are that were ranked anew; None where that cannot be told.

    Args:
        hybrid: With its weights.
        calibrate: The encoder's own calibration, see `diptych.core.Capabilities`.
        right: Texts of which some picture shows what they say.
        wrong: Texts of which none does.
        entries: Pictures that are searched.
    """
    best = []
    for asked in (right, wrong):
        looked = looked_at(hybrid, asked, entries, "image")
        vectors = unit(encode(hybrid.encoder, asked))
        scores = np.where(np.isnan(looked.search), -np.inf, looked.search).astype(np.float32)
        told = np.asarray(calibrate(vectors, scores, to="image", entries=len(entries)))
        weight = hybrid.rerank_weights["image"]
        mixed = weight * standardised(looked.pairs) + (1 - weight) * standardised(looked.search)
        first = np.nanargmax(np.where(np.isnan(mixed), -np.inf, mixed), axis=1)[:, None]
        found = [np.take_along_axis(one, first, 1)[:, 0] for one in (told, looked.pairs)]
        there = np.isfinite(found[0]) & np.isfinite(found[1])
        best.append((found[0][there], found[1][there]))
    return SecondLine.of(*best)
