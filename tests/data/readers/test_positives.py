"""ECCV-Caption-like files: listed queries only, ids by number, and measured as any other relevance."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from diptych import metrics
from diptych.data.readers import positives
from diptych.data.readers.positives import matches
from diptych.errors import BadData, MissingData

IMAGES = ("COCO_val2014_000000000042.jpg", "COCO_val2014_000000000007.jpg", "9")
TEXTS = ("100", "101", "102", "103")


def test_only_listed_queries_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "eccv_image_to_caption.json"
    path.write_text(json.dumps({"7": [101, 102, 999], "42": [100], "5": [100]}))
    rows, pairs = matches(path, IMAGES, TEXTS)
    assert rows.tolist() == [0, 1]
    assert pairs.tolist() == [[0, 0], [1, 1], [1, 2]]
    scores = np.array([[0.9, 0.1, 0.2, 0.3], [0.9, 0.8, 0.1, 0.7], [1, 2, 3, 4]])
    found = metrics.measure(scores[rows], metrics.ByPairs(pairs, (len(rows), len(TEXTS))))
    assert found["R@1"] == 0.5
    # Of two relevant entries one is among the first two, at rank 2.
    assert found.per_query["mAP@R"].tolist() == [1, 0.25]
    assert found.per_query["R-P"].tolist() == [1, 0.5]


def test_bad_files_get_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(MissingData, match="is not there"):
        matches(path, IMAGES, TEXTS)
    path.write_text("[1, 2]")
    with pytest.raises(BadData, match="must map each id"):
        matches(path, IMAGES, TEXTS)
    path.write_text('{"5": [1]}')
    with pytest.raises(BadData, match="matches none of these 3 queries"):
        matches(path, IMAGES, TEXTS)


def test_a_name_of_nothing_but_digits_is_passed_over_once() -> None:
    def seconds(length: int) -> float:
        started = time.process_time()
        positives._number("1" * length + "?")
        return time.process_time() - started

    assert positives._number("COCO_val2014_000000000042.jpg") == "42"
    seconds(1_000)
    assert seconds(400_000) < 40 * max(seconds(40_000), 1e-4)  # a hundred times, if it were quadratic


def test_a_number_that_several_names_end_in_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps({"7": ["a#1", "2"], "b/7.jpg": ["a#2", "3"]}))
    rows, pairs = matches(path, ("a/7.jpg", "b/7.jpg"), ("a#1", "a#2", "b#2", "b#3"))
    assert rows.tolist() == [1]
    assert pairs.tolist() == [[0, 1], [0, 3]]  # "7" and "2" might be either
    assert positives.left_out(path, ("a/7.jpg", "b/7.jpg"), ("a#1", "a#2", "b#2", "b#3")) == {
        "queries": {"listed": 2, "here": 1},
        "matches": {"listed": 4, "here": 2},
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"7": "101"}, "but '7' has '101'"),  # whose letters are no ids
        ({"7": [["101"]]}, "but '7' has "),
        ({"7": 101}, "but '7' has '101'"),
        ([["7", "101"]], "but it is a list"),
    ],
)
def test_what_is_no_list_of_ids_is_refused(tmp_path: Path, content: object, sentence: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadData, match=f"must map each id to a list of the ids that match it, {sentence}"):
        matches(path, IMAGES, TEXTS)
