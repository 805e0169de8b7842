"""NUS-WIDE: 269,648 Flickr pictures with tags and 81 concepts (Chua et al., CIVR 2009).

Home: https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html (National
  University of Singapore); the pictures must be fetched from Flickr or asked for there
Files: 81, tc21, tc10: Groundtruth/AllLabels/Labels_*.txt, ImageList/Imagelist.txt,
  NUS_WID_Tags/All_Tags.txt and the pictures in Flickr/. tc21-dcmh: nus-wide-tc21-iall.mat,
  nus-wide-tc21-yall.mat, nus-wide-tc21-lall.mat. 10k: nus_wide_10k.npz or .mat with train_image,
  train_text, train_label, val_... and test_.... tags: from GitHub dh2425/LCFH,
  nuswide10_query_train.jsonl.gz and label_names.json; labels: nuswide10_labels_181365.npz
Licence: research use; the pictures belong to their Flickr owners
Counts: 81: 269,648. tc21: the 195,834 with one of the 21 commonest concepts, 2,100 queries, 10,500 train.
  tc10: those with one of 10 (186,577, unverified), 2,000 queries, 5,000 train. 10k: 10,000 in 10 classes,
  8,000 / 1,000 / 1,000 (unverified). tags: 2,000 queries, 5,000 train. labels: 181,365 label rows alone
Seeds: 1814 (numpy's RandomState) for 81, tc21 and tc10; the file's order for tc21-dcmh
Relevance: sharing at least one label; in 10k the one class

Other cuts in the literature are other sets: 42,941 / 5,000 / 23,661 features; TC-21 with 2,085 queries,
21,000 train and 193,749 database (the group of HMAH and UCMFH); the 190,421 of TC-21 that have tags (MITH);
a sample of 10,500 with 2,000 / 4,000 / 8,500 (Bi-CMR). Pictures that were taken off Flickr are missing from
most copies; tags and labels are not, so pictures are looked for only when they are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.data.base import Absent, Pictures, Protocol, Split, multi_hot, paired_in_order
from diptych.data.originals import Files, Layout, Originals, permuted
from diptych.data.readers import arrays, tables
from diptych.data.readers.hashing import hashing_protocol, matlab_layout
from diptych.errors import BadData

__all__ = ["NUSWide"]

TC21 = (
    "animal", "beach", "buildings", "clouds", "flowers", "grass", "lake", "mountain", "ocean", "person",
    "plants", "reflection", "road", "rocks", "sky", "snow", "sunset", "tree", "vehicle", "water", "window",
)  # fmt: skip
TC10 = ("sky", "clouds", "person", "water", "animal", "grass", "buildings", "window", "plants", "lake")

_LABELS = "Groundtruth/AllLabels|AllLabels"
_LIST = "ImageList/Imagelist.txt|Imagelist.txt"
_TAGS = "NUS_WID_Tags/All_Tags.txt|All_Tags.txt"
_ITEMS = 269_648


def _original(
    concepts: tuple[str, ...], query: int, train: int, items: int | None = None
) -> tuple[Layout, ...]:
    """The original release, cut down to the items with one of the concepts (everything, if empty)."""
    parts = ("train", "query", "database")
    sizes = {"query": (query, query), "train": (train, train)}
    if items is not None:
        sizes["database"] = (items - query, items - query)
    return (
        Layout(
            "the original release",
            dict.fromkeys(parts, ()),
            _reader(concepts, query, train),
            shared=(_LABELS, _LIST, _TAGS),
            sizes=sizes,
            class_names=concepts,
        ),
    )


def _reader(concepts: tuple[str, ...], query: int, train: int) -> Callable[[Files, str], Mapping[str, Split]]:
    def read(files: Files, _: str) -> Mapping[str, Split]:
        names = concepts or tuple(
            sorted(one.stem.removeprefix("Labels_") for one in files[_LABELS].glob("Labels_*.txt"))
        )
        label = np.stack([_column(files, name) for name in names], axis=1)
        images = [line.strip().replace("\\", "/") for line in tables.lines(files[_LIST]) if line.strip()]
        texts = [" ".join(line.split()[1:]) for line in tables.lines(files[_TAGS]) if line.strip()]
        if not len(label) == len(images) == len(texts) == _ITEMS:
            raise BadData(
                f"{files.folder} is not whole: {len(label):,} label rows, {len(images):,} pictures, "
                f"{len(texts):,} tag lines, where each should be {_ITEMS:,}"
            )
        kept = np.flatnonzero(label.any(axis=1)) if concepts else np.arange(_ITEMS)
        ids = [images[row] for row in kept.tolist()]
        whole = Split(
            _pictures(files, ids),
            [texts[row] for row in kept.tolist()],
            label[kept],
            paired_in_order(len(ids)),
            image_id=ids,
            text_id=ids,
        )
        rows = permuted(len(ids), query=query, train=train, seed=1814)
        return {part: whole.take(some) for part, some in rows.items()}

    return read


def _column(files: Files, concept: str) -> Any:
    path = files[_LABELS] / f"Labels_{concept}.txt"
    if not path.is_file():
        raise BadData(f"{files[_LABELS]} holds only a part of the labels: {path.name} is missing")
    return np.fromfile(path, dtype=np.int64, sep="\n").astype(np.uint8)


def _pictures(files: Files, names: list[str]) -> Sequence[Any]:
    home = files.find("Flickr|images")
    if home is None:
        return Absent(len(names), f"the pictures of nus-wide are not in {files.folder / 'Flickr'}")
    return Pictures.from_folder(home, names)


def _read_tags(files: Files, _: str) -> Mapping[str, Split]:
    names = json.loads(files["label_names.json"].read_text(encoding="utf-8"))["nuswide10"]
    if tuple(names) != TC10:
        raise BadData(f"{files['label_names.json']} names other classes than the 10 of NUS-WIDE-10")
    found: dict[str, list[Mapping[str, Any]]] = {"query": [], "train": []}
    for row in tables.rows(files["nuswide10_query_train.jsonl.gz"], "image", "tags", "labels", "split"):
        found[str(row["split"])].append(row)
    return {part: _tagged(rows) for part, rows in found.items()}


def _tagged(rows: Sequence[Mapping[str, Any]]) -> Split:
    ids = [str(row["image"]) for row in rows]
    return Split(
        Absent(len(rows), "nus-wide:tags has no pictures; prepare nus-wide:tc10 from the originals"),
        [" ".join(row["tags"]) for row in rows],
        multi_hot([row["labels"] for row in rows], len(TC10)),
        paired_in_order(len(rows)),
        image_id=ids,
        text_id=ids,
    )


def _read_labels(files: Files, _: str) -> Mapping[str, Split]:
    label = arrays.load(files["nuswide10_labels_181365.npz"], "labels")["labels"]
    nothing = Absent(len(label), "nus-wide:labels has labels alone, no pictures and no texts")
    return {"database": Split(nothing, nothing, label, paired_in_order(len(label)))}


def _read_10k(files: Files, _: str) -> Mapping[str, Split]:
    found = arrays.read(files["nus_wide_10k.npz|nus_wide_10k.mat|nus_wide_10k.h5"])
    return {part: found.split(part) for part in found.splits}


class NUSWide(Originals):
    """The NUS-WIDE set; see the module's docstring, and `Originals` for the arguments."""

    name = "nus_wide"
    folders = ("hashing-text-labels", "NUS-WIDE")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "tc21": _original(TC21, 2100, 10500, 195_834),
        "tc10": _original(TC10, 2000, 5000),
        "81": _original((), 2100, 10500, _ITEMS),
        "tc21-dcmh": (matlab_layout("nus-wide-tc21", items=195_834, query=2100, train=10500, seed=None),),
        "10k": (
            Layout(
                "features of the single-label subset",
                dict.fromkeys(("train", "val", "test"), ()),
                _read_10k,
                shared=("nus_wide_10k.npz|nus_wide_10k.mat|nus_wide_10k.h5",),
                sizes={"train": (8000, 8000), "val": (1000, 1000), "test": (1000, 1000)},
            ),
        ),
        "tags": (
            Layout(
                "tags and labels of LCFH",
                dict.fromkeys(("train", "query"), ()),
                _read_tags,
                shared=("nuswide10_query_train.jsonl.gz", "label_names.json"),
                sizes={"train": (5000, 5000), "query": (2000, 2000)},
                class_names=TC10,
            ),
        ),
        "labels": (
            Layout(
                "labels of LCFH",
                {"database": ()},
                _read_labels,
                shared=("nuswide10_labels_181365.npz",),
                sizes={"database": (181_365, 181_365)},
                class_names=TC10,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "tc21": hashing_protocol("2,100 / 10,500 / 193,734; seed 1814"),
        "tc10": hashing_protocol("2,000 / 5,000 / rest; seed 1814"),
        "81": hashing_protocol("2,100 / 10,500 / rest of all items; seed 1814; a cut of ours"),
        "tc21-dcmh": hashing_protocol("2,100 / 10,500 / 193,734; file order, as DCMH's code"),
        "10k": {"class": Protocol("test", "test", "label", validation="val", note="8,000 / 1,000 / 1,000")},
        "tags": {
            "map": Protocol("query", "train", "label", note="2,000 queries against the 5,000 training items")
        },
        "labels": {"map": Protocol("database", "database", "label", note="label statistics only")},
    }
