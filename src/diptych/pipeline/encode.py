"""Items as what an encoder or a scorer takes: their vectors, and what they hold on a side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import SIDES, Column, Floats, Item, Rows, Side, encodes, offered
from diptych.errors import UsageError
from diptych.media.ahead import BATCH, Trouble, ahead
from diptych.media.pictures import sized

__all__ = ["Remembered", "contents", "encode", "encode_readable", "holding", "where_held"]


class Remembered(Sequence[Item]):
    """Items that are encoded once, however many stages and directions ask for their vectors.

    Args:
        items: Which must not change meanwhile.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._kept: list[tuple[Any, Side | None, Floats]] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        return self.items[place]

    def vectors(self, encoder: Any, side: Side | None = None) -> Floats:
        """See `encode`."""
        side = side or (self.items.side if isinstance(self.items, Column) else None)
        for kept, of, vectors in self._kept:
            if kept is encoder and of == side:
                return vectors
        vectors = encode(encoder, self.items, side=side)
        self.remember(encoder, side, vectors)
        return vectors

    def remember(self, encoder: Any, side: Side | None, vectors: Floats) -> None:
        """Take vectors (n, d) that are there already."""
        self._kept.append((encoder, side, vectors))


def contents(items: Sequence[Item], side: Side, rows: Rows | None = None) -> Sequence[Any]:
    """What items hold on a side, each looked at once; of a `Column` without looking at any.

    Args:
        items: Queries or entries.
        side: Which side.
        rows: (m,) which of them; all, if None.

    Raises:
        UsageError: one holds nothing there.
    """
    items = items.items if isinstance(items, Remembered) else items
    if isinstance(items, Column) and items.side == side:
        return items.contents if rows is None else items.take(rows)
    found = []
    for item in items if rows is None else (items[int(row)] for row in rows):
        value = getattr(item, side)
        if value is None:
            raise UsageError(f"item {item.id!r} has no {side} to score with")
        found.append(value)
    return found


def where_held(items: Sequence[Item], side: Side, rows: Rows) -> tuple[Sequence[Any], NDArray[np.bool_]]:
    """What those items hold on a side that hold something, each looked at once, and (m,) which they are.

    Args:
        items: Entries.
        side: Which side.
        rows: (m,) which of them.
    """
    inner = items.items if isinstance(items, Remembered) else items
    if isinstance(inner, Column):
        if inner.side != side:
            return [], np.zeros(len(rows), bool)
        return inner.take(rows), np.ones(len(rows), bool)
    found = [getattr(inner[int(row)], side) for row in rows]
    return [one for one in found if one is not None], np.array([one is not None for one in found], bool)


def holding(items: Sequence[Item], side: Side) -> NDArray[np.bool_]:
    """(n,) whether each item holds something on a side, by itself and not by its terms."""
    items = items.items if isinstance(items, Remembered) else items
    if isinstance(items, Column):
        return np.full(len(items), items.side == side)
    return np.array([not item.terms and getattr(item, side) is not None for item in items], bool)


def encode(encoder: Any, items: Sequence[Item], *, side: Side | None = None) -> Floats:
    """Vectors (n, d) of items.

    Args:
        encoder: An `Encoder`, of one side if the items need no more.
        items: Each a picture, a text, both (the sum of the two unit vectors) or a weighted sum of terms.
        side: Take only this side of every item; None takes whatever each has.

    Raises:
        UsageError: an item has nothing on that side, or the encoder does not encode it.
        BadData: vectors that are not finite, naming the encoder and the first one's row.
    """
    if isinstance(items, Remembered):
        return items.vectors(encoder, side)
    if isinstance(items, Column) and side in (None, items.side) and len(items):
        # As a whole: pictures are decoded, and pixels read, batch by batch by whoever encodes them.
        return _encoded(encoder, items.side, items.contents)
    weights: list[float] = []
    owners: list[int] = []
    found: list[tuple[Side, Any]] = []

    def gather(item: Item, owner: int, weight: float) -> None:
        before = len(found)
        for term_weight, term in item.terms:
            gather(term, owner, weight * term_weight)
        for kind in SIDES:
            value = getattr(item, kind)
            if value is not None and side in (None, kind):
                found.append((kind, value))
                owners.append(owner)
                weights.append(weight)
        if len(found) == before:
            raise UsageError(f"item {item.id!r} has no {side or 'image, text or terms'} to encode")

    for owner, item in enumerate(items):
        gather(item, owner, 1.0)

    parts: Floats | None = None
    for kind in SIDES:
        at = [row for row, (of, _) in enumerate(found) if of == kind]
        if not at:
            continue
        vectors = _encoded(encoder, kind, [found[row][1] for row in at])
        if parts is None:
            parts = np.zeros((len(found), *vectors.shape[1:]), dtype=np.float32)
        parts[at] = vectors
    if parts is None:
        return np.zeros((0, 0), dtype=np.float32)
    if len(found) == len(items) and all(weight == 1 for weight in weights):
        return parts
    return _weighted_sums(encoder.similarity, parts, np.asarray(weights, np.float32), owners, len(items))


def encode_readable(encoder: Any, pictures: Sequence[Any]) -> tuple[Floats, Trouble]:
    """Vectors (m, d) of the pictures that can be read, and what is wrong with others.

    Args:
        encoder: Of pictures.
        pictures: n of them, m of which can be read; each is looked at once.
    """
    size = max(int(offered(encoder, "batch_size", BATCH)), 1)
    size *= max(BATCH // size, 1)  # so that the encoder's own batches are what they would be without
    parts: list[Floats] = []
    trouble = Trouble()
    for items, more in ahead(pictures, encoder, size=size):
        trouble |= more
        if items:
            parts.append(_encoded(encoder, "image", items))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32), trouble


def _encoded(encoder: Any, side: Side, values: Sequence[Any]) -> Floats:
    if not encodes(encoder, side):
        raise UsageError(f"{type(encoder).__name__} does not encode {side}s")
    if side == "image":
        values = sized(values, offered(encoder, "image_size"))
    found = np.asarray(getattr(encoder, f"encode_{side}")(values))
    similarity.check_finite(found, f"{type(encoder).__name__}: {side} vector")
    with np.errstate(over="ignore"):
        single = found.astype(np.float32, copy=False)
    if single is not found:
        similarity.check_finite(single, f"{type(encoder).__name__}: in single precision, {side} vector")
    return single


def _weighted_sums(kind: str, parts: Floats, weights: Floats, owners: Sequence[int], n: int) -> Floats:
    if parts.ndim != 2:
        raise UsageError("queries of several parts need one vector a part; this system gives one a token")
    if kind == "cosine":
        parts = similarity.unit(parts)
    sums = np.zeros((n, parts.shape[1]), dtype=np.float32)
    np.add.at(sums, np.asarray(owners), parts * weights[:, None])
    if kind == "cosine":
        return similarity.unit(sums)
    return np.where(sums > 0, np.float32(1), np.float32(-1)) if kind == "hamming" else sums
