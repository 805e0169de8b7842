"""MS-COCO: 123,287 everyday scenes with five captions each and 80 object classes (Lin et al., ECCV 2014).

Home: https://cocodataset.org; Karpathy's split is dataset_coco.json of
  https://cs.stanford.edu/people/karpathy/deepimagesent
Files: karpathy: dataset_coco.json and the folders train2014 and val2014. hashing:
  annotations/captions_train2017.json, instances_train2017.json, captions_val2017.json,
  instances_val2017.json and the folders train2017 and val2017. mini: annotations/captions_train2017.json
  and instances_train2017.json of any part of COCO, and its pictures in images
Licence: annotations CC BY 4.0; the pictures belong to their Flickr owners
Counts: karpathy: 113,287 train (82,783 and 30,504 "restval"), 5,000 validation, 5,000 test pictures.
  hashing: the 122,218 pictures of 2017 with an object, 5,000 queries, 10,000 train, rest database. mini:
  whatever is there
Seeds: hashing: 1814 (numpy's RandomState)
Relevance: karpathy: the paired captions, the first five of each picture; hashing: sharing an object class

Protocol "5k" asks the whole test split, "1k" is the mean over its five disjoint folds of 1,000 pictures.
Some papers count 82,783 training pictures: that is the official split without "restval". In the hashing
protocol each picture's first caption is its text. Another cut has 5,981 queries, 18,000 train and the
82,783 of 2014 as database (the group of HMAH and UCMFH).
"""

from __future__ import annotations

from collections.abc import Mapping

from diptych.data.base import Protocol, Split, concat
from diptych.data.originals import Files, Layout, Originals, permuted
from diptych.data.readers import coco, karpathy
from diptych.data.readers.hashing import hashing_protocol
from diptych.errors import BadData

__all__ = ["MSCOCO"]

_CAPTIONS = "annotations/captions_train2017.json"
_INSTANCES = "annotations/instances_train2017.json"


def _read_karpathy(files: Files, _: str) -> Mapping[str, Split]:
    # The JSON names the folder of each picture, so the home of train2014 and val2014 is the place.
    return karpathy.splits(files["dataset_coco.json"], files["train2014|images/train2014"].parent)


def _read_hashing(files: Files, _: str) -> Mapping[str, Split]:
    parts = [
        coco.split(
            files[f"annotations/captions_{part}2017.json"],
            files[f"annotations/instances_{part}2017.json"],
            files[f"{part}2017|images/{part}2017"],
            only_labelled=True,
        )
        for part in ("train", "val")
    ]
    whole = concat(parts).captions(1)
    rows = permuted(len(whole), query=5000, train=10000, seed=1814)
    return {part: whole.take(some) for part, some in rows.items()}


def _read_mini(files: Files, _: str) -> Mapping[str, Split]:
    found = coco.split(files[_CAPTIONS], files[_INSTANCES], files["images|train2017"])
    if not len(found):
        raise BadData(f"{files[_CAPTIONS]} lists no pictures")
    return {"train": found}


class MSCOCO(Originals):
    """The MS-COCO set; see the module's docstring, and `Originals` for the arguments."""

    name = "ms_coco"
    folders = ("coco", "coco-mini")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "karpathy": (
            Layout(
                "Karpathy's JSON and the pictures of 2014",
                dict.fromkeys(("train", "val", "test"), ()),
                _read_karpathy,
                shared=("dataset_coco.json", "train2014|images/train2014", "val2014|images/val2014"),
                sizes={"train": (113287, None), "val": (5000, None), "test": (5000, None)},
            ),
        ),
        "hashing": (
            Layout(
                "annotations and pictures of 2017",
                dict.fromkeys(("train", "query", "database"), ()),
                _read_hashing,
                shared=(
                    _CAPTIONS,
                    _INSTANCES,
                    "annotations/captions_val2017.json",
                    "annotations/instances_val2017.json",
                    "train2017|images/train2017",
                    "val2017|images/val2017",
                ),
                sizes={"train": (10000, 10000), "query": (5000, 5000), "database": (117218, 117218)},
                class_names=coco.CLASSES,
            ),
        ),
        "mini": (
            Layout(
                "a part of COCO in its own form",
                {"train": ()},
                _read_mini,
                shared=(_CAPTIONS, _INSTANCES, "images|train2017"),
                class_names=coco.CLASSES,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "karpathy": {
            "5k": Protocol("test", "test", "pair", validation="val", captions=5),
            "1k": Protocol("test", "test", "pair", validation="val", captions=5, folds=5),
        },
        "hashing": hashing_protocol("5,000 / 10,000 / rest of 122,218; seed 1814, as DCHMT's code"),
        "mini": {
            "pair": Protocol("train", "train", "pair", captions=5, note="a smoke test, not a benchmark"),
            "label": Protocol("train", "train", "label", captions=5, note="a smoke test, not a benchmark"),
        },
    }
