"""Sets with a known home: where they are looked for, what half of them says, what prepare records."""

from __future__ import annotations

import inspect
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych import data
from diptych.catalogue import cards
from diptych.data import open_data
from diptych.data.base import Protocol, Split, paired_in_order
from diptych.data.originals import Files, Layout, Originals, data_home, listed, permuted
from diptych.data.sets.flickr8k import Flickr8k
from diptych.data.sets.pascal_sentence import PascalSentence
from diptych.data.sets.wikipedia import Wikipedia
from diptych.errors import BadData, MissingData, UnknownName

NAMED = [name for name in data.names() if name != "planted"]


def _read(files: Files, name: str) -> Mapping[str, Split]:
    values = np.loadtxt(files[f"{name}.txt"], ndmin=2)
    return {name: Split(values, values, None, paired_in_order(len(values)))}


class Toy(Originals):
    """A set of two splits, each in two files, and one file for both.

    Home: the toy shop, on
      the corner
    """

    name = "toy"
    folders = ("toys",)
    variants: Mapping[str, tuple[Layout, ...]] = {
        "plain": (
            Layout(
                "text files",
                {"train": ("train.txt", "train.lab|train.labels"), "test": ("test.txt", "test.lab")},
                _read,
                shared=("all.txt",),
                sizes={"train": (3, None)},
            ),
        ),
        "other": (Layout("another form", {"train": ("other.npz::x",)}, _read),),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "plain": {"official": Protocol("test", "test", "pair"), "dev": Protocol("train", "train", "pair")},
        "other": {"official": Protocol("train", "train", "pair")},
    }

    @property
    def card(self) -> str:
        return inspect.cleandoc(type(self).__doc__ or "")


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A whole toy set."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in ("all.txt", "train.lab", "test.lab"):
        (folder / name).write_text("x")
    (folder / "train.txt").write_text("1 2\n3 4\n5 6\n")
    (folder / "test.txt").write_text("7 8\n")
    return folder


def test_the_home_follows_argument_then_environment(
    tmp_path: Path, toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DIPTYCH_DATA", raising=False)
    assert data_home() == tmp_path / "home" / "data"
    assert Toy().root == tmp_path / "home" / "data" / "toy"
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "sets"))
    assert Toy().root == tmp_path / "sets" / "toy"
    (tmp_path / "sets" / "toys").mkdir(parents=True)
    assert Toy().root == tmp_path / "sets" / "toys"
    assert Toy(toys).root == toys
    assert Toy(tmp_path / "sets").root == tmp_path / "sets" / "toys"
    monkeypatch.delenv("DIPTYCH_HOME")
    monkeypatch.delenv("DIPTYCH_DATA")
    assert data_home().name == "data"


def test_variants_may_lie_in_folders_of_their_own(tmp_path: Path, toys: Path) -> None:
    toys.rename(tmp_path / "toys")
    (tmp_path / "toy").mkdir()
    np.savez(tmp_path / "toy" / "other.npz", x=np.ones(3))
    assert Toy(tmp_path, variant="other").root == tmp_path / "toy"
    plain = Toy(tmp_path, variant="plain")
    assert plain.root == tmp_path / "toys"
    assert len(plain.split("train").image) == 3
    assert Toy(tmp_path).variant == "other"


def test_absent_says_where_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(
        MissingData,
        match=r"toy \(plain\) is not in .*It comes from: the toy shop, on the corner\. "
        r"Put all\.txt, train\.txt, train\.lab \(or train\.labels\), test\.txt and "
        r"test\.lab there, or let `diptych data prepare toy:plain` record the folder where they are",
    ):
        Toy(tmp_path).split("train")


def test_half_a_split_is_refused_by_name(toys: Path, tmp_path: Path) -> None:
    (toys / "train.lab").unlink()
    message = (
        r"part of toy \(train\): train\.lab \(or train\.labels\) missing, while all\.txt and train\.txt are"
    )
    with pytest.raises(BadData, match=message):
        Toy(toys).split("train")
    with pytest.raises(BadData, match=message):
        Toy(tmp_path / "new").prepare(toys)
    assert not (tmp_path / "new").exists()
    (toys / "train.labels").write_text("x")
    assert len(Toy(toys).split("train")) == 3


