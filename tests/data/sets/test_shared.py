"""Every set of the shared data folder through the public readers: counts, fingerprint, three records."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from diptych.data import open_data
from diptych.errors import BadData, MissingData

pytestmark = [pytest.mark.data, pytest.mark.slow]


class Pin(NamedTuple):
    """What a split must be; a record is an image's id, digest of its first text, classes."""

    name: str
    split: str
    images: int
    texts: int
    pairs: int
    positives: int
    labels: int
    sha256: str
    records: tuple[tuple[str, str, tuple[int, ...]], ...]


PINS = [
    Pin(
        "flickr8k",
        "train",
        6000,
        30000,
        30000,
        30000,
        0,
        "da4a49d8a876",
        (
            ("2513260012_03d33305cf.jpg", "04817d", ()),
            ("2926786902_815a99a154.jpg", "d7c6c7", ()),
            ("2671602981_4edde92658.jpg", "bd885c", ()),
        ),
    ),
    Pin(
        "flickr8k",
        "dev",
        1000,
        5000,
        5000,
        5000,
        0,
        "2873078b6bbc",
        (
            ("2090545563_a4e66ec76b.jpg", "cca3b9", ()),
            ("3583321426_f373c52161.jpg", "21536e", ()),
            ("522652105_a89f1cf260.jpg", "4aabef", ()),
        ),
    ),
    Pin(
        "rsicd",
        "train",
        1380,
        2483,
        2483,
        2483,
        1380,
        "99aec72c0427",
        (
            ("airport_101.jpg", "9a8da9", (0,)),
            ("airport_159.jpg", "1efd37", (0,)),
            ("viaduct_394.jpg", "c46e73", (29,)),
        ),
    ),
    Pin(
        "rsicd",
        "val",
        300,
        745,
        745,
        745,
        300,
        "a12a0d60129c",
        (
            ("airport_63.jpg", "905852", (0,)),
            ("airport_90.jpg", "998b13", (0,)),
            ("viaduct_97.jpg", "5f0fd0", (29,)),
        ),
    ),
    Pin(
        "rsicd:augmented",
        "train",
        1380,
        6900,
        6900,
        6900,
        1380,
        "101c021d67a7",
        (
            ("airport_101.jpg", "9a8da9", (0,)),
            ("airport_159.jpg", "1efd37", (0,)),
            ("viaduct_394.jpg", "c46e73", (29,)),
        ),
    ),
    Pin(
        "rsicd:augmented",
        "val",
        300,
        1500,
        1500,
        1500,
        300,
        "b5dbfc76069b",
        (
            ("airport_63.jpg", "905852", (0,)),
            ("airport_90.jpg", "998b13", (0,)),
            ("viaduct_97.jpg", "5f0fd0", (29,)),
        ),
    ),
    Pin(
        "fashion",
        "train",
        32514,
        32514,
        32514,
        121180,
        32514,
        "c282bb5825ae",
        (("1163.jpg", "0ab77a", (130,)), ("1538.jpg", "4373eb", (130,)), ("60000.jpg", "af70f3", (61,))),
    ),
    Pin(
        "fashion",
        "val",
        2059,
        2059,
        2059,
        6151,
        2059,
        "89bd1ce171d3",
        (("1533.jpg", "7b26c4", (130,)), ("2029.jpg", "2f1732", (130,)), ("59995.jpg", "6c8dff", (27,))),
    ),
    Pin(
        "fashion:attributes",
        "train",
        32514,
        32514,
        32514,
        121180,
        227353,
        "34f8965415ec",
        (
            ("1163.jpg", "0ab77a", (130, 141, 187, 191, 199, 239, 252)),
            ("1538.jpg", "4373eb", (130, 141, 187, 191, 197, 239, 246)),
            ("60000.jpg", "af70f3", (61, 141, 189, 191, 197, 239, 247)),
        ),
    ),
    Pin(
        "fashion:attributes",
        "val",
        2059,
        2059,
        2059,
        6151,
        14392,
        "e15fb55c9d01",
        (
            ("1533.jpg", "7b26c4", (130, 172, 187, 191, 197, 239, 246)),
            ("2029.jpg", "2f1732", (130, 141, 187, 191, 197, 239, 252)),
            ("59995.jpg", "6c8dff", (27, 140, 189, 191, 197, 209, 250)),
        ),
    ),
    Pin(
        "caltech101",
        "train",
        900,
        100,
        900,
        900,
        900,
        "208f4184fd60",
        (
            ("Faces_0248.jpg", "e20312", (36,)),
            ("Leopards_0186.jpg", "17aba5", (55,)),
            ("yin_yang_0031.jpg", "ef9589", (99,)),
        ),
    ),
    Pin(
        "imagenet-sample",
        "test",
        500,
        1000,
        500,
        502,
        500,
        "1c520f31cf2d",
        (
            ("n01440764.jpg", "e0d3b7", (0,)),
            ("n01582220.jpg", "8a88fb", (18,)),
            ("n13133613.jpg", "3c6a36", (998,)),
        ),
    ),
    Pin(
        "ms-coco",
        "train",
        80,
        400,
        400,
        400,
        302,
        "28f231be4e6f",
        (
            ("493652", "fed38e", (28, 57, 58, 62, 65, 73, 77)),
            ("84533", "197025", (0, 3)),
            ("121647", "54baad", (40, 42, 53, 60, 73)),
        ),
    ),
    Pin(
        "wikipedia",
        "train",
        2173,
        2173,
        2173,
        2173,
        2173,
        "c12a39e76db3",
        (
            ("ceb47321a83dd824cec2d5d3f2034765", "1.0000", (5,)),
            ("ae1498b670c0cda8341eb6d88b717508", "1.0000", (2,)),
            ("5fda8c2053f9c16a1fe2ff07a2c856ab", "1.0000", (5,)),
        ),
    ),
    Pin(
        "wikipedia",
        "test",
        693,
        693,
        693,
        693,
        693,
        "2ce1d908c0d3",
        (
            ("7e214fda4b30c95084e94fbec71ebde1", "1.0000", (1,)),
            ("0d3bb65b6dcefb7a4f080f263bcd6421", "1.0000", (7,)),
            ("2c2dfccfadbd6e17a53234c969367ae8", "1.0000", (2,)),
        ),
    ),
    Pin(
        "wikipedia",
        "val",
        231,
        231,
        231,
        231,
        231,
        "b6b388cdd521",
        (
            ("7e214fda4b30c95084e94fbec71ebde1", "1.0000", (1,)),
            ("0d3bb65b6dcefb7a4f080f263bcd6421", "1.0000", (7,)),
            ("2f900119ee94394dab357af7291f345d", "1.0000", (3,)),
        ),
    ),
    Pin(
        "wikipedia",
        "test-462",
        462,
        462,
        462,
        462,
        462,
        "b7fba5858c02",
        (
            ("f69a68194072520f1957b512b33763a3", "1.0000", (2,)),
            ("6fb5f5c33ec8e7b5a158b6bc786f5d13", "1.0000", (5,)),
            ("2c2dfccfadbd6e17a53234c969367ae8", "1.0000", (2,)),
        ),
    ),
    Pin(
        "wikipedia:cnn",
        "train",
        2173,
        2173,
        2173,
        2173,
        2173,
        "f5bad289a744",
        (("0", "1.0000", (5,)), ("9", "1.0000", (2,)), ("2172", "1.0000", (5,))),
    ),
    Pin(
        "wikipedia:cnn",
        "test",
        693,
        693,
        693,
        693,
        693,
        "7c8cf4290cbf",
        (("0", "1.0000", (1,)), ("9", "1.0000", (7,)), ("692", "1.0000", (2,))),
    ),
    Pin(
        "wikipedia:cnn",
        "val",
        231,
        231,
        231,
        231,
        231,
        "e35ff99b1990",
        (("0", "1.0000", (1,)), ("9", "1.0000", (7,)), ("230", "1.0000", (3,))),
    ),
    Pin(
        "wikipedia:cnn",
        "test-462",
        462,
        462,
        462,
        462,
        462,
        "03297afdf7b9",
        (("231", "1.0000", (2,)), ("240", "1.0000", (5,)), ("692", "1.0000", (2,))),
    ),
    Pin(
        "wikipedia:cnn-dense",
        "train",
        2173,
        2173,
        2173,
        2173,
        2173,
        "f5bad289a744",
        (("0", "-4.2050", (5,)), ("9", "-4.5192", (2,)), ("2172", "-3.2750", (5,))),
    ),
    Pin(
        "wikipedia:cnn-dense",
        "test",
        693,
        693,
        693,
        693,
        693,
        "7c8cf4290cbf",
        (("0", "-3.7034", (1,)), ("9", "-4.5166", (7,)), ("692", "-3.9857", (2,))),
    ),
    Pin(
        "wikipedia:cnn-dense",
        "val",
        231,
        231,
        231,
        231,
        231,
        "e35ff99b1990",
        (("0", "-3.7034", (1,)), ("9", "-4.5166", (7,)), ("230", "-4.1493", (3,))),
    ),
    Pin(
        "wikipedia:cnn-dense",
        "test-462",
        462,
        462,
        462,
        462,
        462,
        "03297afdf7b9",
        (("231", "-3.3416", (2,)), ("240", "-3.3623", (5,)), ("692", "-3.9857", (2,))),
    ),
    Pin(
        "pascal-sentence",
        "train",
        800,
        800,
        800,
        800,
        800,
        "691d5190c12f",
        (("0", "128.1914", (15,)), ("9", "127.3667", (15,)), ("799", "127.8560", (9,))),
    ),
    Pin(
        "pascal-sentence",
        "test",
        100,
        100,
        100,
        100,
        100,
        "5d00ef0b45a2",
        (("0", "161.7133", (15,)), ("9", "138.7349", (11,)), ("99", "117.3643", (9,))),
    ),
    Pin(
        "mirflickr",
        "train",
        5000,
        5000,
        5000,
        5000,
        23282,
        "df2a05115dff",
        (
            ("im3.jpg", "07a407", (8,)),
            ("im43.jpg", "ae0383", (7, 14)),
            ("im24998.jpg", "af6d5f", (4, 6, 13, 17, 18, 23)),
        ),
    ),
    Pin(
        "mirflickr",
        "query",
        2000,
        2000,
        2000,
        2000,
        9568,
        "9619e36a6e83",
        (
            ("im58.jpg", "62866d", (0, 14, 22)),
            ("im135.jpg", "0c79e6", (14, 18, 22)),
            ("im25000.jpg", "cfdc39", (1, 6, 9, 11, 13, 15)),
        ),
    ),
    Pin(
        "mirflickr",
        "database",
        18015,
        18015,
        18015,
        18015,
        66072,
        "f1880fedb362",
        (
            ("im1.jpg", "514932", (6, 13, 15, 18, 19)),
            ("im11.jpg", "74dcf4", (3, 6, 9, 11, 13, 19, 20, 21)),
            ("im24999.jpg", "25ebc8", (7, 14, 22)),
        ),
    ),
    Pin(
        "nus-wide",
        "train",
        5000,
        5000,
        5000,
        5000,
        11975,
        "9ec765f7ee59",
        (
            ("0213_201390550.jpg", "4de2db", (0, 9)),
            ("0394_194669127.jpg", "ca2826", (0, 1, 6)),
            ("0504_2528537304.jpg", "396fb2", (0, 1, 3, 5, 8, 9)),
        ),
    ),
    Pin(
        "nus-wide",
        "query",
        2000,
        2000,
        2000,
        2000,
        4904,
        "cdd6b30c627a",
        (
            ("0530_263207063.jpg", "a7f88f", (0, 6)),
            ("0377_357113779.jpg", "11a9f1", (0, 1, 3, 4)),
            ("0491_323390122.jpg", "43ff28", (0, 3, 9)),
        ),
    ),
    Pin(
        "nus-wide:labels",
        "database",
        181365,
        181365,
        181365,
        181365,
        324155,
        "e9c1c18cee23",
        (("0", "-", (2,)), ("9", "-", (2,)), ("181364", "-", (4,))),
    ),
]


