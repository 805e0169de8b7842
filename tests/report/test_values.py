"""Numbers are told in as many digits as they have, and none that means nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diptych import evaluate
from diptych.data.given import scores
from diptych.evaluation import Evaluation
from diptych.report.values import as_csv, digits, meaningful, number, spans


def found(count: int, values: NDArray[Any] | None = None) -> Evaluation:
    """An evaluation of so many pairs."""
    return evaluate(*scores(np.eye(count) if values is None else values))


@pytest.mark.parametrize(("count", "wanted"), [(30, 2), (99, 2), (100, 3), (1999, 3), (2000, 4)])
def test_digits_follow_the_number_of_queries(count: int, wanted: int) -> None:
    one = found(4).measured["image to text"]
    object.__setattr__(one, "queries", count)
    assert digits(one) == wanted
    assert number("R@1", 0.123456, one) == f"{0.123456:.{wanted}f}"
    assert number("MeanR", 12.3456, one) == "12.3"


def test_precision_at_more_entries_than_there_are_is_left_out() -> None:
    assert [name for name in meaningful(found(60)) if name.startswith("P@")] == ["P@1", "P@10", "P@50"]
    assert [name for name in meaningful(found(10)) if name.startswith("P@")] == ["P@1", "P@10"]
    assert [name for name in meaningful(found(9)) if name.startswith("P@")] == ["P@1"]
    assert ",P@50," not in as_csv(found(9))


def test_ties_are_told_where_they_decide() -> None:
    assert spans(found(5)) == {"image to text": {}, "text to image": {}}
    one_side = spans(found(2, np.array([[1.0, 1.0], [0.0, 2.0]])))
    assert one_side["image to text"]["R@1"] == (0.5, 1.0)
    assert one_side["text to image"] == {}
