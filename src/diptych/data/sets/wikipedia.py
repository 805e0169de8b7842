"""Wikipedia: 2,866 article sections with one picture each, in 10 classes (Rasiwasia et al., ACM MM 2010).

Home: http://www.svcl.ucsd.edu/projects/crossmodal (Statistical Visual Computing Lab, UC San Diego); the
  features are also in repositories of many papers, such as emanuetre/crossmodal and
  BMC-SDNU/Cross-Modal-Retrieval
Files: sift: wikipedia_sift128_lda10.npz, or raw_features.mat with trainset_txt_img_cat.list and
  testset_txt_img_cat.list. cnn: wikipedia_cnnpca128_lda50.npz. deep: wiki.mat with train_imgs_deep and
  train_texts_doc. documents: images/CLASS/*.jpg, texts/*.xml and the two lists
Licence: none stated; research data
Counts: 2,173 train, 693 test; the deep papers validate on the first 231 of the 693 and test on the other 462
Classes: art, biology, geography, history, literature, media, music, royalty, sport, warfare
Relevance: the same class; the paired item is one among many

Variant `sift` has the original shallow features (SIFT bag of visual words 128, LDA topics 10), `cnn`
stronger ones (PCA of CNN features 128, LDA 50), `cnn-dense` the same pictures with dense texts (100).
Figures on one variant say nothing about another, and none of these three is the survey's Table 2, whose
features are `deep` ones (4096-d fc7 of VGG-19 and 300-d doc2vec).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.base import Labels, Protocol, Split, captioned, multi_hot, paired_in_order
from diptych.data.originals import Files, Layout, Originals
from diptych.data.pictures import pictures_in
from diptych.data.readers import arrays
from diptych.errors import BadData

__all__ = ["Wikipedia"]

_CLASSES = (
    "art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare",
)  # fmt: skip
_SIZES = {"train": (2173, 2173), "test": (693, 693), "val": (231, 231), "test-462": (462, 462)}
_LISTS = ("trainset_txt_img_cat.list", "testset_txt_img_cat.list")


def _with_validation(parts: Mapping[str, Split]) -> Mapping[str, Split]:
    """The official two splits, and the deep papers' cut of the test split."""
    test = parts["test"]
    return {**parts, "val": test.take(np.arange(231)), "test-462": test.take(np.arange(231, len(test)))}


def _npz(name: str, text: str = "text") -> Layout:
    def read(files: Files, _: str) -> Mapping[str, Split]:
        path = files[name]
        found = {}
        for part in ("train", "test"):
            data = arrays.load(path, f"{part}_image", f"{part}_{text}", f"{part}_label")
            inside = arrays.names(path)
            ids = [f"{part}_{side}_id" for side in ("image", "text")]
            more = arrays.load(path, *ids) if set(ids) <= set(inside) else {}
            found[part] = _split(
                data[f"{part}_image"],
                data[f"{part}_{text}"],
                multi_hot(data[f"{part}_label"], 10),
                *([str(one) for one in more[key]] if more else None for key in ids),
            )
        return _with_validation(found)

    needs = (f"{name}::{part}_{side}" for part in ("train", "test") for side in ("image", text, "label"))
    return _whole(f"{name}, one array for each side of each split", tuple(needs), read)


def _split(
    image: Any, text: Any, label: Labels, image_id: list[str] | None, text_id: list[str] | None
) -> Split:
    return Split(image, text, label, paired_in_order(len(image)), image_id=image_id, text_id=text_id)


def _list(path: Path) -> list[tuple[str, str, int]]:
    """Text, picture and class (from 0) of each row of the official lists."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(row) != 3 or not row[2].isdigit() or not 1 <= int(row[2]) <= 10 for row in rows):
        raise BadData(f"{path} must have three columns: text, picture, class from 1 to 10")
    return [(text, image, int(number) - 1) for text, image, number in rows]


def _read_raw(files: Files, _: str) -> Mapping[str, Split]:
    data = arrays.load(files["raw_features.mat"], "I_tr", "I_te", "T_tr", "T_te")
    found = {}
    for part, short, list_ in (("train", "tr", _LISTS[0]), ("test", "te", _LISTS[1])):
        rows = _list(files[list_])
        found[part] = _split(
            data[f"I_{short}"],
            data[f"T_{short}"],
            multi_hot([number for _, _, number in rows], 10),
            [image for _, image, _ in rows],
            [text for text, _, _ in rows],
        )
    return _with_validation(found)


def _read_deep(files: Files, _: str) -> Mapping[str, Split]:
    path = files["wiki.mat"]
    found = {}
    for part in ("train", "test"):
        keys = (f"{part}_imgs_deep", f"{part}_texts_doc", f"{part}_imgs_labels")
        image, text, label = (arrays.load(path, *keys)[key] for key in keys)
        numbers = np.ravel(label).astype(np.int64)
        found[part] = _split(image, text, multi_hot(numbers - min(numbers.min(), 1), 10), None, None)
    return _with_validation(found)


def _read_documents(files: Files, _: str) -> Mapping[str, Split]:
    found = {}
    for part, list_ in (("train", _LISTS[0]), ("test", _LISTS[1])):
        rows = _list(files[list_])
        names = [f"{_CLASSES[number]}/{image}.jpg" for _, image, number in rows]
        found[part] = captioned(
            pictures_in(files["images"], names),
            [[_article(files["texts"] / f"{text}.xml")] for text, _, _ in rows],
            labels=[[_CLASSES[number]] for _, _, number in rows],
            class_names=_CLASSES,
            image_id=[image for _, image, _ in rows],
            text_id=[text for text, _, _ in rows],
        )
    return _with_validation(found)


def _article(path: Path) -> str:
    try:
        return " ".join("".join(ElementTree.parse(path).getroot().itertext()).split())
    except (OSError, ElementTree.ParseError) as error:
        raise BadData(f"{path} cannot be read ({error})") from error


def _whole(title: str, shared: tuple[str, ...], read: Callable[[Files, str], Mapping[str, Split]]) -> Layout:
    return Layout(
        title,
        dict.fromkeys(_SIZES, ()),
        read,
        shared=shared,
        sizes=_SIZES,
        class_names=_CLASSES,
    )


_PROTOCOLS = {
    "official": Protocol("test", "test", "label", note="2,173 / 693"),
    "deep": Protocol("test-462", "test-462", "label", validation="val", note="2,173 / 231 / 462"),
}


class Wikipedia(Originals):
    """The Wikipedia set; see the module's docstring, and `Originals` for the arguments."""

    name = "wikipedia"
    folders = ("wikipedia-features", "wikipedia_dataset")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "sift": (
            _npz("wikipedia_sift128_lda10.npz"),
            _whole("raw_features.mat of the original release", ("raw_features.mat", *_LISTS), _read_raw),
        ),
        "cnn": (_npz("wikipedia_cnnpca128_lda50.npz"),),
        "cnn-dense": (_npz("wikipedia_cnnpca128_lda50.npz", "text_dense100"),),
        "deep": (_whole("wiki.mat of the deep papers' codes", ("wiki.mat",), _read_deep),),
        "documents": (_whole("pictures and articles", ("images", "texts", *_LISTS), _read_documents),),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = dict.fromkeys(variants, _PROTOCOLS)
