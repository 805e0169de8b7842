"""Hamming rankings: the authors' own self-test, and histograms against a matrix of distances."""

from __future__ import annotations

import numpy as np
import pytest
from literal import DATABASE, DATABASE_LABELS, QUERY, QUERY_LABELS, RELEVANCE

from diptych import metrics
from diptych.metrics import ByLabel, Embedded, Given


def test_the_authors_own_self_test() -> None:
    expected = np.array([[1, 2, 2, 3, 4, 2], [3, 2, 2, 3, 2, 2], [3, 4, 4, 1, 2, 0], [1, 2, 2, 1, 2, 2]])
    scores = Embedded(QUERY, DATABASE, "hamming")
    assert (-scores.block(0, 4) == expected).all()
    assert RELEVANCE.block(0, 4).astype(int).tolist() == [
        [0, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0],
    ]
    stable = metrics.hamming_average_precision(QUERY, DATABASE, RELEVANCE)
    assert stable == pytest.approx([0.583333, 0.95, 0.477778, 0.805556], abs=1e-6)
    assert stable.mean() == pytest.approx(0.704167, abs=1e-6)
    backwards = ByLabel(QUERY_LABELS, DATABASE_LABELS[::-1])
    assert metrics.hamming_average_precision(QUERY, DATABASE[::-1], backwards).mean() == pytest.approx(
        0.493403, abs=1e-6
    )
    groups = metrics.hamming_groups(QUERY, DATABASE, RELEVANCE)
    tied = groups.average_precision()
    assert tied["expected"] == pytest.approx([0.5, 0.813542, 0.461111, 0.630556], abs=1e-6)
    assert tied["expected"].mean() == pytest.approx(0.601302, abs=1e-6)
    curve = metrics.precision_by_radius(groups)
    assert curve.y == pytest.approx([0, 0.2, 0.529412, 0.523810, 0.5], abs=1e-6)
    assert curve.x == pytest.approx([0, 0.083333, 0.75, 0.916667, 1], abs=1e-6)


@pytest.mark.parametrize("bits", [16, 64, 128])
def test_hamming_groups_against_a_matrix(bits: int) -> None:
    rng = np.random.default_rng(bits)
    query, gallery = rng.choice([-1, 1], (9, bits)), rng.choice([-1, 1], (200, bits))
    relevant = Given(rng.random((9, 200)) < 0.3)
    distance = (bits - query @ gallery.T) // 2
    groups = metrics.hamming_groups(query, gallery, relevant)
    packed = [np.packbits(codes > 0, axis=1) for codes in (query, gallery)]
    again = metrics.hamming_groups(*packed, relevant)
    assert (groups.sizes == again.sizes).all()
    assert (groups.hits == again.hits).all()
    for row in range(9):
        assert (groups.sizes[row] == np.bincount(distance[row], minlength=bits + 1)).all()
        assert (groups.hits[row] == np.bincount(distance[row], relevant.matrix[row], bits + 1)).all()
    ranked = np.take_along_axis(relevant.matrix, np.argsort(distance, axis=1, kind="stable"), axis=1)
    assert metrics.hamming_average_precision(query, gallery, relevant) == pytest.approx(
        metrics.average_precision(ranked)
    )
