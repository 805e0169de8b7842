"""Splits: what they derive, how they are cut, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.data.base import Absent, Loaded, Protocol, Split, captioned, concat, multi_hot, paired_in_order
from diptych.errors import BadData, MissingData, UnknownName, UsageError


def small() -> Split:
    """Three images; texts 0, 1 of image 0, text 2 of image 1, texts 3, 4, 5 of image 2."""
    return captioned(
        ["a.jpg", "b.jpg", "c.jpg"],
        [["a1", "a2"], ["b1"], ["c1", "c2", "c3"]],
        labels=[["x"], ["y"], ["x", "z"]],
        class_names=["x", "y", "z"],
        image_id=["a", "b", "c"],
    )


def test_text_labels_come_through_the_pairs() -> None:
    split = small()
    assert split.label.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert split.text_label.tolist() == [[1, 0, 0]] * 2 + [[0, 1, 0]] + [[1, 0, 1]] * 3


def test_a_text_of_two_images_has_the_labels_of_both() -> None:
    split = Split(np.zeros((2, 1)), np.zeros((1, 1)), np.eye(2), np.array([[0, 0], [1, 0]]))
    assert split.text_label.tolist() == [[1, 1]]


def test_features_become_float32_and_ids_row_numbers() -> None:
    split = Split(np.zeros((2, 3)), np.ones((2, 4), np.int8), None, paired_in_order(2))
    assert split.image.dtype == split.text.dtype == np.float32
    assert split.image_id == ("0", "1")
    assert split.positives is split.pairs


def test_take_keeps_order_and_renumbers() -> None:
    part = small().take([2, 0])
    assert part.image_id == ("c", "a")
    assert part.text == ["c1", "c2", "c3", "a1", "a2"]
    assert part.pairs.tolist() == [[0, 0], [0, 1], [0, 2], [1, 3], [1, 4]]
    assert part.label.tolist() == [[1, 0, 1], [1, 0, 0]]


def test_captions_keeps_the_first_of_each() -> None:
    part = small().captions(2)
    assert part.text == ["a1", "a2", "b1", "c1", "c2"]
    assert part.pairs.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4]]


def test_folds_are_disjoint_and_cover_everything() -> None:
    split = Split(np.arange(10.0)[:, None], np.arange(50.0)[:, None], None, paired_in_order(10, 5))
    folds = split.folds(5)
    assert [fold.image_id for fold in folds] == [(str(2 * n), str(2 * n + 1)) for n in range(5)]
    assert all(len(fold.text) == 10 for fold in folds)
    assert np.concatenate([fold.text for fold in folds]).ravel().tolist() == list(range(50))
    with pytest.raises(UsageError, match="10 images cannot be cut into 11 folds"):
        split.folds(11)


def test_concat_undoes_folds() -> None:
    whole = small()
    joined = concat([whole.take([0]), whole.take([1, 2])])
    assert joined.sha256() == whole.select([0, 1, 2], np.arange(6)).sha256()
    assert joined.text == whole.text
    with pytest.raises(BadData, match="cannot be joined"):
        concat([whole, Split(np.zeros((1, 1)), ["t"], None, paired_in_order(1))])


def test_positives_follow_a_selection() -> None:
    split = Split(
        np.zeros((3, 1)),
        ["s", "s", "t"],
        None,
        paired_in_order(3),
        positives=[[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]],
    )
    part = split.take([1, 2])
    assert part.positives.tolist() == [[0, 0], [1, 1]]


def test_hash_sees_ids_labels_and_pairs_but_not_features() -> None:
    base = Split(np.zeros((2, 1)), np.zeros((2, 1)), np.eye(2), paired_in_order(2))
    same = Split(np.ones((2, 7)), np.ones((2, 9)), np.eye(2), paired_in_order(2))
    assert base.sha256() == same.sha256()
    others = [
        Split(base.image, base.text, np.eye(2)[::-1], base.pairs),
        Split(base.image, base.text, np.eye(2), base.pairs[:, ::-1][::-1]),
        Split(base.image, base.text, np.eye(2), base.pairs, image_id=["0", "2"]),
        Split(base.image, base.text, None, base.pairs),
    ]
    assert len({split.sha256() for split in [base, *others]}) == 5
    # Pinned, so that a change of the recipe is noticed: results carry this value.
    assert base.sha256().startswith("bb54e770494c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), ["t"], None, [[0, 0]]), r"image features must be \(n, d\)"),
        ((np.zeros((1, 1)), ["t"], None, [[0, 1]]), "1 images and 1 texts"),
        ((np.zeros((1, 1)), ["t"], None, [0, 0]), r"pairs must be \(p, 2\)"),
        ((np.zeros((1, 1)), ["t"], [[2]], [[0, 0]]), "label row 0 holds 2 in column 0, but only 0 and 1"),
        ((np.zeros((1, 1)), ["t"], [[1], [0]], [[0, 0]]), r"label must be \(1, classes\)"),
    ],
)
def test_parts_that_do_not_fit_are_named(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(BadData, match=message):
        Split(*arguments)  # type: ignore[arg-type]


def test_wrong_number_of_ids_is_refused() -> None:
    with pytest.raises(BadData, match="text_id has 2 entries for 1 rows"):
        Split(np.zeros((1, 1)), ["t"], None, paired_in_order(1), text_id=["a", "b"])


def test_items_are_made_when_looked_at() -> None:
    split = small()
    assert [item.text for item in split.items("text")[1:3]] == ["a2", "b1"]
    assert split.items("image")[2].image == "c.jpg"
    assert len(split.items("text")) == 6
    features = Split(np.zeros((1, 2)), np.ones((1, 2)), None, paired_in_order(1))
    assert features.items("text")[0].text.tolist() == [1, 1]


def test_absent_has_a_length_and_says_why() -> None:
    absent = Absent(3, "get them there")
    split = Split(absent, ["a", "b", "c"], None, paired_in_order(3))
    part = split.take([2, 0])
    assert len(part) == 2
    assert part.text == ["c", "a"]
    with pytest.raises(MissingData, match="get them there"):
        part.image[0]
    with pytest.raises(IndexError, match=r"^3$"):
        absent[3]


def test_multi_hot_by_hand() -> None:
    assert multi_hot([0, [1, 2], []], 3).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    with pytest.raises(BadData, match="row 1 has class 3, but there are 3"):
        multi_hot([0, 3], 3)


def test_unknown_label_is_named() -> None:
    with pytest.raises(BadData, match="'w' is not one of the 1 classes"):
        captioned(["a"], [["t"]], labels=[["w"]], class_names=["x"])


def test_loaded_chooses_its_protocols() -> None:
    features = Split(np.zeros((2, 1)), np.zeros((2, 1)), np.eye(2), paired_in_order(2))
    dataset = Loaded("mine", {"train": features, "val": features, "test": features})
    assert dataset.protocol() == Protocol("test", "test", "label", validation="val")
    assert dataset.relevance == "label"
    assert Loaded("mine", {"all": small()}).protocol() == Protocol("all", "all", "pair", train="all")
    with pytest.raises(UnknownName, match="split 'tset' of mine; did you mean test"):
        dataset.split("tset")
    with pytest.raises(UnknownName, match="protocol '5k' of mine"):
        dataset.protocol("5k")


def test_cases_cut_captions_and_folds() -> None:
    split = Split(np.zeros((6, 1)), np.zeros((36, 1)), None, paired_in_order(6, 6))
    dataset = Loaded(
        "mine", {"test": split}, protocols={"1k": Protocol("test", "test", "pair", captions=5, folds=3)}
    )
    cases = list(dataset.cases())
    assert [(len(query), len(query.text)) for query, _ in cases] == [(2, 10)] * 3
    assert all(query is gallery for query, gallery in cases)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_selection_keeps_pairs_true(captions: list[int], random: object) -> None:
    split = captioned(
        [f"i{n}" for n in range(len(captions))], [[f"i{n}"] * count for n, count in enumerate(captions)]
    )
    rows = sorted(range(len(captions)), key=lambda _: random.random())[: len(captions) // 2 + 1]  # type: ignore[attr-defined]
    part = split.take(rows)
    assert len(part.text) == sum(captions[row] for row in rows)
    assert all(part.image[image] == part.text[text] for image, text in part.pairs.tolist())


def test_splits_with_labels_are_asked_by_label_too_whoever_made_them() -> None:
    bare = captioned(["a.jpg"], [["a"]])
    assert list(Loaded("mine", {"all": small()}).protocols) == ["all", "all-labels"]
    assert list(Loaded("mine", {"all": bare}).protocols) == ["all"]
    parts = {"all": small(), "test": small()}
    five = Protocol("test", "test", "pair", train="all", folds=3, captions=1)
    found = Loaded("mine", parts, protocols={"five": five}).protocols
    assert found == {"five": five, "five-labels": Protocol("test", "test", "label", train="all")}
    both = {"five": five, "map": Protocol("test", "test", "label", train="all")}
    assert Loaded("mine", parts, protocols=both).protocols == both
