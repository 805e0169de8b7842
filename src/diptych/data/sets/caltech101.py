"""Caltech-101: object photos of 100 classes, to be told by their classes' names (Fei-Fei et al. 2004).

Home: https://data.caltech.edu/records/mzrjq-6wc02 (California Institute of Technology)
Files: 101_ObjectCategories/CLASS/*.jpg; or train.jsonl (image, label) with train_images.zip, and the same
  for test
Licence: none stated on the copy read; the Caltech record has CC BY 4.0
Counts: 900 in the JSON Lines form (9 a class); in the original 31 to 800 a class, 101 classes and a
  background class
Relevance: the paired class name; or the same class

The texts are the class names: one text for each class, paired with every photo of it, so that R@1 from
image to text is the accuracy of zero-shot classification. Ask with a prompt by rewriting the texts. Of the
original, the background and the class "Faces_easy" (the same photos as "Faces") are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.data.base import Pictures, Protocol, Split, multi_hot
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import tables
from diptych.media.pictures import is_picture

__all__ = ["Caltech101"]

_PARTS = ("train", "test")


def _read_rows(files: Files, _: str) -> Mapping[str, Split]:
    here = {
        part: tables.rows(files[f"{part}.jsonl"], "image", "label")
        for part in _PARTS
        if f"{part}.jsonl" in files
    }
    names = sorted({str(row["label"]) for rows in here.values() for row in rows})
    return {
        part: _named(
            pictures_in(files[f"{part}_images.zip|{part}_images"], [str(row["image"]) for row in rows]),
            [str(row["label"]) for row in rows],
            names,
        )
        for part, rows in here.items()
        if f"{part}_images.zip|{part}_images" in files
    }


def _read_original(files: Files, _: str) -> Mapping[str, Split]:
    home = files["101_ObjectCategories"]
    left_out = ("BACKGROUND_Google", "Faces_easy")
    found = sorted(
        path.relative_to(home).as_posix()
        for path in home.glob("*/*")
        if is_picture(path.name) and path.parent.name not in left_out
    )
    labels = [name.partition("/")[0].lower() for name in found]
    return {"train": _named(Pictures.from_folder(home, found), labels, sorted(set(labels)))}


def _named(images: Pictures, labels: Sequence[str], names: Sequence[str]) -> Split:
    """Pictures against the names of all classes."""
    number = {name: row for row, name in enumerate(names)}
    rows: Any = np.array([number[label] for label in labels], np.int64)
    return Split(
        image=images,
        text=[name.replace("_", " ") for name in names],
        label=multi_hot(rows, len(names)),
        pairs=np.stack([np.arange(len(rows)), rows], axis=1),
        text_label=np.eye(len(names), dtype=np.uint8),
        image_id=images.names,
        text_id=names,
    )


class Caltech101(Originals):
    """Caltech-101 against its class names; see the module's docstring, and `Originals` for the arguments."""

    name = "caltech101"
    folders = ("caltech101-mini", "caltech-101")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "names": (
            Layout(
                "JSON Lines and a ZIP of pictures for each split",
                {part: (f"{part}.jsonl", f"{part}_images.zip|{part}_images") for part in _PARTS},
                _read_rows,
                sizes={"train": (900, 100)},
            ),
            Layout("the original folders", {"train": ()}, _read_original, shared=("101_ObjectCategories",)),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "names": {
            "zero-shot": Protocol("train", "train", "pair", note="R@1 image to text is the accuracy"),
            "test": Protocol("test", "test", "pair", note="R@1 image to text is the accuracy"),
        },
    }

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The classes, as the labels' columns."""
        return tuple(self.split(self.available[0]).text_id or ()) if self.available else ()
