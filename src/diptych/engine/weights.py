"""Weights of the parts of a query, as programs give them and as they are typed.

Nothing heavy is imported here, as what asks a server needs no more than this of a query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, TypeAlias, TypeVar

from diptych.errors import UsageError

__all__ = ["Part", "Parts", "check_weight", "typed", "typed_words", "weighted"]

_Value = TypeVar("_Value")

Part: TypeAlias = _Value | tuple[float, _Value]
"""A part of a query, or its weight and it."""

Parts: TypeAlias = Part[_Value] | Sequence[Part[_Value]]

# Single precision keeps a part of this weight beside one of the other.
_LIGHTEST, _HEAVIEST = 1e-3, 1e3
_TYPED = re.compile(r"(\d+(?:\.\d*)?|\.\d+):(.*)", re.ASCII | re.DOTALL)


def weighted(parts: Any, weight: float, name: str) -> list[tuple[float, Any]]:
    """Weight and value of each part.

    Args:
        parts: A value, a pair of a weight and a value, or a list of these.
        weight: Of those that have none.
        name: What kind of parts these are, for errors.

    Raises:
        UsageError: a weight is no number that means something.
    """
    several = list(parts) if isinstance(parts, list | tuple) and not _is_pair(parts) else [parts]
    found = [one if _is_pair(one) else (weight, one) for one in several]
    for own, _ in found:
        check_weight(own, name)
    return found


def _is_pair(one: Any) -> bool:
    return (
        isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], Real) and not isinstance(one[0], bool)
    )


def check_weight(weight: Any, name: str) -> None:
    """See that a weight says something.

    Raises:
        UsageError: it is no finite number, or so far from 1 that one of the parts would not count.
    """
    if not isinstance(weight, Real) or not math.isfinite(weight):
        raise UsageError(f"the weight of a query's {name} part must be a finite number, not {weight!r}")
    if not _LIGHTEST <= abs(float(weight)) <= _HEAVIEST:
        raise UsageError(
            f"the weight of a query's {name} part must lie between {_LIGHTEST:g} and {_HEAVIEST:g}, not "
            f"{float(weight):g}; leave out a part that is not to count"
        )


def typed(argument: str, *, words: bool = True) -> tuple[float, str] | str:
    """A part as it is typed with its weight before it, such as ``2:cat``; without one, as it is.

    Args:
        argument: What was typed.
        words: Whether it is words: then no digit follows the colon without a blank, so that "10:30" is a time
            and "16:9" a format. Names of files may begin with one.

    Example:
        >>> typed("2:cat"), typed("0.5: 1984"), typed("10:30 train"), typed("1: 2:cat")
        ((2.0, 'cat'), (0.5, '1984'), '10:30 train', (1.0, '2:cat'))
    """
    found = _TYPED.fullmatch(argument)
    if found is None or not found[2].strip() or (words and found[2][0].isdigit()):
        return argument
    return float(found[1]), found[2].strip()


def typed_words(arguments: Iterable[str]) -> list[tuple[float, str] | str]:
    """Texts as they are typed in words; a weight before a word begins another text.

    Example:
        >>> typed_words(["a", "dog"]), typed_words(["2:red", "car", "0.5:snow"])
        (['a dog'], [(2.0, 'red car'), (0.5, 'snow')])
    """
    texts: list[tuple[float, str] | str] = []
    for argument in arguments:
        one = typed(argument)
        if isinstance(one, tuple) or not texts:
            texts.append(one)
        elif isinstance(texts[-1], tuple):
            texts[-1] = texts[-1][0], f"{texts[-1][1]} {one}"
        else:
            texts[-1] = f"{texts[-1]} {one}"
    return texts
