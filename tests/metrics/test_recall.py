"""Ranks of the first relevant entry, against literal ranks and all orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from literal import toy_captions

from diptych import metrics
from diptych.metrics import ByPairs, Embedded, Given


def test_recall_of_the_specification() -> None:
    scores, pairs = toy_captions()
    images, texts = metrics.first_ranks_both_ways(scores, pairs)
    assert (images.recall(1), images.recall(2)) == (0.5, 1.0)
    assert texts.recall(1) == 0.5
    assert texts.ranks().tolist() == [1, 2, 1, 2]


def test_a_constant_scorer_finds_nothing() -> None:
    vectors = np.ones((700, 8), np.float32)
    pairs = ByPairs(np.stack([np.arange(700)] * 2, 1), (700, 700))
    for found in metrics.first_ranks_both_ways(Embedded(vectors, vectors), pairs):
        assert found.recall(10) == 0
        assert found.recall(10, "best") == 1
        assert found.recall(10, "expected") == pytest.approx(10 / 700)


@pytest.mark.parametrize("similarity", ["cosine", "hamming"])
def test_both_ways_equal_one_way_and_literal_ranks(similarity: str) -> None:
    rng = np.random.default_rng(5)
    # Of length 4, so that every cosine is exact and a tie is a tie whatever the product is cut into.
    images = rng.choice([-1.0, 1.0], (600, 16)).astype(np.float32)
    texts = rng.choice([-1.0, 1.0], (2900, 16)).astype(np.float32)
    pairs = np.stack([rng.integers(0, 590, 2900), rng.permutation(2900)], 1)
    relevance = ByPairs(pairs, (600, 2900))
    scores = Embedded(images, texts, similarity)
    whole = scores.block(0, 600)
    rows, columns = metrics.first_ranks_both_ways(scores, relevance)
    match = relevance.block(0, 600)
    for found, matrix, truth in ((rows, whole, match), (columns, whole.T, match.T)):
        for query in range(0, len(matrix), 7):
            positive = matrix[query][truth[query]]
            if not len(positive):
                assert found.ranks()[query] == found.gallery + 1
                continue
            best = positive.max()
            others = matrix[query][~truth[query]]
            assert found.ahead[query] == (matrix[query] > best).sum()
            assert (
                found.ranks()[query]
                == 1 + (matrix[query][truth[query]] > best).sum() + (others >= best).sum()
            )
            assert found.own[query] == (positive == best).sum()
    one_way = metrics.first_ranks(scores, relevance)
    by_matrix = metrics.first_ranks(whole, Given(match))
    for name in ("ahead", "level", "own"):
        assert (getattr(one_way, name) == getattr(rows, name)).all()
        assert (getattr(by_matrix, name) == getattr(rows, name)).all()


def test_expected_recall_equals_all_orders() -> None:
    found = metrics.FirstRanks(np.array([1]), np.array([2]), np.array([2]), 9)
    orders = list(itertools.permutations([1, 1, 0, 0]))
    for n in range(1, 7):
        truth = np.mean([any(order[: max(n - 1, 0)]) for order in orders])
        assert found.recall(n, "expected") == pytest.approx(truth)
    ranks = [2 + order.index(1) for order in orders]
    assert found.ranks("expected")[0] == pytest.approx(np.mean(ranks))
