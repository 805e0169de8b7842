"""The exact index against a literal search, and what it promises about ties, rows and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych import similarity
from diptych.errors import BadData, UsageError
from diptych.index.flat import Flat, among, best, places_of


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
    with pytest.raises(BadData, match="not finite"):
        Flat(1).add(np.array([0]), np.array([[np.nan]]))


def test_k_must_be_positive() -> None:
    with pytest.raises(UsageError, match="k must be at least 1"):
        Flat(1).search(np.ones((1, 1)), 0)


@given(scores=st.lists(st.integers(-3, 3), max_size=30), k=st.integers(1, 40), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_best_breaks_ties_by_row_and_pads(scores: list[int], k: int, seed: int) -> None:
    rows = np.random.default_rng(seed).permutation(100)[: len(scores)]
    hits = best(np.array([scores], np.float32), rows, k)
    expected = literal(np.array([scores], np.float32), rows, k)[0]
    assert hits.rows[0].tolist() == expected + [-1] * (k - len(expected))
    assert np.isneginf(hits.scores[0, len(expected) :]).all()


def test_any_order_of_changes_equals_a_rebuild() -> None:
    rng = np.random.default_rng(2)
    content: dict[int, np.ndarray] = {}
    index = Flat(5)
    for _ in range(40):
        rows = np.unique(rng.integers(0, 30, 6))
        if rng.random() < 0.3:
            index.remove(rows)
            for row in rows.tolist():
                content.pop(row, None)
        else:
            vectors = rng.normal(size=(len(rows), 5)).astype(np.float32)
            index.add(rows, vectors)
            content |= dict(zip(rows.tolist(), vectors, strict=True))
    again = Flat(5)
    again.add(np.array(list(content)), np.array(list(content.values())))
    queries = rng.normal(size=(4, 5))
    assert len(index) == len(content)
    assert index.search(queries, 12).rows.tolist() == again.search(queries, 12).rows.tolist()


def test_a_saved_index_cut_at_any_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.npz"
    index = Flat(3)
    index.add(np.arange(5), np.ones((5, 3)))
    index.save(path)
    data = path.read_bytes()
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(BadData, match="build it again"):
            Flat.open(path)


@pytest.mark.parametrize("count", [0, 1, 3, 40, 900, 1000])
def test_places_of_rows(count: int) -> None:
    rng = np.random.default_rng(count)
    rows = np.sort(rng.choice(10**7, 1000, replace=False))
    within = rng.permutation(np.concatenate([rng.choice(rows, count, replace=False), rng.choice(10**7, 5)]))
    assert places_of(rows, within).tolist() == np.flatnonzero(np.isin(rows, within)).tolist()
    assert places_of(rows[:0], within).tolist() == []


@pytest.mark.parametrize("spread", [2, 1_000_000], ids=["close", "apart"])
@pytest.mark.parametrize(("many", "few"), [(500, 400), (5_000, 10), (10, 5_000)])
def test_rows_among_a_set(many: int, few: int, spread: int) -> None:
    """By a table where numbers lie close, by bisection else; below, within and beyond the set."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, spread * 1_000, many) - 7
    within = np.unique(rng.integers(0, spread * 900, few))
    assert among(rows, within).tolist() == np.isin(rows, within).tolist()
    assert among(rows[:0], within).tolist() == []
    assert not among(rows, within[:0]).any()
    rows = np.unique(rows)
    assert places_of(rows, within).tolist() == np.flatnonzero(np.isin(rows, within)).tolist()
