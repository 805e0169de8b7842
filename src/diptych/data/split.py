"""One part of a data set: two sides, who belongs to whom, and what each shows; and ways to build it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diptych.core import Column, Floats, Rows, Side
from diptych.data.contents import contents_sha256
from diptych.data.pictures import Absent, Pictures
from diptych.errors import BadData, UsageError

__all__ = [
    "InputKind",
    "Labels",
    "Side",
    "Split",
    "captioned",
    "concat",
    "features",
    "input_kind",
    "multi_hot",
    "paired_in_order",
]

Labels = NDArray[np.uint8]
InputKind = Literal["features", "pixels", "tokens"]
"""What an array holds, see `input_kind`."""

_BLOCK = 1 << 22  # entries looked at together, so that a large array is not copied as booleans


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set: two sides, who belongs to whom, and what each shows.

    Args:
        image: n_i pictures (a `Pictures`, or any sequence of paths or PIL pictures), or features (n_i, d)
            float32, or pixels (n_i, 3, h, w) uint8; `Absent` where they are not to be had.
        text: n_t strings, or features (n_t, d) float32, or numbers of word pieces (n_t, length) uint32.
        label: (n_i, C) uint8, 1 where the image shows the class; None without classes.
        pairs: (p, 2) int64, image row and text row of each true pair.
        text_label: (n_t, C) uint8; what the paired images show, when not given.
        image_id: Name of each image in the original set; its row number, when not given.
        text_id: Likewise for texts.
        positives: (r, 2) int64, every image and text that count as a match; `pairs`, when not given. More
            than `pairs` where the same caption describes several images.

    Raises:
        BadData: naming the part whose shape does not fit the others; or the side and row of a feature that is
            not finite, and the row and value of a label that is neither 0 nor 1.
    """

    image: Sequence[Any] | Floats
    text: Sequence[Any] | Floats
    label: Labels | None
    pairs: Rows
    text_label: Labels | None = None
    image_id: Sequence[str] | None = None
    text_id: Sequence[str] | None = None
    positives: Rows | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # the class is frozen for everybody else
        for side in ("image", "text"):
            value = getattr(self, side)
            if isinstance(value, np.ndarray):
                if value.ndim < 2:
                    raise BadData(f"{side} features must be (n, d), not {value.shape}")
                if input_kind(value) == "features":
                    checked = features(value, f"{side} features")
                    put(self, side, np.ascontiguousarray(checked, np.float32))
        images, texts = len(self.image), len(self.text)
        put(self, "pairs", _pairs("pairs", self.pairs, images, texts))
        if self.positives is None:
            put(self, "positives", self.pairs)
        else:
            put(self, "positives", _pairs("positives", self.positives, images, texts))
        if self.label is not None:
            put(self, "label", _labels("label", self.label, images))
            if self.text_label is None:
                put(self, "text_label", _through(self.label, self.pairs, texts))
        if self.text_label is not None:
            put(self, "text_label", _labels("text_label", self.text_label, texts))
        for part, count in (("image_id", images), ("text_id", texts)):
            ids = getattr(self, part)
            ids = tuple(map(str, range(count) if ids is None else ids))
            if len(ids) != count:
                raise BadData(f"{part} has {len(ids)} entries for {count} rows")
            put(self, part, ids)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image)

    def __repr__(self) -> str:
        classes = f", {self.label.shape[1]} classes" if self.label is not None else ""
        return f"<Split: {len(self.image)} images, {len(self.text)} texts, {len(self.pairs)} pairs{classes}>"

    def sha256(self) -> str:
        """Fingerprint over ids, labels and pairs: the same split has the same one, whatever its features.

        It says which part of which data set this is; `fingerprint` says all that is in it.
        """
        digest = hashlib.sha256()
        for ids in (self.image_id, self.text_id):
            joined = "\0".join(ids or ())
            digest.update(f"{len(ids or ())}:{joined};".encode())
        for part in (self.label, self.text_label, self.pairs, self.positives):
            if part is None:
                digest.update(b"none;")
                continue
            digest.update(f"{part.shape}{part.dtype.str[1:]};".encode())
            digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex digits, over all of it: ids, labels, pairs, positives, what both sides hold.

        Two splits have the same one only if nothing tells them apart: not one feature, pixel, token or
        letter (see `contents_sha256`). It costs reading all of that, once an object, at the speed of memory
        for arrays and of the disk for pictures; so an array must not be changed in place afterwards.

        Raises:
            ImageError: a picture's file cannot be read.
        """
        parts = [self.sha256(), contents_sha256(self.image, "image"), contents_sha256(self.text, "text")]
        return hashlib.sha256(";".join(parts).encode()).hexdigest()

    def select(self, images: ArrayLike, texts: ArrayLike) -> Split:
        """The rows given of each side, in that order, and the pairs whose both ends are among them."""
        image_rows, text_rows = np.asarray(images, np.int64), np.asarray(texts, np.int64)
        assert self.positives is not None
        return Split(
            image=_rows(self.image, image_rows),
            text=_rows(self.text, text_rows),
            label=None if self.label is None else self.label[image_rows],
            pairs=_renumber(self.pairs, image_rows, text_rows, len(self.image), len(self.text)),
            text_label=None if self.text_label is None else self.text_label[text_rows],
            image_id=_rows(self.image_id or (), image_rows),
            text_id=_rows(self.text_id or (), text_rows),
            positives=None
            if self.positives is self.pairs
            else _renumber(self.positives, image_rows, text_rows, len(self.image), len(self.text)),
        )

    def take(self, images: ArrayLike) -> Split:
        """The images given, in that order, with the texts that are paired with them."""
        rows = np.asarray(images, np.int64)
        place = np.full(len(self.image), -1, np.int64)
        place[rows] = np.arange(len(rows))
        kept = self.pairs[place[self.pairs[:, 0]] >= 0]
        kept = kept[np.argsort(place[kept[:, 0]], kind="stable")]
        return self.select(rows, list(dict.fromkeys(kept[:, 1].tolist())))

    def captions(self, count: int) -> Split:
        """The same images with the first `count` texts of each (the field counts five captions)."""
        order = np.argsort(self.pairs[:, 0], kind="stable")
        image = self.pairs[order, 0]
        rank = np.arange(len(image)) - np.searchsorted(image, image)
        kept = self.pairs[np.sort(order[rank < count]), 1]
        return self.select(np.arange(len(self.image)), list(dict.fromkeys(kept.tolist())))

    def folds(self, count: int) -> list[Split]:
        """As many disjoint parts, of neighbouring images and their texts; COCO's "1K" is 5 folds of 5,000."""
        if not 1 <= count <= len(self.image):
            raise UsageError(f"{len(self.image)} images cannot be cut into {count} folds")
        return [self.take(rows) for rows in np.array_split(np.arange(len(self.image)), count)]

    def items(self, side: Side) -> Column:
        """That side as items; a picture is decoded when its item is looked at."""
        values, ids = getattr(self, side), getattr(self, f"{side}_id")
        return Column(side, values, ids, take=lambda rows: _rows(values, rows))


