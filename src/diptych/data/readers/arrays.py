"""Reads feature files: ``.npz``, ``.npy``, MATLAB ``.mat`` (old and HDF5) and ``.h5``, and folders of them.

The papers of the field share features under a handful of naming habits: ``train_image``/``test_text``/... in
one file, one file for each of these, ``I_tr``/``T_te``/``L_tr``, ``XTrain``/``YTest``/``LTrain``, or the
whole set as ``images``/``tags``/``labels``. All are recognised; anything else is named in the error.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.base import Dataset, Labels, Loaded, Split, multi_hot, paired_in_order
from diptych.errors import BadData, MissingData
from diptych.optional import optional

__all__ = ["FORM", "SUFFIXES", "class_labels", "load", "names", "read", "recognises"]

FORM = "a feature file (.npz, .npy, .mat, .h5), or a folder of them"
SUFFIXES = frozenset({".npz", ".npy", ".mat", ".h5", ".h5py", ".hdf5"})

_SPLIT = {
    "train": "train", "tr": "train", "trn": "train", "training": "train",
    "test": "test", "te": "test", "tst": "test", "testing": "test", "query": "query", "qu": "query",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "database": "database", "db": "database", "retrieval": "database", "re": "database", "all": "all",
}  # fmt: skip
_PART = {
    "image": "image", "images": "image", "img": "image", "imgs": "image", "i": "image", "x": "image",
    "text": "text", "texts": "text", "txt": "text", "txts": "text", "tags": "text", "tag": "text",
    "t": "text", "y": "text",
    "label": "label", "labels": "label", "lab": "label", "labs": "label", "l": "label", "class": "label",
    "img lab": "label", "image label": "label", "txt lab": "text_label", "text label": "text_label",
    "class names": "class_names",
    "image id": "image_id", "text id": "text_id",
}  # fmt: skip
# What NumPy, SciPy and h5py raise at a damaged file.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    NotImplementedError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
_WANTED = ("image", "text", "label")


def names(path: Path) -> list[str]:
    """Names of the arrays in a file, without loading them.

    Raises:
        BadData: the file is damaged, or of another kind.
        MissingExtra: a package that reads it is not installed.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".npz":
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return list(file.files)
        if kind == ".npy":
            return [path.stem]
        if kind == ".mat" and not _is_hdf5(path):
            return [
                str(name) for name, _, _ in optional("scipy.io", "reading MATLAB files", "data").whosmat(path)
            ]
        if kind in SUFFIXES:
            with optional("h5py", "reading HDF5 files", "data").File(path) as file:
                return [name for name in file if not name.startswith("#")]
    except _DAMAGED as error:
        raise BadData(f"{path} cannot be read ({error})") from error
    raise BadData(f"{path} is no feature file; known endings: {', '.join(sorted(SUFFIXES))}")


