"""Curves against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diptych import metrics
from diptych.metrics import Given


def test_curves() -> None:
    relevant = np.array([[1, 0, 1, 0]], bool)
    curve = metrics.interpolated_precision(relevant, np.array([2]), levels=(0, 0.5, 1))
    assert curve.y == pytest.approx([1, 1, 2 / 3])
    assert metrics.precision_curve(relevant, [1, 2, 4]).y == pytest.approx([1, 0.5, 0.5])
    found = metrics.measure(-np.arange(4.0)[None], Given(relevant))
    assert found.curve is not None
    assert found.curve[1][[0, 10, 20]] == pytest.approx([1, 1, 2 / 3])
    # Cut at R = 2: one relevant entry, at rank 1.
    assert (found["mAP@R"], found["R-P"]) == (0.5, 0.5)
