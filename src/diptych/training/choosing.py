"""Chooses hyper-parameters on validation data, each from the few values that a system declares.

A system's `choices` are read like a paper's "selected on validation from {...}". Every combination is tried
with the measure that the training is validated by, and the best is taken; among equals the system's own
default, then the first of the grid.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych import catalogue
from diptych.errors import TrainingError
from diptych.training.parameters import trained_kind

__all__ = ["Choice", "choose", "open_grid"]

_log = logging.getLogger(__name__)

Grid = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how.

    Args:
        settings: The values chosen.
        grid: What they were chosen from.
        value: Their validation.
        tried: Every combination with its validation, or with the reason why its training could not go on.
    """

    settings: Mapping[str, Any]
    grid: Grid
    value: float
    tried: Sequence[tuple[Mapping[str, Any], float | str]]

    def as_dict(self, measure: str, by: str) -> dict[str, Any]:
        """The choice as JSON has it.

        Args:
            measure: Name of the validation measure.
            by: A sentence about the data that it was chosen by.
        """
        return {
            "settings": dict(self.settings),
            "grid": {key: list(values) for key, values in self.grid.items()},
            "measure": measure,
            "value": self.value,
            "by": by,
            "tried": [{**settings, "validation": value} for settings, value in self.tried],
        }


def open_grid(name: str, fixed: Mapping[str, Any]) -> Grid:
    """What of a system's `choices` is still to be chosen.

    Args:
        name: ``system[:variant]``; what the variant sets is not chosen.
        fixed: What recipe, data and user set; not chosen either.
    """
    grid: Grid = getattr(trained_kind(name), "choices", {})
    taken = {**catalogue.variant(name), **fixed}
    return {key: tuple(values) for key, values in grid.items() if key not in taken}


def choose(
    grid: Grid, default: Mapping[str, Any], validated: Callable[[int, Mapping[str, Any]], float]
) -> Choice:
    """Try every combination of a grid and take the best.

    Args:
        grid: Values by name; at least one name with at least one value each.
        default: The system's own values; they win where others are only as good.
        validated: Trains with a combination, given with its number; larger is better.

    Raises:
        TrainingError: of the last combination, if training could not go on with any.
    """
    usual = {key: default.get(key) for key in grid}
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    combinations.sort(key=lambda one: one != usual)
    best: tuple[float, Mapping[str, Any]] | None = None
    tried: list[tuple[Mapping[str, Any], float | str]] = []
    failure: TrainingError | None = None
    for number, settings in enumerate(combinations):
        try:
            value = validated(number, settings)
        except TrainingError as error:  # a rate may be too high, and the others are still worth trying
            failure = error
            tried.append((settings, str(error)))
            continue
        _log.info("validation with %s: %.6f", settings, value)
        tried.append((settings, value))
        if best is None or value > best[0]:
            best = value, settings
    if best is None:
        assert failure is not None
        raise failure
    return Choice(best[1], grid, best[0], tried)
