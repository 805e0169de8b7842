"""COCO-CATEGORIES: the 80 object categories of all labelled photos of MS-COCO, without the photos.

Home: https://cocodataset.org, of whose annotations the files are made; the split is that of HashNet's code
  (Cao et al., ICCV 2017; GitHub thuml/HashNet)
Files: coco_categories.npz with ids (n), labels_packed (n, 10), each bit a category, and hashnet_pytorch (n),
  which is 1 for train, 2 for query and 0 for the rest
Licence: annotations CC BY 4.0
Counts: 122,218 photos with 2.93 categories each; 5,000 queries, 10,000 train, database 117,218 (all but the
  queries)
Classes: 80 object categories
Relevance: sharing a category

For trying hashing systems under the standard protocol at its full size. Of a photo's categories, in COCO's
order, every second one stands for its picture and the others for its text, the first of them for the picture
where the photo's number is even and for the text where it is odd: so one side is empty for the fifth of the
photos that have one category. It is nobody's published task, and no number on it is one of COCO's. Protocol
"map-1000" asks every fifth query only, which takes a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diptych.data.base import Protocol, Split, paired_in_order
from diptych.data.originals import Files, Layout, Originals
from diptych.data.readers import arrays, coco
from diptych.data.readers.hashing import hashing_protocol
from diptych.errors import BadData

__all__ = ["COCOCategories"]

_FILE = "coco_categories.npz"
_TRAIN, _QUERY = 1, 2


def _read(files: Files, _: str) -> Mapping[str, Split]:
    found = arrays.load(files[_FILE], "ids", "labels_packed", "hashnet_pytorch")
    numbers, lists = found["ids"], found["hashnet_pytorch"]
    held = np.unpackbits(found["labels_packed"], axis=1, count=len(coco.CLASSES))
    if not len(numbers) == len(held) == len(lists):
        raise BadData(
            f"{files[_FILE]} mixes sets: {len(numbers)} ids, {len(held)} labels, {len(lists)} parts"
        )
    place = np.cumsum(held, axis=1, dtype=np.int64) - 1 + numbers[:, None]
    ids = [f"{number:012}" for number in numbers.tolist()]
    whole = Split(
        image=(held * (place % 2 == 0)).astype(np.float32),
        text=(held * (place % 2 == 1)).astype(np.float32),
        label=held,
        pairs=paired_in_order(len(held)),
        image_id=ids,
        text_id=ids,
    )
    chosen = {"train": lists == _TRAIN, "query": lists == _QUERY, "database": lists != _QUERY}
    rows = {part: np.flatnonzero(some) for part, some in chosen.items()}
    rows["query-1000"] = rows["query"][::5]
    return {part: whole.take(some) for part, some in rows.items()}


class COCOCategories(Originals):
    """Categories of MS-COCO's photos; see the module's docstring, and `Originals` for the arguments."""

    name = "coco_categories"
    variants: Mapping[str, tuple[Layout, ...]] = {
        "halves": (
            Layout(
                "packed categories with HashNet's lists",
                dict.fromkeys(("train", "query", "database", "query-1000"), ()),
                _read,
                shared=(_FILE,),
                sizes={
                    "train": (10000, 10000),
                    "query": (5000, 5000),
                    "database": (117218, 117218),
                    "query-1000": (1000, 1000),
                },
                class_names=coco.CLASSES,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "halves": {
            **hashing_protocol("5,000 / 10,000 / rest of 122,218; HashNet's lists, categories on both sides"),
            "map-1000": Protocol("query-1000", "database", "label", note="every fifth of the queries"),
        }
    }
