"""Vectors or scores that are already there, as a data set and the system that gives them back.

Whoever has features or a similarity matrix on disk measures them as anything else is measured: the data set
says which image and text belong together, the system hands on what it is given, and `diptych.evaluate` takes
both.

Example:
    >>> import numpy as np
    >>> from diptych import evaluate
    >>> from diptych.data.given import vectors
    >>> image = np.eye(3)
    >>> print(evaluate(*vectors(image, image[[1, 0, 2]], pairs=np.array([1, 0, 2]))).main())
    {'image to text': 1.0, 'text to image': 1.0}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diptych import metrics
from diptych.core import Floats, Hits, Run, Stage
from diptych.data.base import Dataset, Loaded, Protocol, Split
from diptych.data.incoming import CAPTIONS, labels_of, split_of
from diptych.data.readers import arrays
from diptych.errors import BadData, UnknownName, UsageError
from diptych.similarity import check_lengths, unit

__all__ = ["COMPARED", "Scored", "Vectors", "read_scores", "read_vectors", "scores", "vectors"]

COMPARED = ("cosine", "dot", "hamming")
"""How vectors may be compared."""


class Vectors:
    """An encoder of what is encoded already.

    Args:
        similarity: One of `COMPARED`.

    Raises:
        UnknownName: it is none of them.
    """

    name = "given vectors"

    def __init__(self, similarity: str = "cosine") -> None:
        if similarity not in COMPARED:
            raise UnknownName("similarity of given vectors", similarity, COMPARED)
        self.similarity = similarity

    def encode_image(self, images: Any) -> Floats:
        """The vectors (n, d), of length one if they are compared by cosine.

        Raises:
            BadData: vectors that cannot be compared so, naming the row.
        """
        return self._vectors(images, "image")

    def encode_text(self, texts: Any) -> Floats:
        """See `encode_image`."""
        return self._vectors(texts, "text")

    def _vectors(self, values: Any, side: str) -> Floats:
        values = np.asarray(values)
        if self.similarity == "hamming":
            _check_codes(values, side)
        elif self.similarity == "cosine":
            return unit(values)
        else:
            check_lengths(values, f"{side} row")
        return np.asarray(values, np.float32)


class Scored(Stage):
    """Ranks by a matrix of scores that is there; items are named by their row or column.

    Args:
        values: (images, texts) numbers, larger is better; -inf for what is not ranked.

    Raises:
        BadData: a score that is NaN or infinite, naming row and column, or that single precision cannot hold.
    """

    name = "given scores"
    symmetric = True

    def __init__(self, values: ArrayLike) -> None:
        values = np.asarray(values)
        if values.ndim != 2:
            raise BadData(f"scores must be (images, texts), not of the shape {values.shape}")
        if values.dtype.kind not in "fiub":
            raise BadData(f"scores must be numbers, not {values.dtype}")
        # Whole numbers without a sign cannot be turned round, and large ones are no float32.
        self.values: NDArray[np.float64] = np.asarray(values, np.float64)
        wrong = ~(np.abs(self.values) <= np.finfo(np.float32).max) & ~np.isneginf(self.values)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise BadData(
                f"scores row {row} column {column} is {values[row, column]}, by which nothing can be "
                "ranked; give numbers that single precision holds, and -inf for what is not ranked"
            )

    def scores(self, run: Run, before: Any = None) -> metrics.Matrix:
        """Of the run's queries with its entries, whichever side asks."""
        rows, queries_are = _places(run.queries)
        columns, entries_are = _places(run.gallery)
        if {queries_are, entries_are} != {"image", "text"}:
            raise UsageError("given scores are of images with texts, so one side asks for the other")
        values = self.values if queries_are == "image" else self.values.T
        whole = all(
            np.array_equal(at, np.arange(n)) for at, n in zip((rows, columns), values.shape, strict=True)
        )
        return metrics.Matrix(values if whole else values[np.ix_(rows, columns)])

    def __call__(self, run: Run) -> Run:
        """The run with every entry ranked."""
        rows, ordered = metrics.order(self.scores(run).values)
        return run.with_hits(Hits(rows.astype(np.int64), ordered.astype(np.float32)))


