"""One odd item costs no other: shards, COCO, Karpathy, precomputed features and lists of labels."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data import open_data
from diptych.data.readers import coco, karpathy
from diptych.data.reading import report_of
from diptych.errors import BadData


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


def shard(path: Path, **members: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def left(data: object) -> list[tuple[str, int, str]]:
    report = report_of(data)  # type: ignore[arg-type]
    assert report is not None
    return [(one.what, one.count, one.reason) for one in report.left]


def test_shards_with_odd_members(tmp_path: Path) -> None:
    shard(
        tmp_path / "train-0.tar",
        **{
            "._a.jpg": b"\0\1", "a.jpg": picture(), "a.json": b'["one", "two"]', "b.jpg": picture(),
            "b.txt": b"nan\n", "c.jpg": picture(), "c.json": b"{", "d.jpg": picture(),
            "d.txt": b"\xff\xfe\xff", "e.jpg": picture(), "e.txt": b"three",
        },
    )  # fmt: skip
    data = open_data(tmp_path)
    split = data.split("train")
    assert (split.image_id, split.text) == (("train-0/a", "train-0/e"), ["one", "two", "three"])
    assert sorted(left(data))[2] == ("pictures", 3, "has no text")
    assert [what for what, _, _ in sorted(left(data))] == ["files", "files", "pictures"]


def test_classes_of_shards_may_be_words(tmp_path: Path) -> None:
    shard(
        tmp_path / "s-0.tar", **{"a.jpg": picture(), "a.cls": b"dog\n", "b.jpg": picture(), "b.cls": b"cat"}
    )
    data = open_data(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert data.split("s").label.tolist() == [[0, 1], [1, 0]]  # type: ignore[union-attr]
    with pytest.raises(BadData, match="has no captions to evaluate with"):
        next(iter(data.cases()))


def test_coco_with_ids_that_are_words_and_parts_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "1.jpg").write_bytes(picture())
    images = [{"id": f"img_{n}", "file_name": f"{n}.jpg"} for n in (1, 2)]
    said = [("img_1", "one"), ("img_1", None), ("img_2", "two"), ("img_9", "nine")]
    rows = [{"id": f"a{n}", "image_id": image, "caption": text} for n, (image, text) in enumerate(said)]
    file = tmp_path / "annotations" / "captions_val2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"images": images, "annotations": rows}))
    data = open_data(tmp_path)
    split = data.split("val")
    assert (split.image_id, split.text_id, split.text) == (("img_1",), ("a0",), ["one"])
    assert [(what, count) for what, count, _ in left(data)] == [
        ("captions", 1),
        ("captions", 1),
        ("names", 1),
    ]
    with pytest.raises(BadData, match="lacks 1 of 2 pictures"):  # a set with a known home must be whole
        coco.split(file, None, tmp_path / "val2017")


def test_karpathy_with_parts_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(picture())
    images = [
        {"filename": "1.jpg", "split": "valid", "sentences": [{"raw": "one"}, {"raw": None}]},
        {"filename": "2.jpg", "split": "valid", "sentences": [{"raw": "two"}]},
    ]
    file = tmp_path / "dataset_x.json"
    file.write_text(json.dumps({"images": images}))
    data = open_data(tmp_path)
    assert (data.splits, data.split("val").text) == (("val",), ["one"])
    assert [(what, count) for what, count, _ in left(data)] == [("captions", 1), ("names", 1)]
    with pytest.raises(BadData, match="lacks 1 of 2 pictures"):
        karpathy.splits(file)


@pytest.mark.parametrize("repeated", [False, True])
def test_precomputed_features(repeated: bool, tmp_path: Path) -> None:
    for name, count in (("dev", 2), ("train", 4)):
        features = np.random.default_rng(count).standard_normal((count, 3, 2))
        np.save(tmp_path / f"{name}_ims.npy", features.repeat(5, 0) if repeated else features)
        (tmp_path / f"{name}_caps.txt").write_text("\n".join(f"caption {n}" for n in range(5 * count)))
    np.save(tmp_path / "test_ims.npy", np.zeros((2, 3)))
    data = open_data(tmp_path)
    assert data.splits == ("train", "dev")
    split = data.split("train")
    assert split.image.shape == (4, 6)  # type: ignore[union-attr]
    assert split.pairs[:6].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [1, 5]]
    assert left(data) == [("files", 1, "has no captions beside it")]
    (tmp_path / "test_caps.txt").write_text("a\nb\nc\n")
    with pytest.raises(BadData, match=r"split 'test' has an array of shape \(2, 3\) and 3 captions"):
        open_data(tmp_path)


def test_lists_of_names_and_columns(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in "123":
        (tmp_path / "images" / f"{name}.jpg").write_bytes(picture())
    (tmp_path / "train.txt").write_text("images/1.jpg 0 1 0\nimages/2.jpg 1 0 2\nimages/9.jpg 1 0 0\n")
    (tmp_path / "test.txt").write_text("images/3.jpg 1 1 0\n")
    data = open_data(tmp_path)
    assert data.split("train").label.tolist() == [[0, 1, 0]]  # type: ignore[union-attr]
    assert data.split("test").image_id == ("images/3.jpg",)
    assert [(what, count) for what, count, _ in left(data)] == [("rows", 1), ("names", 1)]


def test_a_table_without_captions_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(picture())
    (tmp_path / "list.csv").write_text("filename,size\n1.jpg,3\n")
    with pytest.raises(BadData, match="no column of captions; it has filename, size, and one of text"):
        open_data(tmp_path / "list.csv")


def test_one_name_for_several_pictures_of_an_archive_is_nobodys(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for folder in ("train", "test", "thumbs"):
            archive.writestr(f"{folder}/1.jpg", picture())
    (tmp_path / "captions.csv").write_text("image,caption\n1.jpg,red\n")
    with pytest.raises(BadData, match=r"names 3 pictures \(train/1\.jpg, test/1\.jpg, thumbs/1\.jpg\)"):
        open_data(tmp_path)
    (tmp_path / "captions.csv").write_text("image,caption\n1.jpg,red\ntrain/1.jpg,blue\n")
    assert open_data(tmp_path).split("all").text == ["blue"]
