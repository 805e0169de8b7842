"""The exact index against a literal search, and what it promises about ties, rows and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych import similarity
from diptych.errors import BadData, UsageError
from diptych.index.flat import Flat


def literal(scores: np.ndarray, rows: np.ndarray, k: int) -> list[list[int]]:
    return [
        [row for _, row in sorted((-score, row) for score, row in zip(line, rows, strict=True))][:k]
        for line in scores.tolist()
    ]


@pytest.mark.parametrize("kind", ["cosine", "dot", "hamming"])
def test_equals_a_literal_search(kind: str) -> None:
    rng = np.random.default_rng(0)
    gallery, queries = rng.standard_normal((300, 16)), rng.standard_normal((20, 16))
    if kind == "hamming":
        gallery, queries = np.sign(gallery), np.sign(queries)
    rows = rng.permutation(1000)[:300]
    index = Flat(16, kind)
    index.add(rows, gallery)
    hits = index.search(queries, 10)
    scores = similarity.named(kind)(queries, gallery)
    assert hits.rows.tolist() == literal(scores, rows, 10)


def test_ties_at_the_edge_go_to_the_lower_row() -> None:
    index = Flat(2)
    index.add(np.array([9, 3, 7, 1]), np.ones((4, 2)))
    assert index.search(np.ones((1, 2)), 2).rows.tolist() == [[1, 3]]


def test_fewer_than_k_are_filled() -> None:
    index = Flat(2)
    index.add(np.array([5]), np.ones((1, 2)))
    hits = index.search(np.ones((1, 2)), 3)
    assert hits.rows.tolist() == [[5, -1, -1]]
    assert hits.scores[0, 1:].tolist() == [-np.inf, -np.inf]
    assert Flat(2).search(np.ones((2, 2)), 3).rows.tolist() == [[-1] * 3] * 2


def test_adding_again_replaces_and_removing_forgets() -> None:
    index = Flat(2)
    index.add(np.array([1, 2, 2]), np.array([[1, 0], [1, 0], [0, 1]]))
    assert len(index) == 2
    assert index.search(np.array([[0, 1]]), 1).rows.tolist() == [[2]]
    index.add(np.array([1]), np.array([[0, 2]]))
    assert index.search(np.array([[0, 1]]), 2).rows.tolist() == [[1, 2]]
    index.remove(np.array([1, 99]))
    assert index.search(np.array([[0, 1]]), 2).rows.tolist() == [[2, -1]]


def test_within_limits_the_rows() -> None:
    index = Flat(2)
    index.add(np.arange(4), np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1]]))
    assert index.search(np.array([[1, 0]]), 2, np.array([2, 3])).rows.tolist() == [[2, 3]]


def test_saved_and_opened_it_answers_alike(tmp_path: Path) -> None:
    index = Flat(3, "dot")
    index.add(np.arange(5), np.random.default_rng(1).standard_normal((5, 3)))
    index.save(tmp_path / "index.npz")
    again = Flat.open(tmp_path / "index.npz")
    query = np.ones((1, 3))
    assert again.search(query, 5).scores.tolist() == index.search(query, 5).scores.tolist()
    (tmp_path / "index.npz").write_bytes(b"junk")
    with pytest.raises(BadData, match="build it again"):
        Flat.open(tmp_path / "index.npz")


def test_wrong_vectors_are_named() -> None:
    with pytest.raises(UsageError, match="an index of 4 dimensions"):
        Flat(4).add(np.array([0]), np.ones((1, 3)))
    with pytest.raises(UsageError, match="not finite"):
        Flat(1).add(np.array([0]), np.array([[np.nan]]))