@pytest.fixture(scope="module")
def opened() -> dict[str, Any]:
    """Sets already opened: reading 32,514 rows once is enough."""
    return {}


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: f"{pin.name}-{pin.split}")
def test_counts_and_records(pin: Pin, shared_data: Path, opened: dict[str, Any]) -> None:
    if pin.name not in opened:
        opened[pin.name] = open_data(pin.name, shared_data)
    split = opened[pin.name].split(pin.split)
    assert (len(split.image), len(split.text)) == (pin.images, pin.texts)
    assert (len(split.pairs), len(split.positives)) == (pin.pairs, pin.positives)
    assert (0 if split.label is None else int(split.label.sum())) == pin.labels
    assert split.sha256().startswith(pin.sha256)
    for row, record in zip((0, 9, pin.images - 1), pin.records, strict=True):
        text = split.pairs[split.pairs[:, 0] == row, 1][0]
        classes = () if split.label is None else tuple(np.flatnonzero(split.label[row]).tolist())
        assert (split.image_id[row], digest(split.text, text), classes) == record


def digest(texts: Any, row: int) -> str:
    try:
        value = texts[row]
    except MissingData:
        return "-"
    if isinstance(value, str):
        return hashlib.sha256(value.encode()).hexdigest()[:6]
    return f"{value.astype(float).sum():.4f}"


