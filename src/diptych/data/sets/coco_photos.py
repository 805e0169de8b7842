"""COCO-PHOTOS: photos of MS-COCO with captions and object categories, in JSON Lines (Lin et al., ECCV 2014).

Home: https://cocodataset.org, of whose photos, captions and categories the files are made
Files: train.jsonl with train_images.zip, and the same for dev; each row has image, captions and the names of
  its categories
Licence: annotations CC BY 4.0; the pictures belong to their Flickr owners
Counts: whatever is there
Classes: 80 object categories
Relevance: the paired captions, or sharing a category

For a part of COCO that is too small or too mixed for its own protocols. Protocol "pair" asks dev about
itself; "label" asks the photos of dev with a category (the split query) about those of train (the split
database), which are learned from, too. No number on a part is one of the benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diptych.data.base import Protocol, Split, captioned
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import coco, tables

__all__ = ["COCOPhotos"]

# The files that each split is read from.
_STEMS = {"train": "train", "dev": "dev", "query": "dev", "database": "train"}


def _read(files: Files, part: str) -> Mapping[str, Split]:
    stem = _STEMS[part]
    rows = tables.rows(files[f"{stem}.jsonl"], "image", "captions", "categories")
    ids = [str(row["image"]) for row in rows]
    found = captioned(
        pictures_in(files[f"{stem}_images.zip|{stem}_images"], ids),
        [[str(one) for one in row["captions"]] for row in rows],
        labels=[[str(one) for one in row["categories"]] for row in rows],
        class_names=coco.CLASSES,
        image_id=ids,
    )
    if part == stem:
        return {part: found}
    assert found.label is not None
    return {part: found.take(np.flatnonzero(found.label.any(axis=1)))}


class COCOPhotos(Originals):
    """Photos of MS-COCO; see the module's docstring, and `Originals` for the arguments."""

    name = "coco_photos"
    variants: Mapping[str, tuple[Layout, ...]] = {
        "captions": (
            Layout(
                "JSON Lines and a ZIP of pictures for each file of rows",
                {
                    part: (f"{stem}.jsonl", f"{stem}_images.zip|{stem}_images")
                    for part, stem in _STEMS.items()
                },
                _read,
                class_names=coco.CLASSES,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "captions": {
            "pair": Protocol("dev", "dev", "pair"),
            "label": Protocol("query", "database", "label", train="database"),
        },
    }
