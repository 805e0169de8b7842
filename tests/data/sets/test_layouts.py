"""Readers of originals that may not be passed on, on toys in the same form with a handful of rows.

The toys go to the layout's reader directly, since the set itself would refuse their size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.data.base import Split
from diptych.data.originals import Files, Originals, permuted
from diptych.data.sets import mirflickr, nus_wide
from diptych.data.sets.flickr30k import Flickr30K
from diptych.data.sets.iapr_tc12 import IAPRTC12
from diptych.data.sets.mirflickr import MIRFlickr
from diptych.data.sets.ms_coco import MSCOCO
from diptych.data.sets.nus_wide import NUSWide
from diptych.data.sets.pascal_sentence import PascalSentence
from diptych.data.sets.wikipedia import Wikipedia
from diptych.data.sets.xmedia import XMedia
from diptych.errors import BadData, MissingData


def read(dataset: type[Originals], variant: str, folder: Path, layout: int = 0) -> dict[str, Split]:
    """Every split of a toy, after a look whether the layout finds all that it needs."""
    way = dataset.variants[variant][layout]
    assert not [need for need in way.needs if need not in Files(folder)]
    return dict(way.read(Files(folder), next(iter(way.parts))))


def draw(folder: Path, *names: str) -> None:
    for red, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (red * 10, 0, 0)).save(folder / name, "PNG")


def red(picture: Any) -> int:
    return int(picture.getpixel((0, 0))[0])


def small_split(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Two queries and three training items in the place of thousands."""
    monkeypatch.setattr(
        module, "permuted", lambda count, **_: permuted(count, query=2, train=3, seed=1814), raising=True
    )


def test_flickr30k(tmp_path: Path) -> None:
    images = [
        {"filename": f"{n}.jpg", "split": split, "sentences": [{"raw": f"{n}-{c}"} for c in range(5)]}
        for n, split in enumerate(["train", "val", "test"])
    ]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    draw(tmp_path / "flickr30k-images", "0.jpg", "1.jpg", "2.jpg")
    parts = read(Flickr30K, "karpathy", tmp_path)
    assert {name: len(part.text) for name, part in parts.items()} == {"train": 5, "val": 5, "test": 5}
    assert red(parts["test"].image[0]) == 20


