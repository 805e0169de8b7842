"""Whether one system is better than another: differences over the same queries, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core import DIRECTIONS
from diptych.errors import UsageError
from diptych.evaluation.ranking import Evaluation
from diptych.metrics import Difference, paired_differences

__all__ = ["Comparison", "compare"]

# What must be equal for two rankings to answer the same questions.
_SAME = {
    "protocol": "the protocol",
    "relevance": "what counts as a match",
    "splits_sha256": "the items asked and ranked",
}


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same queries.

    Args:
        first, second: What each reached.
        differences: First minus second, by direction and measure.
        samples, seed: Of the bootstrap.
    """

    first: Evaluation
    second: Evaluation
    differences: Mapping[str, Mapping[str, Difference]]
    samples: int
    seed: int

    def __repr__(self) -> str:
        measure = str(self.first.facts["measure"])
        main = ", ".join(
            f"{direction} {part[measure].value:+.4f} [{part[measure].low:+.4f}, {part[measure].high:+.4f}]"
            for direction, part in self.differences.items()
            if measure in part
        )
        names = f"{self.first.facts['system']} against {self.second.facts['system']}"
        return f"<Comparison of {names} on {self.first.data}: {measure} {main}>"

    def as_json(self) -> dict[str, Any]:
        """Both values, difference, 95 % interval and p value, by direction and measure."""
        shared = {name: self.first.facts.get(name) for name in ("protocol", "relevance", "measure")}
        results = {
            direction: {
                name: {
                    "first": self.first.measured[direction][name],
                    "second": self.second.measured[direction][name],
                    "difference": one.value,
                    "interval_95": [one.low, one.high],
                    "p": one.p,
                }
                for name, one in part.items()
            }
            for direction, part in self.differences.items()
        }
        named = {"first": self.first, "second": self.second}
        return {
            **{name: {"system": one.facts["system"], "data": one.data} for name, one in named.items()},
            **shared,
            "queries": {direction: self.first.measured[direction].queries for direction in results},
            "test": f"paired bootstrap over queries, {self.samples} samples, seed {self.seed}",
            "differences": results,
        }


def compare(first: Evaluation, second: Evaluation, *, samples: int = 2000, seed: int = 0) -> Comparison:
    """How much better one system is than another, with a paired bootstrap over the queries.

    Compared are the measures that are means over queries and that both have; of a saved ranking that was cut,
    those that its first ranks decide.

    Args:
        first, second: From `diptych.evaluate`, or saved ones from `rescore`.
        samples: Of the bootstrap.
        seed: Of its draws.

    Raises:
        UsageError: the two were not asked the same queries against the same gallery, or share no measure.
    """
    _check_same(first, second)
    found: dict[str, dict[str, Difference]] = {}
    for direction in DIRECTIONS:
        if direction not in first.measured or direction not in second.measured:
            continue
        names = [name for name in _means(first, direction) if name in _means(second, direction)]
        if names:
            sides = (
                np.stack([one.measured[direction].per_query[name] for name in names], axis=1)
                for one in (first, second)
            )
            parts = paired_differences(*sides, samples=samples, seed=seed)
            found[direction] = dict(zip(names, parts, strict=True))
    if not found:
        raise UsageError(f"{_names(first, second)} share no direction and measure that could be compared")
    return Comparison(first, second, found, samples, seed)


def _means(one: Evaluation, direction: str) -> list[str]:
    """Measures that are means over queries and that what is known of the ranking decides."""
    depths = [fold.hits.rows.shape[1] for fold in one.folds.get(direction, ()) if fold.hits.rows.size]
    cut = any(fold.gallery > fold.hits.rows.shape[1] for fold in one.folds.get(direction, ()))
    return [
        name
        for name in one.measured[direction].per_query
        if name not in ("MedR", "MeanR") and not (cut and _reach(name) > min(depths, default=0))
    ]


def _reach(measure: str) -> float:
    """How many ranks decide a measure."""
    place = measure.partition("@")[2]
    return int(place) if place.isdigit() else float("inf")


def _check_same(first: Evaluation, second: Evaluation) -> None:
    other = [said for name, said in _SAME.items() if first.facts.get(name) != second.facts.get(name)]
    matches = [
        {direction: used["sha256"] for direction, used in one.facts.get("matches", {}).items()}
        for one in (first, second)
    ]
    if matches[0] != matches[1]:
        other.append("the files of matches")
    if other:
        raise UsageError(
            f"{_names(first, second)} were not asked the same: {' and '.join(other)} differ; evaluate both "
            "with the same data and protocol"
        )


def _names(first: Evaluation, second: Evaluation) -> str:
    return f"{first.facts['system']} on {first.data} and {second.facts['system']} on {second.data}"
