"""Arrays that come from outside: features, class labels and pairs, refused where they are not what they seem.

A number that is silently misread gives a result that looks like any other. So whatever brings arrays into a
data set passes them through here, and what is wrong is named with its row and its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.data.split import Labels, Split, features, paired_in_order
from diptych.errors import BadData

__all__ = ["CAPTIONS", "class_labels", "labels_of", "pairs_of", "split_of"]

CAPTIONS = 5
"""Texts an image that need not be said: the number of the caption data sets."""

# More classes than these are names or numbers of the items themselves.
_MOST_CLASSES = 100_000


def labels_of(
    given: Mapping[str, NDArray[Any]], rows: Mapping[str, int]
) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """Labels of several arrays over the same classes, as 0/1 columns.

    Each may be columns of 0/1 (or bool, or -1/1), class numbers from 0 or from 1, or names of classes; one
    beginning serves all. A class number of -1, and None among numbers or names, is an item without a class.

    Args:
        given: Arrays by what they are ("f.npz: train label"), for errors.
        rows: Items that each array labels, under the same names.

    Returns:
        (n, C) uint8 by name, and the names of the classes, if names were given.

    Raises:
        BadData: naming the first row and value that are neither, or arrays that do not fit each other.
    """
    wide = {name: _columns(np.asarray(value), rows[name]) for name, value in given.items()}
    for name, value in wide.items():
        if value is not None and len(value) != rows[name]:
            raise BadData(
                f"{name} must have a row for each of the {rows[name]} items, not the shape {value.shape}"
            )
    hot = {name: _hot(value, name) for name, value in wide.items() if value is not None}
    widths = {value.shape[1] for value in hot.values()}
    if len(widths) > 1:
        counts = ", ".join(f"{name} {value.shape[1]}" for name, value in hot.items())
        raise BadData(f"labels must have the same columns everywhere, not of different number: {counts}")
    single = {name: _one_each(np.asarray(given[name])) for name, value in wide.items() if value is None}
    for name, value in single.items():
        if len(value) != rows[name]:
            raise BadData(f"{name} has {len(value)} entries for {rows[name]} items; each item needs one")
    numbers, names = _class_numbers(single)
    classes = (
        widths.pop() if widths else max((int(n.max(initial=-1)) + 1 for n in numbers.values()), default=0)
    )
    if classes > _MOST_CLASSES:
        raise BadData(
            f"{next(iter(single))} would have {classes:,} classes, at most {_MOST_CLASSES:,} are taken"
        )
    if hot and names:
        raise BadData("labels must be columns or names of classes everywhere, not one here and one there")
    for name, value in numbers.items():
        if len(beyond := np.flatnonzero(value >= classes)):
            row = int(beyond[0])
            raise BadData(f"{name} row {row} is class {value[row]}, but there are {classes} classes (from 0)")
        hot[name] = np.zeros((len(value), classes), np.uint8)
        labelled = np.flatnonzero(value >= 0)
        hot[name][labelled, value[labelled]] = 1
    return {name: hot[name] for name in given}, names


def class_labels(label: NDArray[Any], rows: int, where: str) -> Labels:
    """(n, C) uint8 of the labels of n items in any of the forms of `labels_of`.

    Raises:
        BadData: see `labels_of`.
    """
    return labels_of({where: label}, {where: rows})[0][where]


def _one_each(label: NDArray[Any]) -> NDArray[Any]:
    """One class an item, (n,); of numbers among which None stands, -1 for that."""
    flat = label.reshape(-1)
    if flat.dtype.kind != "O":
        return flat
    absent = np.array([value is None for value in flat.tolist()], bool)
    said = np.array(flat[~absent].tolist())
    if said.dtype.kind not in "fiub" or said.ndim != 1 or not absent.any():
        return flat
    found = np.full(len(flat), -1, np.result_type(said, np.int8))
    found[~absent] = said
    return found


def _class_numbers(given: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Class numbers from 0, -1 for none, of arrays of class numbers or of names; and those names.

    Args:
        given: Arrays (n,) by what they are.

    Raises:
        BadData: naming the first row and value that is no class.
    """
    if not given:
        return {}, ()
    worded = {name: value for name, value in given.items() if value.dtype.kind in "USO"}
    if len(worded) == len(given):
        words = {name: _words(value, name) for name, value in worded.items()}
        names = sorted({word for value in words.values() for word in value if word is not None})
        place: dict[str | None, int] = {word: number for number, word in enumerate(names)} | {None: -1}
        return {k: np.array([place[one] for one in v], np.int64) for k, v in words.items()}, tuple(names)
    if worded:
        raise BadData(
            f"{next(iter(worded))} holds words, while other labels are class numbers; give one form"
        )
    numbers = {name: _whole(value, name) for name, value in given.items()}
    everything = np.concatenate(list(numbers.values()))
    classes = everything[everything >= 0]
    if (everything < 0).any() and set(np.unique(everything).tolist()) <= {-1, 1}:
        raise BadData(
            f"{next(iter(given))} holds only -1 and 1: give two classes as 0 and 1, and -1 only for items "
            "without a class"
        )
    first = min(int(classes.min(initial=1)), 1)
    return {name: np.where(value < 0, -1, value - first) for name, value in numbers.items()}, ()


