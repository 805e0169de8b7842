"""NDCG against the specification."""

from __future__ import annotations

import pytest

from diptych import metrics


def test_ndcg_of_the_specification() -> None:
    grades = [[0, 2, 1, 0, 3]]
    assert metrics.ndcg(grades)[0] == pytest.approx(0.543051, abs=1e-6)
    assert metrics.ndcg(grades, k=3)[0] == pytest.approx(0.254747, abs=1e-6)
    assert metrics.ndcg([[0, 0]])[0] == 0