@pytest.mark.parametrize(
    ("name", "split", "sizes"),
    [
        ("flickr8k", "train", {(224, 224)}),
        ("flickr8k", "dev", {(224, 224)}),
        ("rsicd", "val", {(224, 224)}),
        ("fashion", "val", {(60, 80)}),
        ("ms-coco", "train", None),
        ("caltech101", "train", None),
        ("imagenet-sample", "test", None),
    ],
)
def test_pictures_decode(
    name: str, split: str, sizes: set[tuple[int, int]] | None, shared_data: Path, opened: dict[str, Any]
) -> None:
    pictures = opened.setdefault(name, open_data(name, shared_data)).split(split).image
    seen = [pictures[row] for row in (0, 9, len(pictures) - 1)]
    assert {picture.mode for picture in seen} == {"RGB"}
    if sizes:
        assert {picture.size for picture in seen} == sizes
    assert all(max(picture.size) <= 256 for picture in seen)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("flickr8k", "train", "dev"),
        ("rsicd", "train", "val"),
        ("fashion", "train", "val"),
        ("wikipedia", "train", "test"),
        ("wikipedia", "val", "test-462"),
        ("mirflickr", "query", "database"),
        ("nus-wide", "query", "train"),
    ],
)
def test_splits_are_disjoint(
    name: str, first: str, second: str, shared_data: Path, opened: dict[str, Any]
) -> None:
    dataset = opened.setdefault(name, open_data(name, shared_data))
    assert not set(dataset.split(first).image_id) & set(dataset.split(second).image_id)