def test_a_shared_file_missing_is_named(toys: Path) -> None:
    (toys / "all.txt").unlink()
    with pytest.raises(BadData, match=r"all\.txt missing"):
        Toy(toys).prepare()


def test_a_whole_split_missing_is_another_matter(toys: Path, tmp_path: Path) -> None:
    for name in ("test.txt", "test.lab"):
        (toys / name).unlink()
    toy = Toy(toys)
    assert toy.available == ("train",)
    assert toy.protocol() == toy.protocols["dev"]
    with pytest.raises(MissingData, match=r"'test' of toy is not in .*\(splits that are: train\)"):
        toy.split("test")
    Toy(tmp_path / "new").prepare(toys)
    assert all(check.ok for check in Toy(tmp_path / "new").verify())


def test_files_of_another_kind_are_not_a_traceback(toys: Path) -> None:
    (toys / "train.txt").write_text("not numbers")
    with pytest.raises(BadData, match=r"is not toy in the form of text files: ValueError"):
        Toy(toys).split("train")


def test_what_no_split_can_be_read_from_is_refused(toys: Path, tmp_path: Path) -> None:
    for path in toys.iterdir():
        if path.name != "all.txt":
            path.unlink()
    with pytest.raises(BadData, match=r"holds only all\.txt of toy; missing: train\.txt, train\.lab \(or"):
        Toy(tmp_path / "new").prepare(toys)


@pytest.mark.parametrize("name", ["fashion", "caltech101", "rsicd"])
def test_rows_of_another_set_are_refused_by_field(name: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"image": "a.jpg", "title": "A"}\n')
    (tmp_path / "train_images").mkdir()
    with pytest.raises(BadData, match=r"train\.jsonl, row 1: the field '\w+' is missing"):
        open_data(name, tmp_path).split("train")


def test_wrong_size_is_refused(toys: Path) -> None:
    (toys / "train.txt").write_text("1 2\n")
    with pytest.raises(BadData, match="train of toy has 1 images and 1 texts, but 3 images belong to it"):
        Toy(toys).split("train")


def test_prepare_records_and_verify_notices(toys: Path, tmp_path: Path) -> None:
    ours = Toy(tmp_path / "ours")
    record = ours.prepare(toys)
    written = json.loads(record.read_text(encoding="utf-8"))
    assert written["variants"]["plain"]["folder"] == str(toys)
    assert written["variants"]["plain"]["files"]["test.txt"]["bytes"] == 4
    assert len(ours.split("train")) == 3
    assert all(check.ok for check in ours.verify())
    (toys / "test.txt").write_text("9 9\n")
    changed = [check for check in Toy(tmp_path / "ours").verify() if not check.ok]
    assert [(check.what, check.detail) for check in changed] == [("test.txt", "changed since prepared")]
    (toys / "test.txt").unlink()
    bad = [check.what for check in Toy(tmp_path / "ours").verify() if not check.ok]
    assert bad == ["test.txt"]
    record.write_text("{")
    with pytest.raises(BadData, match=r"originals\.json is damaged"):
        Toy(tmp_path / "ours")


def test_prepare_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    with pytest.raises(
        MissingData, match=r"shop holds none of the files of toy:plain, which are all\.txt, .*shop"
    ):
        Toy(tmp_path / "ours").prepare(tmp_path / "shop")
    with pytest.raises(
        MissingData, match=r"none is not a folder; give the one with the files of toy:plain, all"
    ):
        Toy(tmp_path / "ours").prepare(tmp_path / "none")


def test_protocols_that_can_be_run_come_first(tmp_path: Path) -> None:
    """The order is what features and cuts around a set copy, so the default stays the same through them."""
    named = {"1k": Protocol("test", "test", "pair"), "own": Protocol("train", "train", "pair")}

    class Two(Toy):
        protocols_of: Mapping[str, Mapping[str, Protocol]] = dict.fromkeys(Toy.variants, named)

    for name in ("all.txt", "train.txt", "train.lab"):
        (tmp_path / name).write_text("1 2\n")
    half = Two(tmp_path, variant="plain")
    assert list(half.protocols) == ["own", "1k"]
    assert half.protocol() is named["own"]
    for name in ("test.txt", "test.lab"):
        (tmp_path / name).write_text("1 2\n")
    assert list(Two(tmp_path, variant="plain").protocols) == ["1k", "own"]


