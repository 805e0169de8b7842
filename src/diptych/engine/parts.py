"""Parts of a query: their own weights, as they are typed, and parts that the collection has vectors of."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from diptych.core import SIDES, Floats, Item, Side, encodes
from diptych.engine.gallery import item_of, rows_named
from diptych.engine.homes.base import Home, Vectors
from diptych.errors import CollectionError, UsageError
from diptych.pipeline import encode
from diptych.printable import type_of

__all__ = [
    "Part",
    "Parts",
    "check_weight",
    "liked",
    "recalled",
    "typed",
    "typed_words",
    "vectors_of",
    "weighted",
]

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
        isinstance(one, tuple)
        and len(one) == 2
        and isinstance(one[0], int | float | np.number)
        and not isinstance(one[0], bool)
    )


def check_weight(weight: Any, name: str) -> None:
    """See that a weight says something.

    Raises:
        UsageError: it is no finite number, or so far from 1 that one of the parts would not count.
    """
    if not isinstance(weight, int | float | np.number) or not math.isfinite(weight):
        raise UsageError(f"the weight of a query's {name} part must be a finite number, not {weight!r}")
    if not _LIGHTEST <= abs(float(weight)) <= _HEAVIEST:
        raise UsageError(
            f"the weight of a query's {name} part must lie between {_LIGHTEST:g} and {_HEAVIEST:g}, not "
            f"{weight:g}; leave out a part that is not to count"
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


def liked(home: Home, name: str | Path, folder: Path) -> Item:
    """What the collection has of a file, to be asked with by its stored vectors: the picture, or the texts.

    Args:
        home: Holds it.
        name: The file, or its `id` in results.
        folder: Of the collection, for errors.

    Raises:
        UsageError: it is not in the collection; the nearest names are told.
    """
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"what is in the collection is named by its path, not by {type_of(name)}")
    if rows := rows_named(home, name):
        items = [item_of(stored) for stored in home.items(rows)]
        if items[0].meta["side"] == "image":
            return recalled(items[0])
        terms = tuple((1 / len(items), recalled(item)) for item in items)
        return terms[0][1] if len(terms) == 1 else Item(terms=terms)
    names = {one for side in SIDES for one in home.ids(side)}
    near = difflib.get_close_matches(os.fspath(name), names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "name it as results do, by its path from there."
    raise UsageError(f"{folder} has no {os.fspath(name)!r} indexed; {hint}")


def recalled(item: Item) -> Item:
    """An item of the collection as a query that is its stored vector; see `vectors_of`."""
    # A picture that a program gave has no file, so that its name stands for it.
    image = item.image or (item.id if item.meta.get("side") == "image" else None)
    text = None if image is not None else item.text
    return Item(item.id, image=image, text=text, meta={**item.meta, "recalled": True})


def vectors_of(encoder: Any, items: Sequence[Item], home: Home) -> Floats:
    """Vectors (n, d) of queries; those that the collection has already are not made again.

    Raises:
        CollectionError: one was removed meanwhile.
    """
    sides: dict[Side, Vectors] = {}

    def known(item: Item) -> Item:
        if item.terms:
            return Item(item.id, terms=tuple((weight, known(term)) for weight, term in item.terms))
        if not item.meta.get("recalled"):
            return item
        side, row = item.meta["side"], np.array([item.meta["row"]], np.int64)
        if side not in sides:
            sides[side] = home.vectors_now(side)
        vectors = sides[side]
        if not np.isin(row, vectors.rows).all():
            raise CollectionError(f"{item.id} has no vector in the collection any more; index it again")
        return Item(item.id, image=_Vector(vectors.of(row)[0]))

    if not any(map(_has_recalled, items)):
        return encode(encoder, items)
    with home.snapshot():
        asked = [known(item) for item in items]
    return encode(_Recalling(encoder), asked)


def _has_recalled(item: Item) -> bool:
    return bool(item.meta.get("recalled")) or any(_has_recalled(term) for _, term in item.terms)


class _Vector:
    """Stands for a picture whose vector (d,) is known."""

    def __init__(self, vector: Floats) -> None:
        self.vector = vector


class _Recalling:
    """An encoder that is given some vectors ready-made."""

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.similarity = encoder, encoder.similarity
        if encodes(encoder, "text"):
            self.encode_text = encoder.encode_text

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) of pictures and of what stands for one."""
        fresh = [image for image in images if not isinstance(image, _Vector)]
        made = iter(np.asarray(self._encoder.encode_image(fresh), np.float32) if fresh else ())
        return np.stack([image.vector if isinstance(image, _Vector) else next(made) for image in images])
