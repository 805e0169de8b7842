"""ImageNet sample: one photo for each of up to 1,000 classes, against the names of all 1,000.

Home: GitHub EliSchwartz/imagenet-sample-images; ImageNet itself: https://www.image-net.org
Files: images.zip (or images/), labels.jsonl (image, wnid, label) and all_1000_class_names.jsonl (wnid, label)
Licence: ImageNet's terms (non-commercial research); the photos belong to their owners
Counts: 500 photos (every other class) in the form read here, 1,000 class names of which 998 differ
Relevance: the paired class name; "crane" and "maillot" each stand for two classes, and either counts

The texts are the 1,000 class names, so that R@1 from image to text is the accuracy of zero-shot
classification.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diptych.data.base import Protocol, Split, multi_hot
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import tables
from diptych.errors import BadData

__all__ = ["ImageNetSample"]

_NAMES, _LABELS, _PICTURES = "all_1000_class_names.jsonl", "labels.jsonl", "images.zip|images"


def _read(files: Files, _: str) -> Mapping[str, Split]:
    classes, rows = tables.rows(files[_NAMES], "wnid", "label"), tables.rows(files[_LABELS], "image", "wnid")
    wnids, names = [str(one["wnid"]) for one in classes], [str(one["label"]) for one in classes]
    column = {wnid: number for number, wnid in enumerate(wnids)}
    strange = [str(row["wnid"]) for row in rows if row["wnid"] not in column]
    if strange:
        raise BadData(f"{files[_LABELS]} has classes that {_NAMES} does not name, the first {strange[0]!r}")
    shown = [column[str(row["wnid"])] for row in rows]
    same = {name: [other for other, one in enumerate(names) if one == name] for name in set(names)}
    ids = [str(row["image"]) for row in rows]
    return {
        "test": Split(
            image=pictures_in(files[_PICTURES], ids),
            text=names,
            label=multi_hot(shown, len(names)),
            pairs=np.stack([np.arange(len(shown)), np.array(shown)], axis=1),
            text_label=np.eye(len(names), dtype=np.uint8),
            image_id=ids,
            text_id=wnids,
            positives=np.array([(row, text) for row, own in enumerate(shown) for text in same[names[own]]]),
        )
    }


class ImageNetSample(Originals):
    """The ImageNet sample against its class names; see the module's docstring, and `Originals`."""

    name = "imagenet_sample"
    variants: Mapping[str, tuple[Layout, ...]] = {
        "names": (Layout("JSON Lines and a ZIP", {"test": ()}, _read, shared=(_LABELS, _NAMES, _PICTURES)),),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "names": {"zero-shot": Protocol("test", "test", "pair", note="R@1 image to text is the accuracy")},
    }
