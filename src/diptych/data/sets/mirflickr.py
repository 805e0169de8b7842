"""MIRFlickr-25K: 25,000 Flickr pictures with tags and 24 or 38 labels (Huiskes and Lew, ACM MIR 2008).

Home: https://press.liacs.nl/mirflickr (LIACS Medialab, Leiden); the hashing form is passed on by the
  authors of DCMH and of the codes built on it
Files: tags: mirflickr25k.jsonl.gz and label_names.json (GitHub dh2425/LCFH). dcmh: mirflickr25k-iall.mat,
  mirflickr25k-yall.mat, mirflickr25k-lall.mat. original: mirflickr/im*.jpg, mirflickr/meta/tags/tags*.txt
  and the folder mirflickr25k_annotations_v080. labels-38: mirflickr_train.npz, mirflickr_test.npz and
  mirflickr_database.npz, each with names and labels (GitHub swuxyj/DeepHash-pytorch)
Licence: Creative Commons licences of each picture; see the set's own pages
Counts: tags and dcmh: 20,015 of the 25,000 (those with frequent tags), 24 labels, 2,000 queries, database
  18,015; train 5,000 (tags) or 10,000 (dcmh). original: 24,581 with one of the 24 labels, 5,000 queries,
  10,000 train. labels-38: all 25,000, of which 419 have no label; 4,000 train, 1,000 queries, database
  20,000 (without train)
Seeds: tags, labels-38: the split of the files. dcmh: none, the order of the file. original: 1814, numpy's
  RandomState
Relevance: sharing at least one label

The four (`tag-halves` is `tags`) are different sets to the hashing literature, so their figures must not be
mixed; so is a cut of the 20,015 into 2,243 queries, 5,000 train and 17,772 database (the group of HMAH and
UCMFH), and the 5,120 and 10,240 of DCHMT's code. In `tags` there are no pictures: texts, labels and pairs can
be used, and pictures say that they are absent.

`tag-halves` is for trying hashing systems at this size without pictures: an item's first, third ... tag stand
for its picture, the others are its text, both as bags of the words that at least ten training items have. It
is nobody's published protocol.

The 38 labels are the 24 and, for 14 of them, the stricter one (`baby_r1`: the picture is of a baby, not only
with one). All but four of the stricter labels lie on pictures that have the wider one, so they hardly change
what is relevant; what does is which pictures there are. `labels-38` has neither pictures nor tags: it is for
codes and scores that were made elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from diptych.data.base import Absent, Protocol, Split, captioned, multi_hot, paired_in_order
from diptych.data.originals import Files, Layout, Originals, permuted
from diptych.data.pictures import pictures_in
from diptych.data.readers import arrays, tables
from diptych.data.readers.hashing import hashing_protocol, matlab_layout
from diptych.errors import BadData

__all__ = ["MIRFlickr"]

_CLASSES = (
    "animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor", "lake", "male",
    "night", "people", "plant_life", "portrait", "river", "sea", "sky", "structures", "sunset", "transport",
    "tree", "water",
)  # fmt: skip
# How DeepHash-pytorch calls its lists.
_STEMS = {"train": "train", "query": "test", "database": "database"}
_STRICTER = (
    "baby", "bird", "car", "clouds", "dog", "female", "flower", "male", "night", "people", "portrait",
    "river", "sea", "tree",
)  # fmt: skip
_CLASSES_38 = tuple(sorted((*_CLASSES, *(f"{name}_r1" for name in _STRICTER))))
_LISTS = {part: f"mirflickr_{stem}.npz" for part, stem in _STEMS.items()}
_FEWEST = 10  # training items that a tag must have to be a feature
_ANNOTATIONS = "mirflickr25k_annotations_v080"


def _read_tags(files: Files, _: str) -> Mapping[str, Split]:
    names = json.loads(files["label_names.json"].read_text(encoding="utf-8"))["mirflickr25k"]
    if tuple(names) != _CLASSES:
        raise BadData(f"{files['label_names.json']} names other classes than MIRFlickr's 24")
    rows = tables.rows(files["mirflickr25k.jsonl.gz"], "image", "tags", "labels", "split", "train")
    ids = [str(row["image"]) for row in rows]
    whole = Split(
        image=Absent(
            len(rows), "mirflickr:tags has no pictures; prepare mirflickr:dcmh or mirflickr:original"
        ),
        text=[" ".join(row["tags"]) for row in rows],
        label=multi_hot([row["labels"] for row in rows], len(_CLASSES)),
        pairs=paired_in_order(len(rows)),
        image_id=ids,
        text_id=ids,
    )
    query = np.array([row["split"] == "query" for row in rows])
    train = np.array([bool(row["train"]) for row in rows])
    chosen = {"train": train, "query": query, "database": ~query}
    return {part: whole.take(np.flatnonzero(some)) for part, some in chosen.items()}


def _read_halves(files: Files, _: str) -> Mapping[str, Split]:
    whole = _read_tags(files, _)
    count = Counter(tag for text in whole["train"].text for tag in set(str(text).split()))
    column = {tag: number for number, tag in enumerate(sorted(t for t, n in count.items() if n >= _FEWEST))}
    found = {}
    for part, split in whole.items():
        sides = np.zeros((2, len(split.text), len(column)), np.float32)
        for row, text in enumerate(split.text):
            for place, tag in enumerate(str(text).split()):
                if tag in column:
                    sides[place % 2, row, column[tag]] = 1
        found[part] = replace(split, image=sides[0], text=sides[1])
    return found


def _read_38(files: Files, part: str) -> Mapping[str, Split]:
    found = arrays.load(files[_LISTS[part]], "names", "labels")
    ids, label = [str(name) for name in found["names"]], found["labels"]
    if label.shape[1:] != (len(_CLASSES_38),):
        raise BadData(f"{files[_LISTS[part]]} has labels of the shape {label.shape}, not 38 columns")
    nothing = Absent(
        len(label),
        "mirflickr:labels-38 has labels alone; tags are in mirflickr:tags, pictures in mirflickr:dcmh",
    )
    pairs = paired_in_order(len(label))
    return {part: Split(nothing, nothing, label, pairs, image_id=ids, text_id=ids)}


def _read_original(files: Files, _: str) -> Mapping[str, Split]:
    shown: dict[int, list[str]] = {}
    for name in _CLASSES:
        for number in (files[_ANNOTATIONS] / f"{name}.txt").read_text(encoding="ascii").split():
            shown.setdefault(int(number), []).append(name)
    numbers = sorted(shown)
    tags = files["mirflickr"] / "meta" / "tags"
    texts = [
        " ".join((tags / f"tags{number}.txt").read_text(encoding="utf-8", errors="replace").split())
        for number in numbers
    ]
    names = [f"im{number}.jpg" for number in numbers]
    whole = captioned(
        pictures_in(files["mirflickr"], names),
        [[text] for text in texts],
        labels=[shown[number] for number in numbers],
        class_names=_CLASSES,
        image_id=names,
        text_id=names,
    )
    rows = permuted(len(numbers), query=5000, train=10000, seed=1814)
    return {part: whole.take(some) for part, some in rows.items()}


class MIRFlickr(Originals):
    """The MIRFlickr-25K set; see the module's docstring, and `Originals` for the arguments."""

    name = "mirflickr"
    folders = ("hashing-text-labels", "mirflickr25k", "hashing-labels-more")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "dcmh": (matlab_layout("mirflickr25k", items=20015, query=2000, train=10000, seed=None),),
        "tags": (
            Layout(
                "tags, labels and split of LCFH",
                dict.fromkeys(("train", "query", "database"), ()),
                _read_tags,
                shared=("mirflickr25k.jsonl.gz", "label_names.json"),
                sizes={"train": (5000, 5000), "query": (2000, 2000), "database": (18015, 18015)},
                class_names=_CLASSES,
            ),
        ),
        "tag-halves": (
            Layout(
                "the same, with half of the tags in place of the pictures",
                dict.fromkeys(("train", "query", "database"), ()),
                _read_halves,
                shared=("mirflickr25k.jsonl.gz", "label_names.json"),
                sizes={"train": (5000, 5000), "query": (2000, 2000), "database": (18015, 18015)},
                class_names=_CLASSES,
            ),
        ),
        "original": (
            Layout(
                "pictures, tags and annotations of LIACS",
                dict.fromkeys(("train", "query", "database"), ()),
                _read_original,
                shared=("mirflickr", "mirflickr/meta/tags", _ANNOTATIONS),
                sizes={"train": (10000, 10000), "query": (5000, 5000), "database": (19581, 19581)},
                class_names=_CLASSES,
            ),
        ),
        "labels-38": (
            Layout(
                "names and 38 labels of DeepHash-pytorch",
                {part: (name,) for part, name in _LISTS.items()},
                _read_38,
                sizes={"train": (4000, 4000), "query": (1000, 1000), "database": (20000, 20000)},
                class_names=_CLASSES_38,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "dcmh": hashing_protocol("2,000 / 10,000 / 18,015; file order, as DCMH's code"),
        "tags": hashing_protocol("2,000 / 5,000 / 18,015; the split of LCFH"),
        "tag-halves": hashing_protocol("2,000 / 5,000 / 18,015; the split of LCFH, tags on both sides"),
        "original": hashing_protocol("5,000 / 10,000 / rest of 24,581; seed 1814, as DSPH's code"),
        "labels-38": hashing_protocol("1,000 / 4,000 / 20,000; the lists of DeepHash-pytorch; labels only"),
    }
