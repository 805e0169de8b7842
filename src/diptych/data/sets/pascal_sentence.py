"""Pascal Sentence: 1,000 pictures of 20 classes with five sentences each (Rashtchian et al. 2010).

Home: features: the authors of DSCMR, GitHub penghu-cs/DSCMR, folder data/pascal. Pictures and sentences:
  University of Illinois, http://vision.cs.uiuc.edu/pascal-sentences
Files: dscmr: train_img.mat (800 x 4096), train_txt.mat (800 x 300), train_img_lab.mat, test_img.mat,
  test_txt.mat, test_img_lab.mat, or all in pascal_sentence_dscmr.npz. sentences: dataset/CLASS/*.jpg and
  sentence/CLASS/*.txt
Licence: none stated; the pictures belong to their Flickr owners
Counts: 800 train (40 a class), 100 test (5 a class); the authors' 100 validation pairs were never published
Checksums: sha256 of test_img.mat begins 65a60083, of test_txt.mat 7d20757d, of train_txt.mat 208df4f7, of
  the labels 27fe81ef and 2116271d
Relevance: the same class

Many copies of the features lack train_img.mat (the largest file). The rest can be used for checks: the split
"train" then has texts and labels, and says what is missing as soon as its pictures are looked at. The
features do not record which number is which class. In the variant `sentences` the cut is ours, by file
name in each class: 40 train, 5 validation, 5 test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Absent, Protocol, Split, captioned, multi_hot, paired_in_order
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import arrays
from diptych.errors import BadData

__all__ = ["PascalSentence"]

_NPZ = "pascal_sentence_dscmr.npz"
_SIZES = {"train": (800, 800), "test": (100, 100)}
_SENTENCE_SIZES = {"train": (800, 4000), "val": (100, 500), "test": (100, 500)}


def _read_npz(files: Files, part: str) -> Mapping[str, Split]:
    data = arrays.load(files[_NPZ], f"{part}_text", f"{part}_label")
    wanted = f"{_NPZ}::{part}_image"
    image: Any
    if wanted in files:
        image = arrays.load(files[_NPZ], f"{part}_image")[f"{part}_image"]
    else:
        image = _lost(files, f"array {part}_image of {_NPZ}", len(data[f"{part}_text"]))
    return _split(part, image, data[f"{part}_text"], data[f"{part}_label"])


def _read_mat(files: Files, part: str) -> Mapping[str, Split]:
    text = _only(files[f"{part}_txt.mat"])
    label = _only(files[f"{part}_img_lab.mat"])
    name = f"{part}_img.mat"
    image = _only(files[name]) if name in files else _lost(files, name, len(text))
    return _split(part, image, text, label)


def _split(part: str, image: Any, text: Any, label: Any) -> Mapping[str, Split]:
    hot = multi_hot(label.reshape(-1), 20)
    return {part: Split(image, text, hot, paired_in_order(len(text)))}


def _only(path: Path) -> Any:
    """The one array of a file."""
    found = list(arrays.load(path).values())
    if len(found) != 1:
        raise BadData(f"{path} must hold one array, not {len(found)}")
    return found[0]


def _lost(files: Files, what: str, rows: int) -> Absent:
    return Absent(
        rows,
        f"pascal-sentence is not whole: {what} (800 x 4096) is missing from {files.folder}; "
        "it is data/pascal/train_img.mat of GitHub penghu-cs/DSCMR",
    )


def _read_sentences(files: Files, _: str) -> Mapping[str, Split]:
    rows: dict[str, list[tuple[str, str, list[str]]]] = {"train": [], "val": [], "test": []}
    texts = files["sentence"]
    for home in sorted(one for one in texts.iterdir() if one.is_dir()):
        inside = sorted(home.glob("*.txt"))
        if len(inside) != 50:
            raise BadData(f"{home} has {len(inside)} texts; each of the 20 classes has 50")
        for number, path in enumerate(inside):
            part = "train" if number < 40 else "val" if number < 45 else "test"
            sentences = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
            rows[part].append((home.name, f"{home.name}/{path.stem}.jpg", [one for one in sentences if one]))
    names = tuple(sorted({name for name, _, _ in rows["train"]}))
    return {part: _captions(files, some, names) for part, some in rows.items()}


def _captions(files: Files, rows: Sequence[tuple[str, str, list[str]]], names: tuple[str, ...]) -> Split:
    ids = [image for _, image, _ in rows]
    return captioned(
        pictures_in(files["dataset|images"], ids),
        [sentences for _, _, sentences in rows],
        labels=[[name] for name, _, _ in rows],
        class_names=names,
        image_id=ids,
    )


_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class PascalSentence(Originals):
    """The Pascal Sentence set; see the module's docstring, and `Originals` for the arguments."""

    name = "pascal_sentence"
    folders = ("pascal-sentence-features", "pascal")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "dscmr": (
            Layout(
                "one .mat file for each side of each split, as in the authors' repository",
                {part: tuple(f"{part}_{x}.mat" for x in ("img", "txt", "img_lab")) for part in _SIZES},
                _read_mat,
                spare=frozenset({"train_img.mat"}),
                sizes=_SIZES,
                checksums={
                    "test_img.mat": "65a60083",
                    "test_txt.mat": "7d20757d",
                    "train_txt.mat": "208df4f7",
                    "train_img_lab.mat": "27fe81ef",
                    "test_img_lab.mat": "2116271d",
                },
            ),
            Layout(
                f"all in {_NPZ}",
                {part: tuple(f"{_NPZ}::{part}_{x}" for x in ("image", "text", "label")) for part in _SIZES},
                _read_npz,
                spare=frozenset({f"{_NPZ}::train_image"}),
                sizes=_SIZES,
            ),
        ),
        "sentences": (
            Layout(
                "pictures and sentences by class",
                dict.fromkeys(_SENTENCE_SIZES, ()),
                _read_sentences,
                shared=("dataset|images", "sentence"),
                sizes=_SENTENCE_SIZES,
                class_names=_CLASSES,
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "dscmr": {"official": Protocol("test", "test", "label", note="800 / 100, five a class in the test")},
        "sentences": {
            "class": Protocol("test", "test", "label", validation="val", note="800 / 100 / 100 by file name"),
            "pair": Protocol("test", "test", "pair", validation="val", note="five sentences a picture"),
        },
    }