def pairs_of(
    images: int,
    texts: int,
    pairs: NDArray[Any] | None = None,
    *,
    captions: int | None = None,
    where: str = "pairs",
    argument: str = "",
) -> tuple[Rows, str]:
    """Which image and text belong together.

    Args:
        images, texts: How many there are.
        pairs: (p, 2) image row and text row, or (texts,) the image row of each text; rows count from 0.
        captions: Texts of each image, which stand in its order one image after the other.
        where: What `pairs` is, to begin an error with.
        argument: What says the pairs, for an error that asks for them, see `diptych.errors.DiptychError`.

    Returns:
        (p, 2) image row and text row, and a sentence of how they were found. Where nothing is said, as many
        texts as images pair up in order, and five times as many are five captions an image, in order.

    Raises:
        BadData: what is given does not fit, or nothing is given and the numbers leave it open.
    """
    if pairs is not None:
        return _given_pairs(np.asarray(pairs), images, texts, where), "as given"
    if captions is not None:
        if images * captions != texts:
            raise BadData(
                f"{images} images with {captions} captions each need {images * captions} texts, not {texts}"
            )
        return paired_in_order(images, captions), f"{captions} texts an image, in order"
    if images == texts:
        return paired_in_order(images), "in order"
    if images and texts == CAPTIONS * images:
        return paired_in_order(images, CAPTIONS), f"{CAPTIONS} texts an image, in order"
    raise BadData(
        f"{images} images and {texts} texts do not pair up by themselves; say which belong together: pairs "
        "of image row and text row, or the number of captions of each image",
        argument=argument,
    )


def split_of(
    given: Mapping[str, Any],
    where: str,
    *,
    label: Labels | None = None,
    text_label: Labels | None = None,
    captions: int | None = None,
    argument: str = "",
) -> tuple[Split, str]:
    """A split of arrays, and a sentence of how its pairs were found.

    Args:
        given: "image" and "text", n_i and n_t rows of features (anything but an array is taken as it is),
            and, if there are any, "pairs", "image_id" and "text_id".
        where: Begins the errors ("f.npz: train").
        label, text_label: (n, C) of both sides.
        captions, argument: See `pairs_of`.

    Raises:
        BadData: see `diptych.data.split.features` and `pairs_of`.
    """
    sides = {
        side: features(given[side], f"{where} {side}") if isinstance(given[side], np.ndarray) else given[side]
        for side in ("image", "text")
    }
    images, texts = len(sides["image"]), len(sides["text"])
    if not images or not texts:
        raise BadData(f"{where} has {images} images and {texts} texts; it needs some of each")
    ids = {name: [str(one) for one in given[name]] for name in ("image_id", "text_id") if name in given}
    asked = given.get("pairs") is not None or captions is not None
    if not asked and label is not None and text_label is not None and images != texts:
        pairs, found = np.zeros((0, 2), np.int64), "none: what shares a class belongs together"
    else:
        if not asked and images == texts:
            _refuse_repeated(sides["image"], where, argument)
        pairs, found = pairs_of(
            images, texts, given.get("pairs"), captions=captions, where=f"{where} pairs", argument=argument
        )
    return Split(sides["image"], sides["text"], label, pairs, text_label=text_label, **ids), found  # type: ignore[arg-type]


