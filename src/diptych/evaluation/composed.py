"""Measures searches for a picture that is changed in words: CIRR's, CIRCO's and FashionIQ's own numbers.

Queries that a model could not help with are measured as they were answered, and their share is told beside;
none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.core import Item, Run
from diptych.data.composed import Composed, ComposedQuery
from diptych.errors import UsageError
from diptych.llm import Usage
from diptych.pipeline import over

__all__ = ["composed_average_precision", "measure_composed", "rank_composed", "recalled"]


def recalled(ranking: Sequence[str], targets: Sequence[str], k: int) -> float:
    """1 where a target is among the first k, else 0.

    Example:
        >>> recalled(["a", "b", "c"], ["c"], 2), recalled(["a", "b", "c"], ["c"], 3)
        (0.0, 1.0)
    """
    return float(not set(targets).isdisjoint(ranking[:k]))


def composed_average_precision(ranking: Sequence[str], targets: Sequence[str], k: int) -> float:
    """Average precision of the first k, over ``min(G, k)`` for G targets (CIRCO).

    Example:
        >>> round(composed_average_precision(list("axbyc"), list("abcd"), 5), 6)
        0.566667
    """
    found, total = 0, 0.0
    for rank, name in enumerate(ranking[:k], 1):
        if name in targets:
            found += 1
            total += found / rank
    return total / min(len(targets), k) if targets else 0.0


def measure_composed(data: Composed, rankings: Sequence[Sequence[str]]) -> dict[str, float]:
    """The numbers that the set's authors report.

    Args:
        data: With its targets. Of queries with a subset the reference is taken out of the ranking (CIRR);
            of those with a category the mean over the categories is told as well (FashionIQ).
        rankings: For each query, names of the pictures, best first.

    Returns:
        Shares in [0, 1]: "R@1" to "R@50" and "R_subset@1" to "R_subset@3"; or "mAP@5" to "mAP@50"; or
        "R@10 dress" and so on, with "R@10" and "R@50" for the mean.

    Raises:
        UsageError: there is not one ranking a query, or the targets are kept back.
    """
    if len(rankings) != len(data.queries):
        raise UsageError(
            f"{data.name} has {len(data.queries)} queries, and {len(rankings)} rankings are given"
        )
    if not data.queries or not all(query.targets for query in data.queries):
        raise UsageError(
            f"the targets of {data.name} are kept back by its authors, so it cannot be measured here"
        )
    pairs = list(zip(data.queries, rankings, strict=True))
    if any(query.subset for query in data.queries):
        return _cirr(pairs)
    if any(query.category for query in data.queries):
        return _by_category(pairs)
    return {
        f"mAP@{k}": float(
            np.mean([composed_average_precision(ranking, one.targets, k) for one, ranking in pairs])
        )
        for k in (5, 10, 25, 50)
    }


def _cirr(pairs: Sequence[tuple[ComposedQuery, Sequence[str]]]) -> dict[str, float]:
    others = [(one, [name for name in ranking if name != one.reference]) for one, ranking in pairs]
    found = {
        f"R@{k}": float(np.mean([recalled(ranking, one.targets, k) for one, ranking in others]))
        for k in (1, 5, 10, 50)
    }
    inside = [(one, [name for name in ranking if name in set(one.subset)]) for one, ranking in others]
    for k in (1, 2, 3):
        found[f"R_subset@{k}"] = float(
            np.mean([recalled(ranking, one.targets, k) for one, ranking in inside])
        )
    return found


def _by_category(pairs: Sequence[tuple[ComposedQuery, Sequence[str]]]) -> dict[str, float]:
    found: dict[str, float] = {}
    categories = sorted({one.category for one, _ in pairs})
    for k in (10, 50):
        for category in categories:
            hits = [recalled(ranking, one.targets, k) for one, ranking in pairs if one.category == category]
            found[f"R@{k} {category}"] = float(np.mean(hits))
        found[f"R@{k}"] = float(np.mean([found[f"R@{k} {category}"] for category in categories]))
    return found


def rank_composed(
    system: Any,
    data: Composed,
    picture: Callable[[str], Any],
    k: int,
    *,
    meta: Mapping[str, Any] | None = None,
) -> tuple[list[list[str]], dict[str, Any]]:
    """Rankings of a system, by the stage that `over` makes of it.

    Args:
        system: Whatever `over` takes.
        data: With its gallery.
        picture: Gives a picture by its name.
        k: Entries of each ranking.
        meta: What is known of pictures by name, such as ``{"caption": ...}``.

    Returns:
        For each query, the names of the best, best first; and what it cost: "degraded", the share of queries
        that a model did not help with, and the sum of "usage".

    Raises:
        UsageError: the set lists no gallery.
    """
    if not data.gallery:
        raise UsageError(f"{data.name} lists no pictures that are searched; give them as its gallery")
    rankings: list[list[str]] = [[] for _ in data.queries]
    degraded, usage = 0, Usage()
    for category, names in data.gallery.items():
        places = [at for at, query in enumerate(data.queries) if query.category == category]
        if not places:
            continue
        gallery = [Item(name, image=picture(name)) for name in names]
        queries = [_query(data.queries[at], picture, meta or {}) for at in places]
        run = over(system, gallery, k)(Run(queries, gallery))
        assert run.hits is not None
        for at, rows in zip(places, run.hits.rows.tolist(), strict=True):
            rankings[at] = [names[row] for row in rows if row >= 0]
        degraded += sum("degraded" in note for note in run.notes)
        usage = sum((Usage(**note.get("usage", {})) for note in run.notes), usage)
    return rankings, {"degraded": degraded / max(len(data.queries), 1), "usage": usage.as_dict()}


def _query(query: ComposedQuery, picture: Callable[[str], Any], meta: Mapping[str, Any]) -> Item:
    known = meta.get(query.reference, {})
    return Item(query.reference, image=picture(query.reference), text=query.change, meta=known)