def test_needs_are_listed_in_a_sentence() -> None:
    needs = ["f.npz::image", "f.npz::text", "a.zip|a|b", "c.txt"]
    assert listed(needs) == "arrays image and text of f.npz, a.zip (or a, b) and c.txt"
    assert listed(["f.npz::image"]) == "array image of f.npz"


def test_variants_by_name_or_by_what_is_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    assert Toy(tmp_path).variant == "other"
    assert Toy(tmp_path, variant="plain").available == ()
    with pytest.raises(UnknownName, match="variant 'plane' of toy; did you mean plain"):
        Toy(tmp_path, variant="plane")


def test_permuted_is_the_recipe_of_the_codes() -> None:
    rows = permuted(10, query=2, train=3, seed=1814)
    order = np.random.RandomState(1814).permutation(10)
    assert rows["query"].tolist() == order[:2].tolist()
    assert rows["train"].tolist() == order[2:5].tolist()
    assert rows["database"].tolist() == order[2:].tolist()
    assert permuted(4, query=1, train=1, seed=None)["database"].tolist() == [1, 2, 3]
    with pytest.raises(BadData, match="4 items are too few"):
        permuted(4, query=3, train=2, seed=0)


def test_every_set_is_in_the_catalogue_with_a_whole_card() -> None:
    found = cards("dataset")
    assert sorted(found) == data.names()
    for name, card in found.items():
        assert {"Home", "Files", "Licence", "Counts"} <= set(card.fields), name
        assert card.title.endswith("."), name


@pytest.mark.parametrize("name", NAMED)
def test_every_set_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    whole = open_data(name, tmp_path)
    assert isinstance(whole, Originals)
    assert whole.name == name
    assert list(whole.variants) == list(whole.protocols_of)
    for variant in whole.variants:
        dataset = open_data(f"{name}:{variant}", tmp_path)
        with pytest.raises(MissingData, match=f"^{name} .*It comes from: .{{10,}} Put .* there, or let"):
            dataset.split(dataset.splits[0])
        for protocol in dataset.protocols.values():
            assert {protocol.query, protocol.gallery} <= set(dataset.splits)
            assert protocol.validation is None or protocol.validation in dataset.splits


# Originals in the forms in which the papers' authors gave them out, cut down to a few rows


def test_flickr8k_text_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Flickr8k.variants["captions"][0]
    monkeypatch.setattr(Layout, "sizes", {}, raising=False)
    tokens = "".join(f"{n}.png#{c}\tcaption {c} of {n} .\n" for n in range(3) for c in range(5))
    (tmp_path / "Flickr8k.token.txt").write_text(tokens)
    (tmp_path / "Flicker8k_Dataset").mkdir()
    for number in range(3):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(tmp_path / "Flicker8k_Dataset" / f"{number}.png")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("2.png\n0.png\n")
    split = layout.read(Files(tmp_path), "train")["train"]
    assert split.image_id == ("2.png", "0.png")
    assert split.text[:2] == ["caption 0 of 2 .", "caption 1 of 2 ."]
    assert split.image[0].getpixel((0, 0)) == (2, 0, 0)
    with pytest.raises(
        BadData, match="train of flickr8k has 2 images and 10 texts, but 6,000 images and 30,000"
    ):
        Flickr8k(tmp_path).split("train")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("2.png\n9.png\n")
    with pytest.raises(BadData, match=r"no captions of 1 pictures, the first '9\.png'"):
        layout.read(Files(tmp_path), "train")