def _refuse_repeated(image: Any, where: str, argument: str) -> None:
    """Refuse images that stand once for each of their captions: pairs in order would make each its own."""
    count = len(image)
    if not isinstance(image, np.ndarray) or count % CAPTIONS or count < 2 * CAPTIONS:
        return
    if all(np.array_equal(image[0::CAPTIONS], image[at::CAPTIONS]) for at in range(1, CAPTIONS)):
        raise BadData(
            f"{where} image repeats each row {CAPTIONS} times, once a caption, so no image has one place; "
            f"keep each once (image[::{CAPTIONS}]), or give the pairs",
            argument=argument,
        )


def _given_pairs(pairs: NDArray[Any], images: int, texts: int, where: str) -> Rows:
    if pairs.ndim == 2 and 1 in pairs.shape and pairs.shape != (1, 2):
        pairs = pairs.reshape(-1)
    if pairs.ndim == 1 and len(pairs) == texts:
        rows = _whole(pairs, where)
        pairs = np.stack([rows, np.arange(texts)], axis=1)
    elif pairs.ndim != 2 or pairs.shape[1] != 2:
        raise BadData(
            f"{where} must be (p, 2), image row and text row, or the image row of each of the {texts} texts, "
            f"not of the shape {pairs.shape}"
        )
    else:
        pairs = _whole(pairs.reshape(-1), where).reshape(-1, 2)
    for column, side, count in ((0, "image", images), (1, "text", texts)):
        bad = np.flatnonzero((pairs[:, column] < 0) | (pairs[:, column] >= count))
        if len(bad):
            row = int(bad[0])
            raise BadData(
                f"{where} row {row} names {side} {pairs[row, column]}, but there are {count} {side}s, "
                "counted from 0"
            )
    if not len(pairs):
        raise BadData(f"{where} lists no pair, so there is nothing to find")
    return np.unique(pairs, axis=0)


def _columns(label: NDArray[Any], rows: int) -> NDArray[Any] | None:
    """The array, if it is a matrix of items by classes; None if it is one class an item."""
    if label.ndim < 2 or (label.ndim == 2 and 1 in label.shape and not (len(label) == rows == 1)):
        return None
    return None if label.shape == (1, 1) else label


def _hot(label: NDArray[Any], where: str) -> Labels:
    """0/1 of columns of 0/1, bool or -1/1."""
    if label.ndim != 2 or label.dtype.kind not in "fiub":
        raise BadData(
            f"{where} must be class numbers or names (n,), or 0/1 columns (n, C), not {_kind(label)} "
            f"of the shape {label.shape}"
        )
    signs = bool(label.size) and bool(((label == 1) | (label == -1)).all()) and bool((label == -1).any())
    bad = np.argwhere(~((label == 0) | (label == 1))) if not signs else np.zeros((0, 2), np.int64)
    if len(bad):
        row, column = bad[0]
        raise BadData(
            f"{where} row {row} holds {label[row, column]} in column {column}; columns hold 0 and 1 (or -1 "
            "and 1 throughout), and class numbers stand in one column"
        )
    return (label > 0).astype(np.uint8)


def _whole(values: NDArray[Any], where: str) -> Rows:
    """Whole numbers of at least -1."""
    if values.dtype.kind not in "fiub":
        raise BadData(f"{where} must hold whole numbers, not {_kind(values)}")
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~((values == np.floor(values)) & (values >= -1) & (values < 2**31)))
    if len(bad):
        raise BadData(
            f"{where} row {bad[0]} is {values[bad[0]]}, which is no row or class number (0, 1, 2 ...)"
        )
    return values.astype(np.int64)


def _words(values: NDArray[Any], where: str) -> Sequence[str | None]:
    """Names of classes, None for none."""
    words = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in values.tolist()]
    for row, word in enumerate(words):
        if word is not None and (not isinstance(word, str) or not word.strip()):
            raise BadData(f"{where} row {row} is {word!r}, which names no class")
    return [word if word is None else word.strip() for word in words]


def _kind(values: NDArray[Any]) -> str:
    return "words" if values.dtype.kind in "USO" else str(values.dtype)
