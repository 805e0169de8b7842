"""Reads feature files: ``.npz``, ``.npy``, MATLAB ``.mat`` (old and HDF5) and ``.h5``, and folders of them.

The papers of the field share features under a handful of naming habits: ``train_image``/``test_text``/... in
one file, one file for each of these, ``I_tr``/``T_te``/``L_tr``, ``XTrain``/``YTest``/``LTrain``, or the
whole set as ``images``/``tags``/``labels``. All are recognised; anything else is named in the error.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.base import Dataset, Labels, Protocol, Split
from diptych.data.incoming import labels_of, split_of
from diptych.data.reading import Read
from diptych.errors import BadData, MissingData
from diptych.media.report import Report
from diptych.optional import optional

__all__ = ["FORM", "SUFFIXES", "load", "means", "names", "parts", "read", "recognises"]

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
    "f": "image",
    "text": "text", "texts": "text", "txt": "text", "txts": "text", "tags": "text", "tag": "text",
    "t": "text", "y": "text",
    "label": "label", "labels": "label", "lab": "label", "labs": "label", "l": "label", "class": "label",
    "img lab": "label", "image label": "label", "txt lab": "text_label", "text label": "text_label",
    "class names": "class_names",
    "scores": "scores", "score": "scores", "similarity": "scores", "similarities": "scores", "sims": "scores",
    "image id": "image_id", "text id": "text_id", "pairs": "pairs", "pair": "pairs",
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
_PICKLED = frozenset({".pkl", ".pickle", ".pt", ".pth"})  # as sentence-transformers' examples keep embeddings


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
    if kind in _PICKLED:
        raise BadData(
            f"{path} can run code of whoever wrote it when it is read, so it is not; load it where you trust "
            "it, and write its arrays with numpy.save or numpy.savez"
        )
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


def means(name: str, part: str) -> bool:
    """Whether an array of that name is that part of some split ("image", "label", "pairs", "scores" ...)."""
    meaning = _meaning(name)
    return meaning is not None and meaning[1] == part


def parts(path: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays of a file or folder whose names are understood, by split ("all" without one) and part.

    Raises:
        BadData: two arrays are the same part of the same split, or a file is damaged.
        MissingData: the file is not there.
        MissingExtra: a package that reads it is not installed.
    """
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for file in _files(path):
        inside = names(file)
        for key in inside:
            meaning = _meaning(key) or (_meaning(file.stem) if len(inside) == 1 else None)
            if meaning is None:
                continue
            split, part = meaning
            if part in found.get(split, {}):
                raise BadData(
                    f"{path} holds {split}_{part} more than once, again in {file.name}; give one file"
                )
            found.setdefault(split, {})[part] = load(file, key)[key]
    return found


def read(path: Path) -> Dataset:
    """The features as a data set.

    A split needs image and text; which belong together, and which forms labels may have, is as
    `diptych.data.incoming` says. Splits "query" and "database" with labels are asked against each other.

    Raises:
        BadData: naming what is missing of a split, the arrays that are not understood, or the row of a label,
            pair or feature that is none.
    """
    understood = parts(path)
    class_names = next((one["class_names"] for one in understood.values() if "class_names" in one), None)
    wanted = {split: arrays for split, arrays in understood.items() if set(_WANTED) & set(arrays)}
    if not wanted:
        seen = [f"{file.name}::{name}" for file in _files(path) for name in names(file)]
        raise BadData(
            f"{path} holds no arrays that say which split and side they are: {', '.join(seen[:12])}. "
            "Name them train_image, train_text, train_label, test_image and so on"
        )
    for split, arrays in wanted.items():
        lost = [side for side in ("image", "text") if side not in arrays]
        if lost:
            there = ", ".join(sorted(arrays))
            raise BadData(f"{path} holds only a part of split {split!r}: {lost[0]} missing, {there} there")
        for side in ("image", "text"):
            if not arrays[side].ndim:
                raise BadData(f"{path}: {split} {side} is a single value, not a row for each item")
            arrays[side] = arrays[side].reshape(len(arrays[side]), -1)
    labels, called = _labels(path, wanted)
    splits = {
        split: split_of(
            arrays,
            f"{path}: {split}",
            label=labels.get((split, "label")),
            text_label=labels.get((split, "text_label")),
        )[0]
        for split, arrays in wanted.items()
    }
    named = called if class_names is None else tuple(str(name) for name in np.ravel(class_names))
    return Read(path.stem, splits, _report(path), class_names=named, protocols=_protocols(splits))


def _report(path: Path) -> Report:
    """How many files and arrays were used, and which arrays were not."""
    report = Report()
    for file in _files(path):
        inside = names(file)
        strange = [key for key in inside if not (_meaning(key) or (len(inside) == 1 and _meaning(file.stem)))]
        report.use(arrays=len(inside) - len(strange), files=len(strange) < len(inside))
        report.leave("arrays", "does not say by its name which split and side it is", *_within(file, strange))
    return report


def _within(file: Path, keys: Sequence[str]) -> list[str]:
    return [f"{file.name}::{key}" for key in keys]


def _protocols(splits: Mapping[str, Split]) -> Mapping[str, Protocol] | None:
    """Queries against the database, where those are the splits, as in the hashing papers."""
    if not {"query", "database"} <= set(splits) or any(part.label is None for part in splits.values()):
        return None
    train = "train" if "train" in splits else "database"
    validation = "val" if "val" in splits else None
    return {"map": Protocol("query", "database", "label", train=train, validation=validation)}


def _labels(
    path: Path, parts: Mapping[str, Mapping[str, NDArray[Any]]]
) -> tuple[dict[tuple[str, str], Labels], tuple[str, ...]]:
    """Labels by split and name, over the same classes, and the names of the classes, if they have any."""
    sides = {"label": "image", "text_label": "text"}
    found = [(split, name) for split, given in parts.items() for name in sides if name in given]
    where = {one: f"{path}: {one[0]} {one[1]}" for one in found}
    labels, names = labels_of(
        {where[split, name]: parts[split][name] for split, name in found},
        {where[split, name]: len(parts[split][sides[name]]) for split, name in found},
    )
    return {one: labels[where[one]] for one in found}, names


def _meaning(name: str) -> tuple[str, str] | None:
    """Split and part that a name speaks of: ``train_img`` -> train, image; ``images`` -> all, image."""
    words = [
        word for word in re.split(r"[_\-. ]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", name) if word
    ]
    words = [word.lower() for word in words]
    if len(words) == 1 and words[0] in ("i", "t", "l", "x", "y", "f"):
        return None  # a single letter alone is not evidence
    splits = [_SPLIT[word] for word in words if word in _SPLIT]
    part = _PART.get(" ".join(word for word in words if word not in _SPLIT))
    if part is None or len(splits) > 1:
        return None
    return (splits[0] if splits else "all"), part


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return _feature_files(path)
    if not path.is_file():
        raise MissingData(f"{path} is not there")
    return [path]


def _meanings(path: Path) -> bool:
    return any(_meaning(name) for name in names(path))


def _feature_files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:  # MATLAB puts a block of its own before the signature
        return b"\x89HDF" in file.read(1024)


def _dense(value: Any) -> NDArray[Any]:
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value)
