"""Flickr8k: 8,000 everyday pictures with five captions each (Hodosh, Young and Hockenmaier, JAIR 2013).

Home: https://forms.illinois.edu/sec/1713398 (University of Illinois, by a form); Karpathy's split file is
  dataset_flickr8k.json of https://cs.stanford.edu/people/karpathy/deepimagesent
Files: Flickr8k.token.txt, Flickr_8k.trainImages.txt, Flickr_8k.devImages.txt, Flickr_8k.testImages.txt and
  the folder Flicker8k_Dataset; or dataset_flickr8k.json and the pictures; or train.jsonl with
  train_images.zip, and the same for dev and test
Licence: the pictures belong to their Flickr owners; non-commercial research and education
Counts: 6,000 train, 1,000 dev, 1,000 test pictures, five captions each
Relevance: the paired captions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.data.base import Protocol, Split, captioned
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import karpathy, tables
from diptych.errors import BadData

__all__ = ["Flickr8k"]

_SIZES = {"train": (6000, 30000), "dev": (1000, 5000), "test": (1000, 5000)}
_PICTURES = "Flicker8k_Dataset|Flickr8k_Dataset|Images|images|Flickr8k_Dataset.zip|images.zip"
_TOKENS = "Flickr8k.token.txt|Flickr8k_text/Flickr8k.token.txt"


def _lists(part: str) -> str:
    return f"Flickr_8k.{part}Images.txt|Flickr8k_text/Flickr_8k.{part}Images.txt"


def _read_rows(files: Files, part: str) -> Mapping[str, Split]:
    table = files[f"{part}.jsonl"]
    return {part: tables.assemble(table, tables.rows(table), files[_archive(part)])}


def _archive(part: str) -> str:
    return f"{part}_images.zip|{part}_images"


def _read_tokens(files: Files, part: str) -> Mapping[str, Split]:
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(tables.lines(files[_TOKENS]), start=1):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise BadData(f"{files[_TOKENS]}, line {number}: expected NAME#NUMBER, a tab and a caption")
        captions.setdefault(name.partition("#")[0], []).append(caption.strip())
    wanted = [line.strip() for line in tables.lines(files[_lists(part)]) if line.strip()]
    lost = [name for name in wanted if name not in captions]
    if lost:
        raise BadData(f"{files[_TOKENS]} has no captions of {len(lost)} pictures, the first {lost[0]!r}")
    return {part: _captioned(files[_PICTURES], wanted, [captions[name] for name in wanted])}


def _captioned(place: Path, names: Sequence[str], captions: Sequence[Sequence[str]]) -> Split:
    return captioned(pictures_in(place, names), captions, image_id=names)


def _read_karpathy(files: Files, _: str) -> Mapping[str, Split]:
    found = karpathy.splits(files["dataset_flickr8k.json"], files[_PICTURES])
    return {"dev" if name == "val" else name: split for name, split in found.items()}


class Flickr8k(Originals):
    """The Flickr8k set; see the module's docstring, and `Originals` for the arguments."""

    name = "flickr8k"
    folders = ("Flickr8k",)
    variants: Mapping[str, tuple[Layout, ...]] = {
        "captions": (
            Layout(
                "the original text files and pictures",
                {part: (_lists(part),) for part in _SIZES},
                _read_tokens,
                shared=(_TOKENS, _PICTURES),
                sizes=_SIZES,
            ),
            Layout(
                "Karpathy's JSON and the pictures",
                dict.fromkeys(_SIZES, ()),
                _read_karpathy,
                shared=("dataset_flickr8k.json", _PICTURES),
                sizes=_SIZES,
            ),
            Layout(
                "JSON Lines and a ZIP of pictures for each split",
                {part: (f"{part}.jsonl", _archive(part)) for part in _SIZES},
                _read_rows,
                sizes=_SIZES,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "captions": {
            "1k": Protocol("test", "test", "pair", validation="dev", captions=5),
            "dev": Protocol("dev", "dev", "pair", captions=5, note="where the test split is not at hand"),
        },
    }
