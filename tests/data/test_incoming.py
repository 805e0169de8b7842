"""Arrays from outside are read as what they are, or refused with row and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.data import open_data
from diptych.data.incoming import class_labels, labels_of, pairs_of
from diptych.data.split import Split, features, multi_hot
from diptych.errors import BadData

HOT = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], np.uint8)


@pytest.mark.parametrize(
    "label",
    [HOT, HOT.astype(bool), HOT.astype(float), HOT.astype(np.int8) * 2 - 1],
    ids=["uint8", "bool", "float", "signs"],
)
def test_columns_in_every_form_are_the_same_labels(label: Any) -> None:
    found = class_labels(label, 3, "label")
    assert found.tolist() == HOT.tolist()
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    "label",
    [
        [2, 0, 1],
        [3, 1, 2],
        [[3], [1], [2]],
        [[3, 1, 2]],
        [3.0, 1.0, 2.0],
        ["c", "a", "b"],
        [b"c", b"a", b"b"],
    ],
    ids=["from 0", "from 1", "a column", "a line", "float", "names", "bytes"],
)
def test_one_class_an_item_in_every_form(label: Any) -> None:
    assert class_labels(np.array(label), 3, "label").tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_minus_one_is_an_item_without_a_class() -> None:
    assert class_labels(np.array([0, -1, 2, 1]), 4, "label").tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 0],
    ]
    assert class_labels(np.array([1, -1, 2]), 3, "label").tolist() == [[1, 0], [0, 0], [0, 1]]


def test_the_shape_of_a_single_item_follows_the_other_labels() -> None:
    found, _ = labels_of({"train": HOT, "test": HOT[:1]}, {"train": 3, "test": 1})
    assert found["test"].tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ([[0, 1], [1, 2], [0, 1]], "label row 1 holds 2 in column 1"),
        ([[0, 1], [1, -1], [0, 1]], "label row 1 holds -1 in column 1"),
        ([[0, 1], [1, np.nan], [0, 1]], "label row 1 holds nan in column 1"),
        ([[0, 0.5], [1, 0], [0, 1]], "label row 0 holds 0.5 in column 1"),
        ([0, np.nan, 1], "label row 1 is nan"),
        ([0, 1.5, 1], "label row 1 is 1.5"),
        ([0, 1, -2], "label row 2 is -2"),
        ([-1, 1, 1], "label holds only -1 and 1"),
        ([0, 1], "label has 2 entries for 3 items"),
        ([[0, 1]] * 2, "label must have a row for each of the 3 items"),
        ([["a", "b"]] * 3, "label must be class numbers or names .* not words"),
        (["a", "", "b"], "label row 1 is '', which names no class"),
        ([0, 1, 10**6], "classes, at most"),
        ([1j, 0, 1], "label must hold whole numbers, not complex128"),
    ],
)
def test_what_is_no_label_is_named_with_row_and_value(label: Any, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        class_labels(np.array(label), 3, "label")


def test_labels_of_different_forms_are_refused() -> None:
    rows = {"a": 3, "b": 3}
    with pytest.raises(BadData, match="a row 2 is class 7, but there are 3 classes"):
        labels_of({"a": np.array([0, 1, 7]), "b": HOT}, rows)
    with pytest.raises(BadData, match="a holds words, while other labels are class numbers"):
        labels_of({"a": np.array(["x", "y", "z"]), "b": np.arange(3)}, rows)
    with pytest.raises(BadData, match="columns or names of classes everywhere"):
        labels_of({"a": np.array(["x", "y", "z"]), "b": HOT}, rows)
    with pytest.raises(BadData, match=r"the same columns everywhere, .* a 3, b 2"):
        labels_of({"a": HOT, "b": HOT[:, :2]}, rows)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "f: train image row 2 is not finite: it holds nan"),
        (-np.inf, "f: train image row 2 is not finite: it holds -inf"),
        (1e39, r"f: train image row 2 holds 1e\+39, which single precision cannot hold"),
    ],
)
def test_a_number_that_is_no_feature_is_named_with_its_row(value: float, sentence: str) -> None:
    values = np.ones((4, 2))
    values[2, 1] = value
    with pytest.raises(BadData, match=sentence):
        features(values, "f: train image")


def test_features_of_any_number_are_left_as_they_are() -> None:
    for kind in (np.float16, np.float32, np.uint8, np.int64, bool):
        values = np.ones((2, 3), kind)
        assert features(values, "f") is values
    for wrong in (np.array([["a"]]), np.ones((2, 2), complex), np.array([[None]])):
        with pytest.raises(BadData, match="f must be numbers, not"):
            features(wrong, "f")


def test_pairs_by_default_and_as_given() -> None:
    assert pairs_of(2, 2)[0].tolist() == [[0, 0], [1, 1]]
    five, said = pairs_of(2, 10)
    assert five.tolist() == [[text // 5, text] for text in range(10)]
    assert said == "5 texts an image, in order"
    assert pairs_of(2, 6, captions=3)[0].tolist() == [[text // 3, text] for text in range(6)]
    listed = [[1, 0], [0, 1], [0, 2]]
    want = sorted(listed)
    assert pairs_of(2, 3, np.array(listed, float))[0].tolist() == want
    assert pairs_of(2, 3, np.array([1, 0, 0]))[0].tolist() == want
    assert pairs_of(2, 3, np.array([[1], [0], [0]]))[0].tolist() == want


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([[1, 1], [2, 2]], "pairs row 1 names image 2, but there are 2 images, counted from 0"),
        ([[0, 3]], "pairs row 0 names text 3, but there are 3 texts"),
        ([[0, -1]], "pairs row 0 names text -1"),
        ([0, -1, 1], "pairs row 1 names image -1"),
        ([0.5, 0, 1], "pairs row 0 is 0.5"),
        ([[0, 1, 2]] * 2, r"pairs must be \(p, 2\), .* not of the shape \(2, 3\)"),
        (np.zeros((0, 2)), "pairs lists no pair"),
    ],
)
def test_pairs_that_are_none(pairs: Any, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        pairs_of(2, 3, np.array(pairs))


@pytest.mark.parametrize(("images", "texts"), [(2, 4), (2, 3), (3, 2), (5, 1)])
def test_other_numbers_leave_open_what_belongs_together(images: int, texts: int) -> None:
    with pytest.raises(BadData, match=f"{images} images and {texts} texts do not pair up by themselves"):
        pairs_of(images, texts)
    with pytest.raises(BadData, match="with 7 captions each need"):
        pairs_of(images, texts, captions=7)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path / "f.npz", **arrays)
    return path / "f.npz"


def parts(**changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    given = {
        f"{s}_{side}": rng.standard_normal((4, 3)) for s in ("train", "test") for side in ("image", "text")
    }
    return {**given, "train_label": np.array([0, 1, 2, 1]), "test_label": np.array([2, 0, 1, 0]), **changed}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"train_label": np.array([0, np.nan, 1, 2])}, "train label row 1 is nan"),
        ({"test_label": np.eye(4, 3) * 2}, "test label row 0 holds 2.0 in column 0"),
        ({"train_text": np.full((4, 3), np.inf)}, "train text row 0 is not finite: it holds inf"),
        ({"test_image": np.array(3.0)}, "test image is a single value"),
    ],
)
def test_a_feature_file_is_refused_at_opening(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        open_data(saved(tmp_path, **parts(**changed)))


def test_a_feature_file_with_names_of_classes_and_items_without_one(tmp_path: Path) -> None:
    file = saved(
        tmp_path,
        **parts(train_label=np.array(["sea", "sky", "sun", "sky"]), test_label=np.array(["sun"] * 4)),
    )
    dataset = open_data(file)
    assert dataset.class_names == ("sea", "sky", "sun")
    assert dataset.split("test").label.tolist() == [[0, 0, 1]] * 4
    split = open_data(saved(tmp_path, **parts(train_label=np.array([0, -1, 2, 1])))).split("train")
    assert split.label.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert split.text_label.tolist() == split.label.tolist()


def test_a_feature_file_with_pairs_captions_and_labels_of_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((4, 3)), rng.standard_normal((20, 3))
    split = open_data(saved(tmp_path, image=image, text=text)).split("all")
    assert split.pairs.tolist() == [[row // 5, row] for row in range(20)]
    split = open_data(saved(tmp_path, image=image, text=text[:4], pairs=np.array([[0, 3], [3, 0]]))).split(
        "all"
    )
    assert split.pairs.tolist() == [[0, 3], [3, 0]]
    labels = {"image_label": np.array([0, 1, 0, 1]), "text_label": np.array([1, 0, 1])}
    split = open_data(saved(tmp_path, image=image, text=text[:3], **labels)).split("all")
    assert not len(split.pairs)
    assert split.text_label.tolist() == [[0, 1], [1, 0], [0, 1]]
    with pytest.raises(BadData, match=r"all image repeats each row 5 times, .*image\[::5\]"):
        open_data(saved(tmp_path, image=np.repeat(image, 5, axis=0), text=text))


def test_queries_are_asked_of_the_database(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {
        f"{s}_{p}": rng.standard_normal((n, 3))
        for s, n in (("query", 2), ("database", 6))
        for p in ("image", "text")
    }
    file = saved(tmp_path, **given, query_label=np.array([0, 1]), database_label=np.arange(6) % 2)
    query, gallery = next(iter(open_data(file).cases()))
    assert (len(query), len(gallery)) == (2, 6)


@pytest.mark.parametrize("side", ["image", "text"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "row 2 is not finite: it holds nan"),
        (-np.inf, "row 2 is not finite: it holds -inf"),
        (1e39, "row 2 holds 1e[+]39, which single precision cannot hold"),
        (1e-50, "row 2 holds only numbers below 1e-38"),
    ],
)
def test_a_split_refuses_features_that_it_cannot_hold(side: str, value: float, said: str) -> None:
    sides = {"image": np.ones((4, 3)), "text": np.ones((4, 3))}
    sides[side][2] = value
    with pytest.raises(BadData, match=f"{side} features {said}"):
        Split(**sides, label=None, pairs=np.zeros((0, 2), np.int64))  # type: ignore[arg-type]


def test_items_without_a_class_among_names_and_numbers() -> None:
    expected = [[1, 0], [0, 0], [0, 1]]
    for given in (["cat", None, "dog"], [0, None, 1], [1.0, None, 2.0]):
        assert class_labels(np.array(given, object), 3, "labels").tolist() == expected


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([0, -1], "row 1 has class -1"),
        ([0, 0.5], "row 1 has class 0.5"),
        ([0, np.nan], "row 1 has class nan"),
        ([[0], [1, 2]], "row 1 has class 2"),
        ([0, "1"], "row 1 has class 1"),
    ],
)
def test_class_numbers_are_whole(numbers: list[object], said: str) -> None:
    with pytest.raises(BadData, match=said):
        multi_hot(numbers, 2)