def load(path: Path, *keys: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, all or those named; MATLAB's are turned to row-major order.

    Raises:
        MissingData: the file is not there.
        BadData: it is damaged or lacks one of the arrays.
        MissingExtra: a package that reads it is not installed.
    """
    if not path.is_file():
        raise MissingData(f"{path} is not there")
    inside = names(path)
    lost = [key for key in keys if key not in inside]
    if lost:
        raise BadData(f"{path} lacks {', '.join(lost)}; it holds {', '.join(inside)}")
    wanted = keys or tuple(inside)
    kind = path.suffix.lower()
    try:
        if kind == ".npz":
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return {key: file[key] for key in wanted}
        if kind == ".npy":
            return {path.stem: np.load(path, allow_pickle=False)}
        if kind == ".mat" and not _is_hdf5(path):
            found = optional("scipy.io", "reading MATLAB files", "data").loadmat(
                path, variable_names=list(wanted)
            )
            return {key: _dense(found[key]) for key in wanted}
        with optional("h5py", "reading HDF5 files", "data").File(path) as file:
            # MATLAB stores columns first, so its HDF5 files look transposed from here.
            return {
                key: np.asarray(file[key]).T if kind == ".mat" else np.asarray(file[key]) for key in wanted
            }
    except _DAMAGED as error:
        raise BadData(f"{path} cannot be read ({error})") from error


def recognises(path: Path) -> bool:
    """Whether the path is a feature file, or a folder whose features are named after splits or sides."""
    if path.is_dir():
        return any(_meaning(one.stem) or _meanings(one) for one in _feature_files(path))
    return path.suffix.lower() in SUFFIXES


def read(path: Path) -> Dataset:
    """The features as a data set.

    A split needs image and text of one length; labels may be class numbers or 0/1 columns.

    Raises:
        BadData: naming what is missing of a split, or the arrays that were not understood.
    """
    files = _feature_files(path) if path.is_dir() else [path]
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    seen: list[str] = []
    for file in files:
        inside = names(file)
        for key in inside:
            meaning = _meaning(key) or (_meaning(file.stem) if len(inside) == 1 else None)
            seen.append(f"{file.name}::{key}")
            if meaning:
                split, part = meaning
                if part in parts.get(split, {}):
                    raise BadData(
                        f"{path} holds {split}_{part} more than once, again in {file.name}; give one file"
                    )
                parts.setdefault(split, {})[part] = load(file, key)[key]
    class_names = next((p.pop("class_names") for p in list(parts.values()) if "class_names" in p), None)
    parts = {split: arrays for split, arrays in parts.items() if set(_WANTED) & set(arrays)}
    if not parts:
        raise BadData(
            f"{path} holds no arrays that say which split and side they are: {', '.join(seen[:12])}. "
            "Name them train_image, train_text, train_label, test_image and so on"
        )
    for split, arrays in parts.items():
        lost = [side for side in ("image", "text") if side not in arrays]
        if lost:
            there = ", ".join(sorted(arrays))
            raise BadData(f"{path} holds only a part of split {split!r}: {lost[0]} missing, {there} there")
    classes = _classes([arrays["label"] for arrays in parts.values() if "label" in arrays])
    splits = {split: _split(path, split, arrays, classes) for split, arrays in parts.items()}
    named = () if class_names is None else tuple(str(name) for name in np.ravel(class_names))
    return Loaded(path.stem, splits, class_names=named)


def class_labels(label: NDArray[Any], classes: int | None = None) -> Labels:
    """(n, C) uint8 of labels in any of the usual forms: class numbers from 0, or 0/1 columns.

    Args:
        label: (n,), (n, 1), (1, n) or (n, C).
        classes: C, if `label` may not hold every class.
    """
    label = np.asarray(label)
    if label.ndim == 2 and 1 in label.shape:
        label = label.reshape(-1)
    if label.ndim == 2:
        return (label > 0).astype(np.uint8)
    numbers = label.astype(np.int64)
    return multi_hot(numbers, classes or int(numbers.max(initial=0)) + 1)


def _split(
    path: Path, name: str, arrays: Mapping[str, NDArray[Any]], classes: tuple[int, int] | None
) -> Split:
    image, text = arrays["image"], arrays["text"]
    if len(image) != len(text):
        raise BadData(
            f"{path}: split {name!r} has {len(image)} images and {len(text)} texts; they must pair up"
        )
    label = None
    if "label" in arrays and classes is not None:
        first, count = classes
        raw = np.asarray(arrays["label"])
        label = class_labels(raw - first if raw.ndim < 2 or 1 in raw.shape else raw, count)
    return Split(
        image.reshape(len(image), -1),
        text.reshape(len(text), -1),
        label,
        paired_in_order(len(image)),
        image_id=_ids(arrays, "image_id"),
        text_id=_ids(arrays, "text_id"),
    )


def _ids(arrays: Mapping[str, NDArray[Any]], name: str) -> list[str] | None:
    return [str(one) for one in arrays[name]] if name in arrays else None


def _classes(labels: list[NDArray[Any]]) -> tuple[int, int] | None:
    """Number of the first class (0 or 1) and of classes, over all splits; None without labels."""
    if not labels:
        return None
    wide = [label.shape[1] for label in labels if label.ndim == 2 and 1 not in label.shape]
    if wide:
        return 0, max(wide)
    first = min(int(label.min()) for label in labels)
    return min(first, 1), max(int(label.max()) for label in labels) + 1 - min(first, 1)


def _meaning(name: str) -> tuple[str, str] | None:
    """Split and part that a name speaks of: ``train_img`` -> train, image; ``images`` -> all, image."""
    words = [
        word for word in re.split(r"[_\-. ]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", name) if word
    ]
    words = [word.lower() for word in words]
    if len(words) == 1 and words[0] in ("i", "t", "l", "x", "y"):
        return None  # a single letter alone is not evidence
    splits = [_SPLIT[word] for word in words if word in _SPLIT]
    part = _PART.get(" ".join(word for word in words if word not in _SPLIT))
    if part is None or len(splits) > 1:
        return None
    return (splits[0] if splits else "all"), part


def _meanings(path: Path) -> bool:
    return any(_meaning(name) for name in names(path)) if path.suffix.lower() == ".npz" else False


def _feature_files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:  # MATLAB puts a block of its own before the signature
        return b"\x89HDF" in file.read(1024)


def _dense(value: Any) -> NDArray[Any]:
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value)
