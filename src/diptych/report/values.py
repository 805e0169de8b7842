"""What an evaluation's numbers look like: which measures mean something, in how many digits, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from diptych.core import DIRECTIONS
from diptych.evaluation import Evaluation
from diptych.metrics import Measured

__all__ = ["as_csv", "digits", "meaningful", "number", "spans", "tied"]

_RANKS = ("MedR", "MeanR")
_HEADINGS = (
    "system", "data", "protocol", "direction", "measure", "value", "low", "high",
    "tie_worst", "tie_best", "tie_expected", "queries", "gallery", "folds",
)  # fmt: skip


def meaningful(found: Evaluation) -> list[str]:
    """Names of the measures that mean something in every direction.

    Precision at more entries than there are is bounded by their number, not by the system.
    """
    parts = list(found.measured.values())
    fewest = min(one.gallery // one.folds for one in parts)
    return [name for name in parts[0].values() if not (name.startswith("P@") and int(name[2:]) > fewest)]


def digits(one: Measured) -> int:
    """Digits after the point that so many queries can support: no more than a standard error resolves."""
    return 2 if one.queries < 100 else 3 if one.queries < 2000 else 4


def number(name: str, value: float, one: Measured) -> str:
    """A value of a measure; ranks have one digit."""
    return f"{value:.{1 if name in _RANKS else digits(one)}f}"


def tied(name: str, one: Measured) -> tuple[float, float] | None:
    """Values in the worst and in the best order of ties; None if no tie decides anything."""
    bounds: Mapping[str, float] | None = one.bounds.get(name)
    if bounds is None or abs(bounds["best"] - bounds["worst"]) < 5e-5:
        return None
    return bounds["worst"], bounds["best"]


def spans(found: Evaluation) -> dict[str, dict[str, tuple[float, float]]]:
    """By direction and measure, the values over the orders of ties; directions without ties are empty."""
    return {
        direction: {name: span for name in meaningful(found) if (span := tied(name, one))}
        for direction, one in found.measured.items()
    }


def as_csv(found: Evaluation) -> str:
    """A row for each direction and measure, with all digits, under a heading."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(_HEADINGS)
    for direction, one in found.measured.items():
        intervals = one.intervals()
        for name in meaningful(found):
            bounds = one.bounds.get(name, {})
            ends = intervals.get(name, ("", ""))
            ties = [bounds.get(kind, "") for kind in ("worst", "best", "expected")]
            facts = [found.facts["system"], found.data, found.facts["protocol"], DIRECTIONS[direction]]
            counts = [one.queries, one.gallery // one.folds, one.folds]
            table.writerow([*facts, name, one[name], *ends, *ties, *counts])
    return file.getvalue()