def vectors(
    image: ArrayLike,
    text: ArrayLike,
    *,
    pairs: ArrayLike | None = None,
    captions: int | None = None,
    labels: ArrayLike | None = None,
    text_labels: ArrayLike | None = None,
    similarity: str | None = None,
    name: str = "given",
) -> tuple[Vectors, Dataset]:
    """Vectors as system and data set, for `diptych.evaluate`.

    Args:
        image, text: (n_i, d) and (n_t, d) numbers.
        pairs: (p, 2) image row and text row, or (n_t,) the image row of each text. Without them as many texts
            as images pair up in order, and five times as many are five captions an image, in order.
        captions: Texts of each image, in its order, where there are no pairs.
        labels: Classes of the images in any form of `diptych.data.incoming.labels_of`, to measure MAP by.
        text_labels: Classes of the texts; those of the paired images, if None.
        similarity: "cosine", "dot" or "hamming" (codes of -1/1 or 0/1); None compares by cosine, and codes of
            -1 and 1 by Hamming distance.
        name: Of the data.

    Raises:
        BadData: naming the row of a vector, label or pair that is none.
        UsageError: both pairs and captions.
        UnknownName: the similarity is none of these.
    """
    given = {"image": np.asarray(image), "text": np.asarray(text)}
    dataset = _dataset(given, name, pairs, captions, labels, text_labels)
    split = dataset.split("all")
    widths = [np.shape(side)[1:] for side in (split.image, split.text)]
    if widths[0] != widths[1]:
        raise BadData(f"{name}: image vectors {widths[0]} and text vectors {widths[1]} must have one length")
    return Vectors(similarity or _usual(split)), dataset


def scores(
    values: ArrayLike,
    *,
    pairs: ArrayLike | None = None,
    captions: int | None = None,
    labels: ArrayLike | None = None,
    text_labels: ArrayLike | None = None,
    name: str = "given",
) -> tuple[Scored, Dataset]:
    """A matrix of scores as system and data set, for `diptych.evaluate`.

    Args:
        values: (images, texts), larger is better; -inf for what is not ranked.
        pairs, captions, labels, text_labels, name: As for `vectors`.

    Raises:
        BadData, UsageError: see `Scored` and `vectors`.
    """
    stage = Scored(values)
    images, texts = stage.values.shape
    if pairs is None and captions is None and images == CAPTIONS * texts:
        raise BadData(
            f"{name} has {images} rows and {texts} columns; rows are images and columns texts, so turn the "
            "matrix round if its rows are captions, or say the pairs",
            argument="pairs",
        )
    given = {"image": list(range(images)), "text": list(range(texts))}
    return stage, _dataset(given, name, pairs, captions, labels, text_labels)


def read_vectors(
    files: Sequence[Path],
    *,
    pairs: Path | None = None,
    captions: int | None = None,
    labels: Sequence[Path] = (),
    similarity: str | None = None,
) -> tuple[Vectors, Dataset]:
    """Vectors in files, as `vectors` gives them.

    Args:
        files: One of the images and one of the texts, or a single one with arrays named as
            `diptych.data.readers.arrays` knows them; that may hold pairs and labels, too, and several splits.
        pairs, captions, similarity: See `vectors`.
        labels: A file of the images' classes, and perhaps one of the texts'.

    Raises:
        MissingData: a file is not there.
        BadData: see `vectors`; or a file that lacks an array.
        UsageError: more than two files, or pairs and labels for a file that holds several splits.
    """
    if len(files) not in (1, 2):
        raise UsageError(f"vectors lie in one file or in two, of images and of texts, not in {len(files)}")
    if len(files) == 2:
        given = {side: _array(file, side) for side, file in zip(("image", "text"), files, strict=True)}
        name = "-".join(file.stem for file in files)
    else:
        parts, name = arrays.parts(files[0]), files[0].stem
        if set(parts) != {"all"}:
            if pairs or labels or captions:
                raise UsageError(
                    f"{files[0]} holds the splits {', '.join(parts)}; name pairs and labels inside it"
                )
            dataset = arrays.read(files[0])
            first = dataset.split(dataset.protocol().query)
            return Vectors(similarity or _usual(first)), dataset
        given = dict(parts["all"])
        if lost := {"image", "text"} - set(given):
            raise BadData(f"{files[0]} lacks {' and '.join(sorted(lost))}; it holds {', '.join(given)}")
    return vectors(
        given["image"],
        given["text"],
        similarity=similarity,
        name=name,
        **_more(given, pairs, captions, labels),
    )


