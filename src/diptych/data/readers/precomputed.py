"""Reads the precomputed features of VSE++, SCAN and their like: ``train_ims.npy`` and ``train_caps.txt``.

A split is an array of features of pictures and a text of captions, one a line, the same number for each
picture. Where the array holds a row for each caption, as VSE++ has it, a picture's rows are one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.base import Dataset, Split, paired_in_order
from diptych.data.reading import Read, common_name, split_names
from diptych.errors import BadData
from diptych.media.tables import lines

__all__ = ["FORM", "read", "recognises"]

FORM = "precomputed features with captions (train_ims.npy, train_caps.txt)"

_IMAGES, _CAPTIONS, _IDS = "_ims.npy", "_caps.txt", "_ids.txt"


def recognises(path: Path) -> bool:
    """Whether the path is a folder with both files of a split."""
    return path.is_dir() and any(_both(path, name) for name in _names(path))


def read(path: Path) -> Dataset:
    """The folder as a data set; a split of which one file is missing is left out and counted in the report.

    Raises:
        BadData: a file is damaged, or the captions of a split do not share out among its pictures.
    """
    whole = [name for name in _names(path) if _both(path, name)]
    ordered = [*split_names(whole), *(name for name in whole if name not in split_names(whole))]
    found = Read(path.name, {common_name(name): _split(path, name) for name in ordered})
    halves = [f"{name}{_IMAGES}" for name in _names(path) if name not in whole]
    found.report.leave("files", "has no captions beside it", *halves)
    return found


def _names(folder: Path) -> list[str]:
    return sorted(one.name.removesuffix(_IMAGES) for one in folder.glob(f"*{_IMAGES}"))


def _both(folder: Path, name: str) -> bool:
    return (folder / f"{name}{_CAPTIONS}").is_file()


def _split(folder: Path, name: str) -> Split:
    file = folder / f"{name}{_IMAGES}"
    try:
        features: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadData(f"{file} cannot be read ({error})") from error
    captions = [line.strip() for line in _lines(folder / f"{name}{_CAPTIONS}")]
    if features.ndim < 2 or not len(features) or not captions or len(captions) % len(features):
        raise BadData(
            f"{folder}: split {name!r} has an array of shape {features.shape} and {len(captions)} captions; "
            "each picture must have the same number of captions"
        )
    each = len(captions) // len(features)
    if each == 1 and (repeated := _repeated(features)) > 1:
        features, each = features[::repeated], repeated
    ids = folder / f"{name}{_IDS}"
    text_id = [line.strip() for line in _lines(ids)] if ids.is_file() else []
    return Split(
        np.ascontiguousarray(features, np.float32).reshape(len(features), -1),
        captions,
        None,
        paired_in_order(len(features), each),
        text_id=text_id if len(text_id) == len(captions) else None,
    )


def _repeated(features: NDArray[Any]) -> int:
    """How often each row stands there in a run: 5 where the array has a row for each of five captions."""
    if len(features) % 5 or len(features) < 10:
        return 1
    first = features[::5]
    return 5 if all(np.array_equal(first, features[shift::5]) for shift in range(1, 5)) else 1


def _lines(path: Path) -> list[str]:
    try:
        return lines(path)
    except BadData as error:
        raise BadData(f"{path} {error}") from error
