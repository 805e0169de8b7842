"""Parts of a query that the collection has vectors of; `diptych.engine.weights` has their weights."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import SIDES, Floats, Item, Side, encodes
from diptych.engine.gallery import item_of, rows_named
from diptych.engine.homes.base import Home, Vectors
from diptych.errors import CollectionError, UsageError
from diptych.pipeline import encode
from diptych.printable import type_of

__all__ = ["liked", "recalled", "vectors_of"]


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
