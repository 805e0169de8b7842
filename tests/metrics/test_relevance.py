"""What is relevant, by label, by pairs or given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diptych import metrics
from diptych.errors import BadData, UsageError
from diptych.metrics import ByLabel, ByPairs, Given

HOT = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])


def test_relevance_with_more_than_64_classes() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random((50, 130)) < 0.02, rng.random((70, 130)) < 0.02
    found = ByLabel(first, second)
    expected = first.astype(int) @ second.T.astype(int)
    assert (found.block(3, 40) == (expected[3:40] > 0)).all()
    assert (found.grades(3, 40) == expected[3:40]).all()
    assert (found.totals() == (expected > 0).sum(1)).all()
    assert (found.transposed().block(0, 70) == (expected.T > 0)).all()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_yes_and_no_of_every_type(kind: type) -> None:
    found = ByLabel(HOT.astype(kind), HOT.astype(kind))
    assert found.block(0, 3).astype(int).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert Given(HOT.astype(kind)).block(0, 3).astype(int).tolist() == HOT.tolist()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (2 * HOT - 1, "row 0 holds -1 in column 1"),
        (np.where(np.arange(3)[:, None] == 1, np.nan, HOT), "row 1 holds nan in column 0"),
        (HOT * 0.5, r"row 0 holds 0\.5 in column 0"),
        (np.where(HOT == 1, np.inf, 0), "row 0 holds inf in column 0"),
        (np.array([[0], [1], [2]]), "row 2 holds 2, but only 0 and 1 .* class numbers as one column a class"),
        (np.array([["1", "0"]]), "must hold 0 and 1, or true and false, not <U1"),
        (np.array([[None, 1]]), "must hold 0 and 1, or true and false, not object"),
    ],
)
def test_what_is_neither_yes_nor_no_is_refused(labels: Any, said: str) -> None:
    fine = np.zeros((2, labels.shape[1]), np.uint8)
    with pytest.raises(BadData, match=f"query labels {said}"):
        ByLabel(labels, fine)
    with pytest.raises(BadData, match=f"gallery labels {said}"):
        ByLabel(fine, labels)
    with pytest.raises(BadData, match=f"the relevance matrix {said}"):
        Given(labels)
    for function in (metrics.average_precision, lambda values: metrics.precision_at(values, 1)):
        with pytest.raises(BadData, match=f"relevance {said}"):
            function(labels)


@pytest.mark.parametrize(("bad", "value"), [(-1.0, "-1.0"), (np.nan, "nan"), (np.inf, "inf")])
def test_grades_are_finite_and_not_negative(bad: float, value: str) -> None:
    with pytest.raises(BadData, match=f"the grade of query 1 at place 2 is {value}"):
        metrics.ndcg(np.array([[0, 1, 2], [0, 1, bad]]))


def test_pairs_are_two_whole_numbers() -> None:
    with pytest.raises(BadData, match=r"pair 1 is \[1\.0, 0\.5\], but rows are whole numbers"):
        ByPairs(np.array([[0, 0], [1, 0.5]]), (2, 2))
    with pytest.raises(BadData, match="pair 0 is"):
        ByPairs(np.array([[np.nan, 0]]), (2, 2))
    with pytest.raises(UsageError, match=r"pairs must be \(p, 2\), .* not \(2, 3\)"):
        ByPairs(np.array([[0, 1, 2], [0, 1, 2]]), (3, 3))  # the two sides one above the other
    assert ByPairs([], (2, 2)).totals().tolist() == [0, 0]