def read_scores(
    file: Path, *, pairs: Path | None = None, captions: int | None = None, labels: Sequence[Path] = ()
) -> tuple[Scored, Dataset]:
    """A matrix of scores in a file, alone or called ``scores`` beside pairs and labels.

    Args:
        file, pairs, labels: As for `read_vectors`.
        captions: See `vectors`.

    Raises:
        MissingData, BadData, UsageError: see `read_vectors` and `scores`.
    """
    given = arrays.parts(file).get("all", {})
    return scores(_array(file, "scores"), name=file.stem, **_more(given, pairs, captions, labels))


def _more(
    given: Mapping[str, Any], pairs: Path | None, captions: int | None, labels: Sequence[Path]
) -> dict[str, Any]:
    """Pairs and labels out of files of their own, or else out of the file of the vectors."""
    if len(labels) > 2:
        raise UsageError(f"labels lie in one file of the images and one of the texts, not in {len(labels)}")
    read: list[Any] = [_array(file, "label") for file in labels]
    read = read or [given.get("label"), given.get("text_label")]
    return {
        "pairs": given.get("pairs")
        if pairs is None and captions is None
        else pairs and _array(pairs, "pairs"),
        "captions": captions,
        "labels": read[0],
        "text_labels": read[1] if len(read) > 1 else None,
    }


def _array(file: Path, part: str) -> NDArray[Any]:
    """The array of a file that is called so, or its only one."""
    inside = arrays.load(file)
    if len(inside) == 1:
        return next(iter(inside.values()))
    named = [name for name in inside if arrays.means(name, part)]
    if len(named) != 1:
        raise BadData(f"{file} must hold one array, or one called {part}; it holds {', '.join(inside)}")
    return inside[named[0]]


def _dataset(
    given: Mapping[str, Any],
    name: str,
    pairs: ArrayLike | None,
    captions: int | None,
    labels: ArrayLike | None,
    text_labels: ArrayLike | None,
) -> Loaded:
    if pairs is not None and captions is not None:
        raise UsageError("give either pairs or the number of captions of each image, not both")
    if captions is not None and captions < 1:
        raise UsageError(f"an image has at least 1 caption, not {captions}")
    if labels is None and text_labels is not None:
        raise UsageError("labels of the texts alone match nothing; give those of the images, too")
    known = {"label": ("image", labels), "text_label": ("text", text_labels)}
    told = {part: np.asarray(value) for part, (_, value) in known.items() if value is not None}
    where = {part: f"{name}: {known[part][0]} label" for part in told}
    found, names = labels_of(
        {where[part]: value for part, value in told.items()},
        {where[part]: len(given[known[part][0]]) for part in told},
    )
    split, paired = split_of(
        {**given, **({} if pairs is None else {"pairs": np.asarray(pairs)})},
        name,
        label=found.get(where.get("label", "")),
        text_label=found.get(where.get("text_label", "")),
        captions=captions,
        argument="pairs",
    )
    protocols: dict[str, Protocol] = {}
    if told:
        protocols["labels"] = Protocol("all", "all", "label", train="all", note="what shares a class matches")
    if len(split.pairs):
        protocols["pairs"] = Protocol("all", "all", "pair", train="all", note=f"paired {paired}")
    return Loaded(name, {"all": split}, protocols=protocols, class_names=names)


def _places(items: Sequence[Any]) -> tuple[NDArray[np.int64], str]:
    """Rows or columns that items stand for, and of which side they are."""
    side = "image" if len(items) and items[0].image is not None else "text"
    return np.array([getattr(item, side) for item in items], np.int64), side


def _usual(split: Split) -> str:
    """Codes of -1 and 1 are compared by distance: rounding of a cosine would break their ties."""
    return "hamming" if all(_signs(np.asarray(side)) for side in (split.image, split.text)) else "cosine"


def _signs(values: NDArray[Any]) -> bool:
    return bool((np.abs(values) == 1).all()) and bool((values < 0).any())


def _check_codes(values: NDArray[Any], side: str) -> None:
    low = -1 if (values == -1).any() else 0
    wrong = np.argwhere((values != low) & (values != 1))
    if len(wrong):
        row, column = wrong[0]
        raise BadData(
            f"{side} row {row} holds {values[row, column]} in column {column}, but codes hold -1 and 1, or "
            "0 and 1; unpack packed bits (numpy.unpackbits), and take the sign of real vectors"
        )