def test_coco_karpathy_counts_restval_as_train(tmp_path: Path) -> None:
    images = [
        {
            "filename": f"{n}.jpg",
            "filepath": home,
            "split": split,
            "sentences": [{"raw": str(c)} for c in range(6)],
        }
        for n, (home, split) in enumerate(
            [("train2014", "train"), ("val2014", "restval"), ("val2014", "val"), ("val2014", "test")]
        )
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    draw(tmp_path, "train2014/0.jpg", "val2014/1.jpg", "val2014/2.jpg", "val2014/3.jpg")
    parts = read(MSCOCO, "karpathy", tmp_path)
    assert parts["train"].image_id == ("0.jpg", "1.jpg")
    assert [red(picture) for picture in parts["train"].image] == [0, 10]
    assert len(parts["test"].captions(5).text) == 5


def test_coco_hashing_leaves_out_what_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych.data.sets import ms_coco

    small_split(monkeypatch, ms_coco)
    (tmp_path / "annotations").mkdir()
    for part, ids in (("train", range(6)), ("val", range(6, 9))):
        images = [{"id": n, "file_name": f"{n}.jpg"} for n in ids]
        captions = [{"id": 10 * n + c, "image_id": n, "caption": f"{n}-{c}"} for n in ids for c in range(2)]
        objects = [{"image_id": n, "category_id": 1 + n % 2} for n in ids if n != 3]
        categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
        home = tmp_path / "annotations"
        (home / f"captions_{part}2017.json").write_text(
            json.dumps({"images": images, "annotations": captions})
        )
        (home / f"instances_{part}2017.json").write_text(
            json.dumps({"images": images, "annotations": objects, "categories": categories})
        )
        draw(tmp_path / f"{part}2017", *(f"{n}.jpg" for n in ids))
    parts = read(MSCOCO, "hashing", tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {"query": 2, "train": 3, "database": 6}
    everything = {*parts["query"].image_id, *parts["database"].image_id}
    assert everything == {str(n) for n in range(9) if n != 3}
    assert all(text.endswith("-0") for text in parts["database"].text)


def test_mirflickr_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_split(monkeypatch, mirflickr)
    annotations = tmp_path / "mirflickr25k_annotations_v080"
    annotations.mkdir()
    for name in mirflickr._CLASSES:
        (annotations / f"{name}.txt").write_text("")
    (annotations / "dog.txt").write_text("1\n2\n3\n")
    (annotations / "sea.txt").write_text("3\n4\n5\n7\n")
    draw(tmp_path / "mirflickr", *(f"im{n}.jpg" for n in range(1, 8)))
    (tmp_path / "mirflickr" / "meta" / "tags").mkdir(parents=True)
    for n in range(1, 8):
        (tmp_path / "mirflickr" / "meta" / "tags" / f"tags{n}.txt").write_text(f"tag{n}\nother\n")
    parts = read(MIRFlickr, "original", tmp_path)
    everything = {**dict(labelled(parts["query"])), **dict(labelled(parts["database"]))}
    assert sorted(everything) == [f"im{n}.jpg" for n in (1, 2, 3, 4, 5, 7)]
    assert everything["im3.jpg"] == ("tag3 other", ["dog", "sea"])


def labelled(split: Split) -> list[tuple[str, tuple[str, list[str]]]]:
    names = [[mirflickr._CLASSES[column] for column in np.flatnonzero(row)] for row in split.label]
    return [(one, (text, name)) for one, text, name in zip(split.image_id, split.text, names, strict=True)]


def test_nus_wide_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_split(monkeypatch, nus_wide)
    monkeypatch.setattr(nus_wide, "_ITEMS", 8)
    home = tmp_path / "Groundtruth" / "AllLabels"
    home.mkdir(parents=True)
    for number, name in enumerate(nus_wide.TC10):
        (home / f"Labels_{name}.txt").write_text("".join(f"{int(n % 10 == number)}\n" for n in range(8)))
    (tmp_path / "ImageList").mkdir()
    (tmp_path / "ImageList" / "Imagelist.txt").write_text("".join(f"actor\\{n}.jpg\n" for n in range(8)))
    (tmp_path / "NUS_WID_Tags").mkdir()
    (tmp_path / "NUS_WID_Tags" / "All_Tags.txt").write_text("".join(f"{n} tag{n} more\n" for n in range(8)))
    parts = read(NUSWide, "tc10", tmp_path)
    database = parts["database"]
    assert {name: len(part) for name, part in parts.items()} == {"query": 2, "train": 3, "database": 6}
    for one, text, label in zip(database.image_id, database.text, database.label, strict=True):
        number = int(one.removeprefix("actor/").removesuffix(".jpg"))
        assert text == f"tag{number} more"
        assert np.flatnonzero(label).tolist() == [number]
    with pytest.raises(MissingData, match="the pictures of nus-wide are not in"):
        database.image[0]
    draw(tmp_path / "Flickr", *(f"actor/{n}.jpg" for n in range(8)))
    assert red(read(NUSWide, "tc10", tmp_path)["database"].image[0]) % 10 == 0
    (home / "Labels_sky.txt").unlink()
    with pytest.raises(BadData, match=r"only a part of the labels: Labels_sky\.txt is missing"):
        read(NUSWide, "tc10", tmp_path)


def test_nus_wide_refuses_a_short_list(tmp_path: Path) -> None:
    (tmp_path / "AllLabels").mkdir()
    for name in nus_wide.TC10:
        (tmp_path / "AllLabels" / f"Labels_{name}.txt").write_text("1\n0\n")
    (tmp_path / "Imagelist.txt").write_text("a.jpg\n")
    (tmp_path / "All_Tags.txt").write_text("1 a\n2 b\n")
    with pytest.raises(BadData, match="2 label rows, 1 pictures, 2 tag lines, where each should be 269,648"):
        read(NUSWide, "tc10", tmp_path)


def test_nus_wide_10k(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        f"{part}_{side}": random.random((4, 3))
        for part in ("train", "val", "test")
        for side in ("image", "text")
    }
    np.savez(
        tmp_path / "nus_wide_10k.npz",
        **arrays,
        **{f"{p}_label": np.arange(4) for p in ("train", "val", "test")},
    )
    parts = read(NUSWide, "10k", tmp_path)
    assert parts["val"].label.tolist() == np.eye(4).tolist()
    assert np.allclose(parts["test"].text, arrays["test_text"])


def test_iapr_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych.data.sets import iapr_tc12

    small_split(monkeypatch, iapr_tc12)
    home = tmp_path / "annotations_complete_eng" / "00"
    home.mkdir(parents=True)
    for n in range(6):
        text = f"<DOC>\n<DESCRIPTION>caf\xe9 {n}; a dog;</DESCRIPTION>\n</DOC>"
        (home / f"{n}.eng").write_text(text, encoding="latin-1")
    draw(tmp_path / "images", *(f"00/{n}.jpg" for n in range(6)))
    query = read(IAPRTC12, "original", tmp_path)["query"]
    number = query.image_id[0].removeprefix("00/").removesuffix(".jpg")
    assert query.text[:2] == [f"caf\xe9 {number}", "a dog"]
    (home / "0.eng").write_text("<DOC></DOC>")
    with pytest.raises(BadData, match=r"0\.eng has no <DESCRIPTION>"):
        read(IAPRTC12, "original", tmp_path)


def test_pascal_sentences(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "sentence" / name).mkdir(parents=True)
        draw(tmp_path / "dataset", *(f"{name}/{n:02}.jpg" for n in range(50)))
        for n in range(50):
            (tmp_path / "sentence" / name / f"{n:02}.txt").write_text(f"a {name}\nnumber {n}\n")
    parts = read(PascalSentence, "sentences", tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {"train": 80, "val": 10, "test": 10}
    assert parts["test"].image_id[0] == "cat/45.jpg"
    assert parts["test"].text[:2] == ["a cat", "number 45"]
    assert parts["test"].label.sum(axis=0).tolist() == [5, 5]
    (tmp_path / "sentence" / "cat" / "00.txt").unlink()
    with pytest.raises(BadData, match="cat has 49 texts; each of the 20 classes has 50"):
        read(PascalSentence, "sentences", tmp_path)


def test_wikipedia_deep_and_documents(tmp_path: Path) -> None:
    from scipy import io as scipy_io

    random = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for part, count in (("train", 20), ("test", 300)):
        content[f"{part}_imgs_deep"] = random.random((count, 6))
        content[f"{part}_texts_doc"] = random.random((count, 5))
        content[f"{part}_imgs_labels"] = np.arange(count)[None] % 10 + 1
    scipy_io.savemat(tmp_path / "wiki.mat", content)
    parts = read(Wikipedia, "deep", tmp_path)
    assert parts["train"].label[11].tolist() == [0, 1] + [0] * 8
    assert len(parts["test-462"]) == 69
    for name, count in (("trainset", 3), ("testset", 232)):
        rows = [f"{name}-t{n}\t{name}-i{n}\t{n % 10 + 1}" for n in range(count)]
        (tmp_path / f"{name}_txt_img_cat.list").write_text("\n".join(rows) + "\n")
        classes = Wikipedia.variants["documents"][0].class_names
        draw(tmp_path / "images", *(f"{classes[n % 10]}/{name}-i{n}.jpg" for n in range(count)))
        (tmp_path / "texts").mkdir(exist_ok=True)
        for n in range(count):
            (tmp_path / "texts" / f"{name}-t{n}.xml").write_text(
                f"<doc><text>About\n  {name} {n}.</text></doc>"
            )
    parts = read(Wikipedia, "documents", tmp_path)
    assert parts["train"].text == ["About trainset 0.", "About trainset 1.", "About trainset 2."]
    assert parts["test-462"].image_id == ("testset-i231",)
    (tmp_path / "texts" / "trainset-t1.xml").write_text("<doc>")
    with pytest.raises(BadData, match=r"trainset-t1\.xml cannot be read"):
        read(Wikipedia, "documents", tmp_path)


def test_xmedia_and_xmedianet(tmp_path: Path) -> None:
    import h5py
    from scipy import io as scipy_io

    random = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for short, count in (("tr", 40), ("te", 1000)):
        content[f"I_{short}_CNN"], content[f"T_{short}_BOW"] = (
            random.random((count, 6)),
            random.random((count, 5)),
        )
        content[f"{short}ImgCat"] = content[f"{short}TxtCat"] = np.arange(count)[:, None] % 20 + 1
    scipy_io.savemat(tmp_path / "XMediaFeatures.mat", content)
    parts = read(XMedia, "xmedia", tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 40,
        "test": 1000,
        "val": 500,
        "test-500": 500,
    }
    assert np.allclose(parts["test-500"].image, content["I_te_CNN"][500:])
    content["teTxtCat"] = content["teTxtCat"][::-1]
    scipy_io.savemat(tmp_path / "XMediaFeatures.mat", content)
    with pytest.raises(BadData, match="differ in their order of classes"):
        read(XMedia, "xmedia", tmp_path)
    with h5py.File(tmp_path / "xmedianet.h5", "w") as file:
        for prefix in ("train", "valid", "test"):
            file[f"{prefix}_imgs_deep"], file[f"{prefix}_text"] = random.random((7, 3)), random.random((7, 2))
            file[f"{prefix}_imgs_labels"] = np.arange(1, 8)
    parts = read(XMedia, "xmedianet", tmp_path)
    assert parts["val"].label[:, :7].tolist() == np.eye(7).tolist()
    assert parts["val"].label.shape == (7, 200)
