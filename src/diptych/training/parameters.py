"""Chooses hyper-parameters: what a system's module says, what the data decide, and what the user sets."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych import catalogue
from diptych.data.base import Split, input_kind
from diptych.errors import BadParameter, UsageError

__all__ = ["choose_parameters", "dimensions", "module_of", "parse_settings", "takes", "trained_kind"]

_NAMED = {"features": ("_dim", 1), "pixels": ("_size", 3), "tokens": ("_length", 1)}


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Values by name from words like ``lr=1e-4``: numbers, true, false, none, tuples, else text.

    "nan" and "inf" are numbers, which `diptych.catalogue.checked` refuses where they mean nothing.

    Raises:
        BadParameter: a word without "=".
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise BadParameter(f"a parameter is set by key=value, such as lr=1e-4, not by {setting!r}")
        found[key.strip().replace("-", "_")] = _value(text.strip())
    return found


def choose_parameters(
    name: str,
    dataset: str,
    train: Split,
    settings: Mapping[str, Any],
    *,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Hyper-parameters over those of the variant, for `diptych.catalogue.load`, which checks them.

    They come from three places, later over earlier: the recipe for the data set, the data's dimensions, and
    what the user sets.

    Args:
        name: ``system[:variant]``.
        dataset: Name of the data set, for its recipe.
        train: Decides the dimensions.
        settings: What the user sets.
        facts: What else the data say, such as the number of word pieces.

    Raises:
        UnknownName: there is no such system.
        UsageError: the system is not trained.
    """
    parts, kind, module = catalogue.parse(name), trained_kind(name), module_of(name)
    # A recipe is what the paper changes for a data set; variants other than the first bring their own values.
    usual = parts.variant in (None, next(iter(module.VARIANTS)))
    recipe: Mapping[str, Any] = module.RECIPES.get(dataset, {}) if usual else {}
    said = {**dimensions(train), **(facts or {})}
    return {**recipe, **{key: value for key, value in said.items() if takes(kind, key)}, **settings}


def trained_kind(name: str) -> type:
    """The class of a system that learns by `fit`.

    Args:
        name: ``system[:variant]``.

    Raises:
        UnknownName: there is no such system.
        UsageError: it is not trained.
    """
    system = catalogue.parse(name).system
    kind: type = catalogue.named_by(catalogue.card("system", system))
    if not (hasattr(kind, "fit") and hasattr(kind, "save")):
        raise UsageError(f"{system} is not trained, it has no fit; see `diptych info {system}`")
    return kind


def module_of(name: str) -> Any:
    """The module of a system, which has its `VARIANTS`, `RECIPES` and perhaps `FEATURES`.

    Raises:
        UnknownName: there is no such system.
    """
    return catalogue.module_of(catalogue.card("system", catalogue.parse(name).system))


def takes(kind: type, parameter: str) -> bool:
    """Whether a system has that hyper-parameter."""
    return parameter in inspect.signature(kind).parameters


def dimensions(split: Split) -> dict[str, int]:
    """What a split says of a learner's dimensions.

    `image_dim` and `text_dim` of features, `image_size` of pixels, `text_length` of tokens, and `classes`.
    """
    found: dict[str, int] = {}
    for side in ("image", "text"):
        value = getattr(split, side)
        if isinstance(value, np.ndarray):
            ending, axis = _NAMED[input_kind(value)]
            found[side + ending] = int(value.shape[axis])
    if split.label is not None:
        found["classes"] = int(split.label.shape[1])
    return found


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
