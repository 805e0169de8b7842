"""RSICD: aerial photos of 30 scene classes with five captions each (Lu et al., IEEE TGRS 2018).

Home: GitHub 201528014227051/RSICD_optimal, which links the pictures
Files: dataset_rsicd.json and the folder RSICD_images; or train.jsonl with train_images.zip, and the same
  for val and test, each row with image, label and captions
Licence: research use; the pictures are from map services
Counts: 8,734 train, 1,094 validation, 1,093 test pictures in the original; the JSON Lines form may hold a
  part of it
Classes: 30 scenes, read off the file names (airport_12.jpg); in the original some pictures have no class
Relevance: the paired captions, or the same scene

Many pictures have fewer than five different captions. The variant `captions` keeps each different caption
once, which is what people wrote; `augmented` fills up to five with the machine's paraphrases that some
copies bring along (field back_translated).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diptych.data.base import Protocol, Split, captioned
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import karpathy, tables

__all__ = ["RSICD"]

_CLASSES = (
    "airport", "bareland", "baseballfield", "beach", "bridge", "center", "church", "commercial",
    "denseresidential", "desert", "farmland", "forest", "industrial", "meadow", "mediumresidential",
    "mountain", "park", "parking", "playground", "pond", "port", "railwaystation", "resort", "river",
    "school", "sparseresidential", "square", "stadium", "storagetanks", "viaduct",
)  # fmt: skip
_PARTS = ("train", "val", "test")
_PICTURES = "RSICD_images|images|RSICD_images.zip|images.zip"


def _scene(name: str) -> list[str]:
    """The class that a file name gives away; none for the pictures with a bare number."""
    scene = re.sub(r"_?\d*\.\w+$", "", name).lower()
    return [scene] if scene in _CLASSES else []


def _reader(*fields: str) -> Callable[[Files, str], Mapping[str, Split]]:
    """Reads the JSON Lines form with the captions of these fields."""

    def read(files: Files, part: str) -> Mapping[str, Split]:
        table = files[f"{part}.jsonl"]
        rows = tables.rows(table, "image", "label", "captions")
        ids = [str(row["image"]) for row in rows]
        return {
            part: captioned(
                pictures_in(files[f"{part}_images.zip|{part}_images"], ids),
                [[str(one) for name in fields for one in row.get(name, ())] for row in rows],
                labels=[[str(row["label"])] for row in rows],
                class_names=_CLASSES,
                image_id=ids,
            )
        }

    return read


def _read_original(files: Files, _: str) -> Mapping[str, Split]:
    return {part: _with_scenes(split) for part, split in _original(files).items()}


def _original(files: Files) -> Mapping[str, Split]:
    return karpathy.splits(files["dataset_rsicd.json"], files[_PICTURES])


def _with_scenes(split: Split) -> Split:
    """The split with scene labels and each different caption of a picture once."""
    captions: list[list[str]] = [[] for _ in range(len(split))]
    for image, text in split.pairs.tolist():
        if split.text[text] not in captions[image]:
            captions[image].append(split.text[text])
    ids: Sequence[Any] = split.image_id or ()
    images: Any = split.image
    return captioned(
        images, captions, labels=[_scene(name) for name in ids], class_names=_CLASSES, image_id=ids
    )


def _rows(*fields: str) -> Layout:
    return Layout(
        "JSON Lines and a ZIP of pictures for each split",
        {part: (f"{part}.jsonl", f"{part}_images.zip|{part}_images") for part in _PARTS},
        _reader(*fields),
        class_names=_CLASSES,
    )


_PROTOCOLS = {
    "pair": Protocol("test", "test", "pair", validation="val"),
    "scene": Protocol("test", "test", "label", validation="val"),
    "val": Protocol("val", "val", "pair", note="where the test split is not at hand"),
    "val-scene": Protocol("val", "val", "label", note="where the test split is not at hand"),
}


class RSICD(Originals):
    """The RSICD set; see the module's docstring, and `Originals` for the arguments."""

    name = "rsicd"
    folders = ("RSICD",)
    variants: Mapping[str, tuple[Layout, ...]] = {
        "captions": (
            _rows("captions"),
            Layout(
                "Karpathy's JSON and the pictures",
                dict.fromkeys(_PARTS, ()),
                _read_original,
                shared=("dataset_rsicd.json", _PICTURES),
                sizes={"train": (8734, None), "val": (1094, None), "test": (1093, None)},
                class_names=_CLASSES,
            ),
        ),
        "augmented": (_rows("captions", "back_translated"),),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = dict.fromkeys(variants, _PROTOCOLS)