def features(values: NDArray[Any], where: str) -> NDArray[Any]:
    """The array, once every number of it is one that single precision can hold.

    Args:
        values: (n, ...) numbers of any type.
        where: What it is, to begin the error with ("f.npz: train image").

    Raises:
        BadData: naming the first row that is not finite, or whose numbers leave single precision.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        kind = "words" if values.dtype.kind in "USO" else str(values.dtype)
        raise BadData(f"{where} must be numbers, not {kind}")
    if values.ndim < 2:
        raise BadData(f"{where} must have a row for each item, (n, d), not the shape {values.shape}")
    if values.dtype.kind != "f":
        return values
    most = values.dtype.type(min(np.finfo(np.float32).max, np.finfo(values.dtype).max))
    least = float(np.finfo(np.float32).tiny) if values.dtype.itemsize > 4 else 0.0
    step = max(1, _BLOCK // max(int(np.prod(values.shape[1:])), 1))
    for start in range(0, len(values), step):
        block = values[start : start + step].reshape(len(values[start : start + step]), -1)
        fit = np.abs(block) <= most  # False for NaN, too
        if not fit.all():
            row = int(np.flatnonzero(~fit.all(axis=1))[0])
            value = block[row][~fit[row]][0]
            what = "holds" if np.isfinite(value) else "is not finite: it holds"
            more = ", which single precision cannot hold; scale the features" if np.isfinite(value) else (
                "; leave the row out, or compute its features again"
            )  # fmt: skip
            raise BadData(f"{where} row {start + row} {what} {value}{more}")
        if not least:
            continue
        lost = (block != 0).any(axis=1) & ~(np.abs(block) >= least).any(axis=1)
        if lost.any():
            row = int(lost.argmax())
            raise BadData(
                f"{where} row {start + row} holds only numbers below {least:.0e}, which single precision "
                "cannot hold; scale the features"
            )
    return values


def captioned(
    images: Sequence[Any],
    captions: Sequence[Sequence[str]],
    *,
    labels: Sequence[Sequence[str]] | None = None,
    class_names: Sequence[str] = (),
    image_id: Sequence[str] | None = None,
    text_id: Sequence[str] | None = None,
) -> Split:
    """A split of pictures with any number of captions each.

    Args:
        images: n pictures.
        captions: The captions of each.
        labels: The classes of each, out of `class_names`; None without classes.
        class_names: All classes, in the order of the label columns.
        image_id, text_id: Names of the rows; texts are counted through all captions.

    Raises:
        BadData: if a label is not among `class_names`.
    """
    pairs = [(row, text) for row, texts in enumerate(captions) for text in texts]
    label = None
    if labels is not None:
        column = {name: number for number, name in enumerate(class_names)}
        strange = next((name for row in labels for name in row if name not in column), None)
        if strange is not None:
            raise BadData(f"the label {strange!r} is not one of the {len(column)} classes")
        label = multi_hot([[column[name] for name in row] for row in labels], len(column))
    rows = np.array([row for row, _ in pairs], np.int64)
    return Split(
        image=images,
        text=[text for _, text in pairs],
        label=label,
        pairs=np.stack([rows, np.arange(len(rows), dtype=np.int64)], axis=1),
        image_id=image_id,
        text_id=text_id,
    )


def paired_in_order(count: int, each: int = 1) -> Rows:
    """Pairs (count * each, 2) of images with `each` texts apiece, both in order."""
    texts = np.arange(count * each, dtype=np.int64)
    return np.stack([texts // each, texts], axis=1)


def multi_hot(numbers: Sequence[Any] | NDArray[Any], classes: int) -> Labels:
    """(n, classes) uint8 from one class number, or a sequence of class numbers, a row.

    Raises:
        BadData: naming the row of a number that is not whole, or not below `classes`.
    """
    hot = np.zeros((len(numbers), classes), np.uint8)
    for row, value in enumerate(numbers):
        for number in np.atleast_1d(np.asarray(value)).tolist():
            if not isinstance(number, int | float) or not 0 <= number < classes or number != int(number):
                raise BadData(f"row {row} has class {number}, but there are {classes} classes (0, 1, 2 ...)")
            hot[row, int(number)] = 1
    return hot


def hold_out(split: Split) -> tuple[Split, Split]:
    """Nine images in ten and the tenth, each with its texts, drawn with seed 0."""
    order = np.random.default_rng(0).permutation(len(split))
    held = max(1, len(split) // 10)
    return split.take(np.sort(order[held:])), split.take(np.sort(order[:held]))


def concat(parts: Sequence[Split]) -> Split:
    """The splits one below the other.

    Raises:
        BadData: if some have labels and others do not, or of different classes.
    """
    labelled = [part for part in parts if part.label is not None]
    widths = {part.label.shape[1] for part in labelled if part.label is not None}
    if len(widths) > 1 or (labelled and len(labelled) < len(parts)):
        raise BadData(f"these splits cannot be joined: their numbers of classes differ ({sorted(widths)})")
    images = np.cumsum([0, *(len(part.image) for part in parts)])
    texts = np.cumsum([0, *(len(part.text) for part in parts)])
    shifts = [np.array([image, text]) for image, text in zip(images, texts, strict=True)]

    def joined(name: str) -> Any:
        return _joined([getattr(part, name) for part in parts])

    extra = any(part.positives is not part.pairs for part in parts)
    return Split(
        image=joined("image"),
        text=joined("text"),
        label=joined("label") if labelled else None,
        pairs=np.concatenate([part.pairs + shift for part, shift in zip(parts, shifts, strict=False)]),
        text_label=joined("text_label") if all(part.text_label is not None for part in parts) else None,
        image_id=joined("image_id"),
        text_id=joined("text_id"),
        positives=np.concatenate([p.positives + shift for p, shift in zip(parts, shifts, strict=False)])
        if extra
        else None,
    )


def _joined(values: Sequence[Any]) -> Any:
    if all(isinstance(value, np.ndarray) for value in values):
        return np.concatenate(values)
    if all(isinstance(value, Pictures) for value in values) or all(isinstance(v, Absent) for v in values):
        return sum(values[1:], values[0])
    return [one for value in values for one in value]


def _rows(values: Any, rows: NDArray[np.int64]) -> Any:
    if isinstance(values, np.ndarray | Pictures | Absent):
        return values[rows]
    return [values[row] for row in rows.tolist()]


def input_kind(value: NDArray[Any]) -> InputKind:
    """What an array holds.

    Pixels are (n, 3, h, w) uint8 and tokens (n, length) uint32; every other array, of integers too (counts of
    words), holds features.
    """
    if value.ndim == 4 and value.dtype == np.uint8:
        return "pixels"
    return "tokens" if value.ndim == 2 and value.dtype == np.uint32 else "features"


def _renumber(pairs: Rows, images: Rows, texts: Rows, n_images: int, n_texts: int) -> Rows:
    """The pairs with both ends among the rows given, in new row numbers, ordered by image, then text."""
    new_image, new_text = np.full(n_images, -1, np.int64), np.full(n_texts, -1, np.int64)
    new_image[images], new_text[texts] = np.arange(len(images)), np.arange(len(texts))
    new = np.stack([new_image[pairs[:, 0]], new_text[pairs[:, 1]]], axis=1)
    new = new[(new >= 0).all(axis=1)]
    return new[np.lexsort((new[:, 1], new[:, 0]))]


def _pairs(name: str, pairs: Rows, images: int, texts: int) -> Rows:
    pairs = np.asarray(pairs, np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise BadData(f"{name} must be (p, 2), not {pairs.shape}")
    if len(pairs) and (pairs.min() < 0 or (pairs.max(axis=0) >= (images, texts)).any()):
        raise BadData(f"{name} name rows that do not exist: there are {images} images and {texts} texts")
    return pairs


def _labels(name: str, label: Labels, rows: int) -> Labels:
    label = np.asarray(label)
    if label.ndim != 2 or len(label) != rows:
        raise BadData(f"{name} must be ({rows}, classes), not {label.shape}")
    wrong: Rows = np.argwhere(~((label == 0) | (label == 1)))
    if len(wrong):
        row, column = wrong[0]
        raise BadData(
            f"{name} row {row} holds {label[row, column]} in column {column}, but only 0 and 1; "
            "diptych.data.incoming.class_labels reads -1/1, class numbers and names"
        )
    return np.ascontiguousarray(label, np.uint8)


def _through(label: Labels, pairs: Rows, texts: int) -> Labels:
    """What the images paired with each text show."""
    derived = np.zeros((texts, label.shape[1]), np.uint8)
    np.maximum.at(derived, pairs[:, 1], label[pairs[:, 0]])
    return derived