def test_halves_of_the_tags_share_no_tag(shared_data: Path, opened: dict[str, Any]) -> None:
    whole = opened.setdefault("mirflickr", open_data("mirflickr", shared_data))
    halves = open_data("mirflickr:tag-halves", shared_data)
    texts = [str(text).split() for text in whole.split("train").text]
    known = sorted(tag for tag, n in Counter(t for text in texts for t in set(text)).items() if n >= 10)
    for split in ("train", "query"):
        found = halves.split(split)
        assert found.image.shape == found.text.shape == (len(whole.split(split)), len(known))
        for row in range(0, 2000, 97):
            tags = str(whole.split(split).text[row]).split()
            for side, start in ((found.image, 0), (found.text, 1)):
                assert [known[c] for c in np.flatnonzero(side[row])] == sorted(
                    set(tags[start::2]) & set(known)
                )
        np.testing.assert_array_equal(found.label, whole.split(split).label)


def test_mirflickr_has_38_labels_that_hold_the_24(shared_data: Path, opened: dict[str, Any]) -> None:
    wide = open_data("mirflickr:labels-38", shared_data)
    rows = {}
    for part, labels in (("train", 18449), ("query", 4613), ("database", 94844)):
        split = wide.split(part)
        assert int(split.label.sum()) == labels
        assert not rows.keys() & set(split.image_id)
        rows |= dict(zip(split.image_id, split.label, strict=True))
    assert len(rows) == 25000
    tags = opened.setdefault("mirflickr", open_data("mirflickr", shared_data))
    columns = [wide.class_names.index(name) for name in tags.class_names]
    for part in ("query", "database"):
        split = tags.split(part)
        found = np.array([rows[name] for name in split.image_id])
        np.testing.assert_array_equal(found[:, columns], split.label)
    every = np.array(list(rows.values()))
    beyond = 0
    for column, name in enumerate(wide.class_names):
        if name.endswith("_r1"):
            wider = every[:, wide.class_names.index(name.removesuffix("_r1"))]
            beyond += int((every[:, column] > wider).sum())
    assert beyond == 4


def test_fashion_titles_are_in_one_split_only(shared_data: Path, opened: dict[str, Any]) -> None:
    fashion = opened.setdefault("fashion", open_data("fashion", shared_data))
    titles = {split: {text.lower() for text in fashion.split(split).text} for split in ("train", "val")}
    assert not titles["train"] & titles["val"]
    for split, low, high in (("val", 225, 270), ("train", 270, 1000)):
        rule = {int(hashlib.sha1(title.encode()).hexdigest()[:8], 16) % 1000 for title in titles[split]}
        assert low <= min(rule) <= max(rule) < high


def test_mirflickr_train_lies_in_the_database(shared_data: Path, opened: dict[str, Any]) -> None:
    dataset = opened.setdefault("mirflickr", open_data("mirflickr", shared_data))
    assert set(dataset.split("train").image_id) < set(dataset.split("database").image_id)