def test_wikipedia_raw_features_and_lists(tmp_path: Path) -> None:
    from scipy import io as scipy_io

    random = np.random.default_rng(0)
    sizes = {"tr": 2173, "te": 693}
    content = {
        f"{s}_{p}": random.random((n, d)) for p, n in sizes.items() for s, d in (("I", 128), ("T", 10))
    }
    scipy_io.savemat(tmp_path / "raw_features.mat", content)
    for name, count in (("trainset", 2173), ("testset", 693)):
        rows = "".join(f"text{n}-1\timage{n}\t{n % 10 + 1}\n" for n in range(count))
        (tmp_path / f"{name}_txt_img_cat.list").write_text(rows)
    wikipedia = Wikipedia(tmp_path)
    assert wikipedia.variant == "sift"
    test = wikipedia.split("test")
    assert np.allclose(test.image, content["I_te"])
    assert test.label[11].tolist() == [0, 1] + [0] * 8
    assert wikipedia.split("test-462").image_id[0] == "image231"
    (tmp_path / "testset_txt_img_cat.list").unlink()
    with pytest.raises(BadData, match=r"testset_txt_img_cat\.list missing, while raw_features\.mat and"):
        Wikipedia(tmp_path, variant="sift").split("test")


def test_pascal_matlab_files_are_checked_against_the_published_checksums(tmp_path: Path) -> None:
    from scipy import io as scipy_io

    random = np.random.default_rng(0)
    for part, count in (("train", 800), ("test", 100)):
        label = np.repeat(np.arange(20), count // 20)[:, None]
        for side, array in (("img", (count, 8)), ("txt", (count, 3)), ("img_lab", None)):
            value = label if array is None else random.random(array).astype(np.float32)
            scipy_io.savemat(tmp_path / f"{part}_{side}.mat", {f"{part}_{side}": value})
    pascal = PascalSentence(tmp_path)
    assert pascal.split("train").label.sum(axis=0).tolist() == [40] * 20
    bad = {check.what: check.detail for check in pascal.verify() if not check.ok}
    assert bad["test_img.mat"] == "not the original, whose SHA-256 begins 65a60083"
    assert "train_img.mat" not in bad


def test_matlab_hashing_set(tmp_path: Path) -> None:
    """The three arrays of DCMH's form; the count is of the toy, so the layout is made for it."""
    import h5py
    from scipy import io as scipy_io

    from diptych.data.readers.hashing import matlab_layout

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (12, 3, 6, 5), np.uint8)
    label = (random.random((12, 4)) < 0.5).astype(np.uint8)
    words = (random.random((12, 7)) < 0.3).astype(np.uint8)
    (tmp_path / "IAll").mkdir()
    with h5py.File(tmp_path / "IAll" / "toy-iall.mat", "w") as file:
        file["IAll"] = pixels
    scipy_io.savemat(tmp_path / "toy-yall.mat", {"YAll": words})
    scipy_io.savemat(tmp_path / "toy-lall.mat", {"LAll": label})
    layout = matlab_layout("toy", items=12, query=2, train=5, seed=None)
    assert not layout.lacking(Files(tmp_path), "train")
    parts = layout.read(Files(tmp_path), "query")
    assert {name: len(part) for name, part in parts.items()} == {"query": 2, "train": 5, "database": 10}
    assert parts["database"].image[0].size == (6, 5)
    assert np.array_equal(parts["query"].text, words[:2])
    assert np.array_equal(parts["query"].label, label[:2])


def test_rsicd_keeps_each_caption_once_and_reads_the_scene(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "JPEG")
    with zipfile.ZipFile(tmp_path / "RSICD_images.zip", "w") as archive:
        for name in ("airport_1.jpg", "00042.jpg"):
            archive.writestr(f"RSICD_images/{name}", buffer.getvalue())
    images = [
        {"filename": name, "split": "test", "sentences": [{"raw": text} for text in ("a", "a", "b")]}
        for name in ("airport_1.jpg", "00042.jpg")
    ]
    (tmp_path / "dataset_rsicd.json").write_text(json.dumps({"images": images}))
    from diptych.data.sets.rsicd import RSICD

    split = RSICD.variants["captions"][1].read(Files(tmp_path), "test")["test"]
    assert split.text == ["a", "b", "a", "b"]
    assert split.label.sum(axis=1).tolist() == [1, 0]
    assert split.image[1].size == (2, 2)
    with pytest.raises(BadData, match="test of rsicd has 2 images"):
        RSICD(tmp_path).split("test")
