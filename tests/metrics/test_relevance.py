"""What is relevant, by label, by pairs or given."""

from __future__ import annotations

import numpy as np

from diptych.metrics import ByLabel


def test_relevance_with_more_than_64_classes() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random((50, 130)) < 0.02, rng.random((70, 130)) < 0.02
    found = ByLabel(first, second)
    expected = first.astype(int) @ second.T.astype(int)
    assert (found.block(3, 40) == (expected[3:40] > 0)).all()
    assert (found.grades(3, 40) == expected[3:40]).all()
    assert (found.totals() == (expected > 0).sum(1)).all()
    assert (found.transposed().block(0, 70) == (expected.T > 0)).all()
