"""Each generic reader on small files that the test writes, whole and damaged."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from diptych.data import open_data
from diptych.data.readers import arrays, coco, tables
from diptych.data.readers.folder import Folder
from diptych.errors import BadData, MissingData, MissingExtra, UnknownName


def picture(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def draw(folder: Path, *names: str) -> None:
    """Pictures of rising redness."""
    for red, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(red))


def reds(images: Any) -> list[int]:
    return [image.getpixel((0, 0))[0] for image in images]


def texts_of(split: Any, image: int) -> list[str]:
    return [split.text[text] for row, text in split.pairs.tolist() if row == image]


# A folder of pictures with captions beside them


def test_folder(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "deep/b.png", "c.png")
    (tmp_path / "a.txt").write_text("one\n\n two \n", encoding="utf-8")
    (tmp_path / "deep" / "b.png.txt").write_text("three", encoding="utf-8")
    dataset = open_data(tmp_path)
    assert isinstance(dataset, Folder)
    split = dataset.split("all")
    assert split.image_id == ("a.png", "deep/b.png")
    assert split.text == ["one", "two", "three"]
    assert split.pairs.tolist() == [[0, 0], [0, 1], [1, 2]]
    assert dataset.skipped == [tmp_path / "c.png"]
    assert reds(split.image) == [0, 1]


def test_folder_of_splits(tmp_path: Path) -> None:
    for name in ("train", "test"):
        draw(tmp_path / name, "a.png")
        (tmp_path / name / "a.txt").write_text(name)
    dataset = open_data(tmp_path)
    assert dataset.splits == ("train", "test")
    assert dataset.split("test").text == ["test"]


def test_folder_without_captions_says_how(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    with pytest.raises(BadData, match=r"no picture with a caption \(1 picture without\).*dog\.txt"):
        Folder(tmp_path)
    with pytest.raises(MissingData, match="is not a folder"):
        Folder(tmp_path / "none")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadData, match=r"a\.txt cannot be read as text: it is not UTF-8"):
        Folder(tmp_path)


# Tables


def test_csv_joins_rows_of_one_picture(tmp_path: Path) -> None:
    draw(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "captions.csv").write_text(
        'image,caption\na.png,"one, with comma"\nb.png,two\na.png,three\n', encoding="utf-8"
    )
    split = open_data(tmp_path / "captions.csv").split("all")
    assert split.image_id == ("a.png", "b.png")
    assert texts_of(split, 0) == ["one, with comma", "three"]
    assert reds(split.image) == [0, 1]
    assert open_data(tmp_path).split("all").sha256() == split.sha256()


def test_the_forms_in_which_flickr8k_and_flickr30k_are_passed_on(tmp_path: Path) -> None:
    draw(tmp_path / "Images", "a.png", "b.png")
    (tmp_path / "captions.txt").write_text('image,caption\na.png,"one, two"\nb.png,three\n', encoding="utf-8")
    split = open_data(tmp_path).split("all")
    assert (split.image_id, texts_of(split, 0)) == (("a.png", "b.png"), ["one, two"])
    assert reds(split.image) == [0, 1]
    bars = tmp_path / "results.csv"
    bars.write_text(
        "image_name| comment_number| comment\na.png| 0| One , two .\na.png| 1| Three .\n", encoding="utf-8"
    )
    assert texts_of(open_data(bars).split("all"), 0) == ["One , two .", "Three ."]


def test_labels_of_a_table_can_be_measured_by(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("image,caption,label\na.png,one,x\nb.png,two,y\nc.png,three,x\n")
    dataset = open_data(tmp_path / "t.csv")
    assert {name: one.relevance for name, one in dataset.protocols.items()} == {
        "all": "pair",
        "all-labels": "label",
    }
    query, _ = next(iter(dataset.cases("all-labels")))
    assert query.text_label.tolist() == [[1, 0], [0, 1], [1, 0]]
    (tmp_path / "t.csv").write_text("image,caption\na.png,one\n")
    assert list(open_data(tmp_path / "t.csv").protocols) == ["all"]


def test_tsv_with_a_column_of_splits_and_labels(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "t.tsv").write_text(
        "Filename\tTitle\tSplit\tLabel\na.png\tA\ttrain\tcat\nb.png\tB\ttest\tdog\nc.png\tC\ttrain\tant\n"
    )
    dataset = open_data(tmp_path / "t.tsv")
    assert dataset.splits == ("train", "test")
    assert dataset.class_names == ("ant", "cat", "dog")
    assert dataset.split("train").label.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_jsonl_with_zip_gzip_and_named_columns(tmp_path: Path) -> None:
    rows = [{"pic": "a.png", "captions": ["x", "y"], "tint": "red", "size": "s"}]
    with gzip.open(tmp_path / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with zipfile.ZipFile(tmp_path / "train_images.zip", "w") as archive:
        archive.writestr("a.png", picture(9))
    dataset = tables.read(tmp_path, image="pic", label=["tint", "size"])
    assert dataset.class_names == ("size=s", "tint=red")
    assert dataset.split("train").text == ["x", "y"]
    assert reds(dataset.split("train").image) == [9]
    with pytest.raises(BadData, match="no column for the image; it has pic, captions, tint, size"):
        tables.read(tmp_path)
    with pytest.raises(BadData, match="no column 'colour'; it has pic"):
        tables.read(tmp_path, image="pic", label="colour")


def test_parquet_with_pictures_inside(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = pa.table(
        {
            "image": [{"bytes": picture(3), "path": "a.png"}, {"bytes": picture(4), "path": "b.png"}],
            "text": ["x", "y"],
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    split = open_data(tmp_path / "t.parquet").split("all")
    assert reds(split.image) == [3, 4]
    assert split.text == ["x", "y"]
    (tmp_path / "t.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(BadData, match="cannot be read as Parquet"):
        open_data(tmp_path / "t.parquet")


def test_shards_of_a_split_are_one_table(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    (tmp_path / "data").mkdir()
    for name, tint in (("train-00000-of-00002", 1), ("train-00001-of-00002", 2), ("test-00000-of-00001", 3)):
        row = {"image": {"bytes": picture(tint), "path": f"{tint}.png"}, "caption": f"tint {tint}"}
        parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "data" / f"{name}.parquet")
    dataset = open_data(tmp_path)
    assert dataset.splits == ("train", "test")
    assert reds(dataset.split("train").image) == [1, 2]
    assert dataset.split("train").text == ["tint 1", "tint 2"]
    (tmp_path / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(
        BadData, match=r"data lacks shard 0 of 2 that belong to train-00001-of-00002\.parquet"
    ):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", '{"image": "a.png"\n', "line 1: not JSON"),
        ("t.jsonl", '\n["a"]\n', "line 2: not a JSON object"),
        ("t.csv", "image,text\na.png\n", "line 2: expected 2 columns"),
        ("t.csv", "image,text\n,x\n", "line 2: no picture in column 'image'"),
        ("t.csv", "image,text\nz.png,x\n", "lacks 1 of 1 pictures, the first 'z.png'"),
        ("t.csv", "", "no column for the image; it has no rows"),
    ],
)
def test_damaged_tables_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadData, match=message):
        open_data(tmp_path / name)


def test_a_gzip_cut_short(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"image": "a.png", "text": "b"}\n' * 99)[:-20])
    with pytest.raises(BadData, match="cannot be read as text"):
        open_data(tmp_path / "t.jsonl.gz")


# Karpathy's JSON


def karpathy(folder: Path, **more: Any) -> Path:
    images = [
        {"filename": f"{n}.png", "split": split, "sentences": [{"raw": f"{n}a"}, {"raw": f"{n}b"}], **more}
        for n, split in enumerate(["train", "restval", "val", "test"])
    ]
    path = folder / "dataset_mine.json"
    path.write_text(json.dumps({"images": images, "dataset": "mine"}))
    return path


def test_karpathy(tmp_path: Path) -> None:
    path = karpathy(tmp_path, filepath="val2014")
    draw(tmp_path / "val2014", "0.png", "1.png", "2.png", "3.png")
    dataset = open_data(path)
    assert dataset.name == "mine"
    assert dataset.splits == ("train", "val", "test")
    assert dataset.split("train").image_id == ("0.png", "1.png")
    assert texts_of(dataset.split("test"), 0) == ["3a", "3b"]
    assert reds(dataset.split("train").image) == [0, 1]
    assert open_data(tmp_path).split("val").sha256() == dataset.split("val").sha256()


def test_karpathy_without_pictures_still_has_captions(tmp_path: Path) -> None:
    split = open_data(karpathy(tmp_path)).split("train")
    assert len(split.text) == 4
    with pytest.raises(MissingData, match=r"the pictures of .* are not in"):
        split.image[0]


def test_karpathy_damaged(tmp_path: Path) -> None:
    path = karpathy(tmp_path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(BadData, match="not in Karpathy's form"):
        open_data(path)


# COCO's JSON


def coco_files(folder: Path) -> Path:
    home = folder / "annotations"
    home.mkdir(parents=True)
    images = [{"id": 7, "file_name": "7.png"}, {"id": 3, "file_name": "3.png"}]
    captions = [{"id": 1, "image_id": 3, "caption": "three "}, {"id": 2, "image_id": 7, "caption": "seven"}]
    objects = [
        {"image_id": 7, "category_id": 90},
        {"image_id": 7, "category_id": 1},
        {"image_id": 7, "category_id": 1},
    ]
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}]
    (home / "captions_val2017.json").write_text(json.dumps({"images": images, "annotations": captions}))
    (home / "instances_val2017.json").write_text(
        json.dumps({"images": images, "annotations": objects, "categories": categories})
    )
    return home


def test_coco(tmp_path: Path) -> None:
    home = coco_files(tmp_path)
    draw(tmp_path / "val2017", "7.png", "3.png")
    dataset = open_data(tmp_path)
    split = dataset.split("val")
    assert dataset.class_names == ("person", "toothbrush")
    assert split.image_id == ("7", "3")
    assert split.label.tolist() == [[1, 1], [0, 0]]
    assert split.text == ["seven", "three"]
    assert split.text_id == ("2", "1")
    assert reds(split.image) == [0, 1]
    captions, instances = home / "captions_val2017.json", home / "instances_val2017.json"
    assert coco.split(captions, instances, only_labelled=True).image_id == ("7",)
    assert open_data(captions).split("val").label is None


def test_coco_damaged(tmp_path: Path) -> None:
    home = coco_files(tmp_path)
    (home / "instances_val2017.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(BadData, match=r"instances_val2017\.json is not COCO's instances form .*categories"):
        open_data(tmp_path)


# clip-retrieval folders


def clip_folder(folder: Path, rows: int = 6) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    for part in ("img_emb", "text_emb", "metadata"):
        (folder / part).mkdir(parents=True)
    vectors = np.arange(rows * 2, dtype=np.float16).reshape(rows, 2)
    for shard, rows_of in enumerate(np.array_split(np.arange(rows), 3)):
        np.save(folder / "img_emb" / f"img_emb_{shard}.npy", vectors[rows_of])
        np.save(folder / "text_emb" / f"text_emb_{shard}.npy", -vectors[rows_of])
        table = pa.table(
            {"caption": [f"c{row}" for row in rows_of], "image_path": [f"p{row}" for row in rows_of]}
        )
        parquet.write_table(table, folder / "metadata" / f"metadata_{shard}.parquet")


def test_clip_retrieval(tmp_path: Path) -> None:
    clip_folder(tmp_path)
    split = open_data(tmp_path).split("all")
    assert split.image.dtype == np.float32
    assert split.image[:, 0].tolist() == [0, 2, 4, 6, 8, 10]
    assert np.array_equal(split.text, -split.image)
    assert split.image_id == tuple(f"p{row}" for row in range(6))
    for path in (tmp_path / "text_emb").iterdir():
        path.unlink()
    assert open_data(tmp_path).split("all").text == [f"c{row}" for row in range(6)]


def test_clip_retrieval_half_missing(tmp_path: Path) -> None:
    clip_folder(tmp_path)
    (tmp_path / "img_emb" / "img_emb_1.npy").unlink()
    with pytest.raises(BadData, match="img_emb lacks shard 1 of 3"):
        open_data(tmp_path)
    (tmp_path / "img_emb" / "img_emb_2.npy").unlink()
    with pytest.raises(BadData, match=r"different numbers of rows .*'img_emb': 2, 'text_emb': 6"):
        open_data(tmp_path)


# webdataset shards


def shard(path: Path, samples: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in samples.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_webdataset(tmp_path: Path) -> None:
    shard(
        tmp_path / "train-000.tar",
        {"0.png": picture(5), "0.txt": b"one\ntwo", "1.png": picture(6), "1.json": b'{"caption": "three"}'},
    )
    shard(
        tmp_path / "train-001.tar",
        {"d/0.png": picture(7), "d/0.json": b'{"captions": ["four", "five"]}', "d/0.cls": b"1"},
    )
    dataset = open_data(tmp_path)
    split = dataset.split("train")
    assert reds(split.image) == [5, 6, 7]
    assert split.text == ["one", "two", "three", "four", "five"]
    assert split.label.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert split.image_id == ("train-000/0", "train-000/1", "train-001/d/0")


def test_webdataset_written_by_the_library(tmp_path: Path) -> None:
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        writer.write({"__key__": "k1", "png": picture(8), "txt": "hello"})
    split = open_data(tmp_path / "w.tar").split("w")
    assert (reds(split.image), split.text) == ([8], ["hello"])


def test_webdataset_half_missing(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {"0.png": picture(5)})
    with pytest.raises(BadData, match="no text for picture '0'"):
        open_data(tmp_path / "a.tar")
    shard(tmp_path / "a.tar", {"0.txt": b"alone"})
    with pytest.raises(BadData, match="holds no pictures"):
        open_data(tmp_path / "a.tar")


# Feature files


@pytest.fixture
def features() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "train": (random.standard_normal((4, 3)), random.standard_normal((4, 2)), np.array([0, 1, 2, 1])),
        "test": (random.standard_normal((2, 3)), random.standard_normal((2, 2)), np.array([2, 0])),
    }


def check(dataset: Any, features: dict[str, Any], test: str = "test") -> None:
    for ours, theirs in (("train", "train"), (test, "test")):
        image, text, label = features[theirs]
        split = dataset.split(ours)
        assert np.allclose(split.image, image)
        assert np.allclose(split.text, text)
        assert split.label.tolist() == np.eye(3)[label].tolist()


def test_npz(tmp_path: Path, features: dict[str, Any]) -> None:
    content = {
        f"{s}_{p}": a
        for s, parts in features.items()
        for p, a in zip(("image", "text", "label"), parts, strict=True)
    }
    np.savez(tmp_path / "f.npz", **content, class_names=np.array(["a", "b", "c"]))
    dataset = open_data(tmp_path / "f.npz")
    check(dataset, features)
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.relevance == "label"


def test_mat_with_classes_from_one_and_columns(tmp_path: Path, features: dict[str, Any]) -> None:
    from scipy import io as scipy_io

    (i_tr, t_tr, l_tr), (i_te, t_te, l_te) = features["train"], features["test"]
    scipy_io.savemat(
        tmp_path / "f.mat",
        {
            "I_tr": i_tr,
            "T_tr": t_tr,
            "L_tr": l_tr[:, None] + 1,
            "I_te": i_te,
            "T_te": t_te,
            "L_te": l_te[:, None] + 1,
        },
    )
    check(open_data(tmp_path / "f.mat"), features)


def test_folder_of_mat_files_named_after_sides(tmp_path: Path, features: dict[str, Any]) -> None:
    from scipy import io as scipy_io

    for split, parts in features.items():
        for part, array in zip(("img", "txt", "img_lab"), parts, strict=True):
            value = array[:, None] if array.ndim == 1 else array
            scipy_io.savemat(tmp_path / f"{split}_{part}.mat", {f"{split}_{part}": value})
    check(open_data(tmp_path), features)
    (tmp_path / "train_img.mat").unlink()
    with pytest.raises(BadData, match="only a part of split 'train': image missing, label, text there"):
        open_data(tmp_path)


def test_a_folder_is_read_as_its_one_file_whatever_that_is_called(
    tmp_path: Path, features: dict[str, Any]
) -> None:
    content = {
        f"{part}_{end}": array
        for split, end in (("train", "tr"), ("test", "te"))
        for part, array in zip("ITL", features[split], strict=True)
    }
    for ending in ("mat", "h5", "npz"):
        folder = tmp_path / ending
        folder.mkdir()
        if ending == "mat":
            scipy.io.savemat(
                folder / "d.mat", {k: v[:, None] if v.ndim == 1 else v for k, v in content.items()}
            )
        elif ending == "npz":
            np.savez(folder / "d.npz", **content)
        else:
            with h5py.File(folder / "d.h5", "w") as file:
                file.update(content)
        check(open_data(folder), features)


def test_three_files_of_a_whole_set(tmp_path: Path, features: dict[str, Any]) -> None:
    image, text, label = features["train"]
    for letter, array in (("F", image), ("Y", text), ("L", np.eye(3)[label])):
        scipy.io.savemat(tmp_path / f"set-{letter.lower()}all.mat", {f"{letter}All": array})
    split = open_data(tmp_path).split("all")
    assert np.allclose(split.image, image)
    assert np.allclose(split.text, text)
    assert split.label.tolist() == np.eye(3)[label].tolist()


def test_hdf5_and_matlab_73(tmp_path: Path, features: dict[str, Any]) -> None:
    import h5py

    with (
        h5py.File(tmp_path / "f.h5", "w") as plain,
        h5py.File(tmp_path / "f.mat", "w", userblock_size=512) as matlab,
    ):
        for split, name in (("train", "Train"), ("test", "Test")):
            for letter, array in zip("XYL", features[split], strict=True):
                value = np.eye(3)[array] if letter == "L" else array
                plain[f"{letter}{name}"] = value
                matlab[f"{letter}{name}"] = value.T
    check(open_data(tmp_path / "f.h5"), features)
    check(open_data(tmp_path / "f.mat"), features)


def test_feature_files_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", train_image=np.zeros((3, 2)), train_text=np.zeros((2, 2)))
    with pytest.raises(BadData, match="3 images and 2 texts"):
        open_data(tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", weights=np.zeros(3), bias=np.zeros(3))
    with pytest.raises(BadData, match=r"f\.npz::weights, f\.npz::bias. Name them train_image"):
        open_data(tmp_path / "f.npz")
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(BadData, match=r"f\.npz cannot be read"):
        open_data(tmp_path / "f.npz")
    np.savez(tmp_path / "g.npz", a=np.zeros(3))
    with pytest.raises(BadData, match="lacks nothing; it holds a"):
        arrays.load(tmp_path / "g.npz", "nothing")
    np.savez(tmp_path / "o.npz", train_image=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadData, match="cannot be read"):  # pickles run code
        arrays.load(tmp_path / "o.npz", "train_image")


# Hugging Face


def test_hugging_face(tmp_path: Path) -> None:
    import datasets

    parts = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {
        "image": [{"bytes": picture(n), "path": None} for n in (1, 2)],
        "caption": ["x", "y"],
        "label": [1, 0],
    }
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=parts)})
    saved.save_to_disk(str(tmp_path / "hf"))
    dataset = open_data(tmp_path / "hf")
    split = dataset.split("train")
    assert dataset.class_names == ("cat", "dog")
    assert split.label.tolist() == [[0, 1], [1, 0]]
    assert reds(split.image) == [1, 2]
    assert split.text == ["x", "y"]


# open_data


def test_unknown_names_and_paths(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'wikipdia'; did you mean wikipedia"):
        open_data("wikipdia")
    with pytest.raises(UnknownName, match="variant 'snn' of wikipedia; did you mean"):
        open_data("wikipedia:snn")
    with pytest.raises(MissingData, match="does not exist; give a file or folder, or one of caltech101"):
        open_data(tmp_path / "none")
    with pytest.raises(MissingData, match="does not exist"):
        open_data("./none")
    (tmp_path / "readme.md").write_text("nothing")
    with pytest.raises(BadData, match=r"nothing that can be read as a data set\. What can be read: "):
        open_data(tmp_path)


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"reading Parquet files needs .*diptych\[data\]"):
        open_data(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["embeddings.pkl", "embeddings.pt"])
def test_what_can_run_code_is_not_read_and_a_way_out_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(BadData, match=r"can run code of whoever wrote it .* numpy\.save"):
        arrays.names(tmp_path / name)