def test_wikipedia_has_the_official_class_counts(shared_data: Path, opened: dict[str, Any]) -> None:
    dataset = opened.setdefault("wikipedia", open_data("wikipedia", shared_data))
    train = [138, 272, 244, 248, 202, 178, 186, 144, 214, 347]
    test = [34, 88, 96, 85, 65, 58, 51, 41, 71, 104]
    assert dataset.split("train").label.sum(axis=0).tolist() == train
    assert dataset.split("test").label.sum(axis=0).tolist() == test
    assert dataset.class_names[0] == "art"
    assert np.allclose(dataset.split("train").image.sum(axis=1), 1, atol=1e-4)


def test_ridge_regression_reaches_the_known_baseline(shared_data: Path, opened: dict[str, Any]) -> None:
    """Rows of both sides and their labels are aligned, or these figures could not come out."""
    for name, known in (("wikipedia", (0.270, 0.215)), ("wikipedia:cnn", (0.449, 0.403))):
        dataset = opened.setdefault(name, open_data(name, shared_data))
        train, test = dataset.split("train"), dataset.split("test")
        image, text = (scores(train, test, side) for side in ("image", "text"))
        relevant = test.label.astype(int) @ test.label.T.astype(int) > 0
        assert mean_average_precision(image @ text.T, relevant) == pytest.approx(known[0], abs=0.002)
        assert mean_average_precision(text @ image.T, relevant) == pytest.approx(known[1], abs=0.002)


def scores(train: Any, test: Any, side: str) -> Any:
    """Unit scores (n, C) of a ridge regression of one side to the centred classes."""
    fit, ask = (getattr(part, side).astype(float) for part in (train, test))
    mean, spread = fit.mean(axis=0), fit.std(axis=0)
    fit, ask = (fit - mean) / spread, (ask - mean) / spread
    target = train.label - train.label.mean(axis=0)
    weights = np.linalg.solve(fit.T @ fit + 0.1 * len(fit) * np.eye(fit.shape[1]), fit.T @ target)
    found = ask @ weights
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def mean_average_precision(similarity: Any, relevant: Any) -> float:
    order = np.argsort(-similarity, axis=1, kind="stable")
    hit = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return float(((precision * hit).sum(axis=1) / hit.sum(axis=1)).mean())


def test_pascal_names_what_is_missing(shared_data: Path, tmp_path: Path) -> None:
    dataset = open_data("pascal-sentence", shared_data)
    train = dataset.split("train")
    assert train.text.shape == (800, 300)
    with pytest.raises(MissingData, match=r"train_image.*missing.*penghu-cs/DSCMR"):
        train.image[0]
    ours = open_data("pascal-sentence", tmp_path)
    with pytest.raises(BadData, match=r"train_image of pascal_sentence_dscmr\.npz missing"):
        ours.prepare(shared_data / "pascal-sentence-features")
    ours.prepare(shared_data / "pascal-sentence-features", partial=True)
    assert ours.available == ("train", "test")


def test_a_missing_test_split_says_which_are_there(shared_data: Path) -> None:
    with pytest.raises(MissingData, match=r"'test' of flickr8k is not in .*splits that are: train, dev"):
        open_data("flickr8k", shared_data).split("test")


def test_default_protocol_is_one_that_can_be_run(shared_data: Path) -> None:
    dataset = open_data("rsicd", shared_data)
    assert dataset.protocol() == dataset.protocols["val"]
    query, gallery = next(iter(dataset.cases()))
    assert query is gallery
    assert len(query) == 300


@pytest.mark.parametrize(
    ("folder", "splits"),
    [
        ("flickr8k", {"train": 6000, "dev": 1000}),
        ("rsicd", {"train": 1380, "val": 300}),
        ("coco-mini", {"train": 80}),
        ("caltech101-mini", {"train": 900}),
        ("wikipedia-features/wikipedia_sift128_lda10.npz", {"train": 2173, "test": 693}),
    ],
)
def test_generic_readers_recognise_the_folders(
    folder: str, splits: dict[str, int], shared_data: Path
) -> None:
    dataset = open_data(shared_data / folder)
    assert {name: len(dataset.split(name)) for name in dataset.splits} == splits


def test_two_feature_files_of_the_same_arrays_are_refused(shared_data: Path) -> None:
    with pytest.raises(BadData, match="more than once"):
        open_data(shared_data / "wikipedia-features")
