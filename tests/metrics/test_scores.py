"""Every kind of scores gives, block by block, the matrix that stands for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diptych.core import Hits
from diptych.errors import BadData, UsageError
from diptych.metrics import Embedded, Matrix, Ranked, Replaced, score_blocks

RANDOM = np.random.default_rng(0)
QUERY, GALLERY = RANDOM.standard_normal((5, 4)), RANDOM.standard_normal((9, 4))
COSINE = np.array(
    [[q @ g / (np.linalg.norm(q) * np.linalg.norm(g)) for g in GALLERY] for q in QUERY], np.float32
)
ROWS = np.array([[3, 0, -1], [8, 7, 6], [-1, -1, -1], [0, 1, 2], [5, -1, -1]])
VALUES = np.linspace(2, 1, 15, dtype=np.float32).reshape(5, 3)


def placed(ground: Any) -> Any:
    """The matrix with the values at their rows."""
    matrix = np.array(ground, np.float32)
    for query, rows in enumerate(ROWS):
        for at, row in enumerate(rows):
            if row >= 0:
                matrix[query, row] = VALUES[query, at]
    return matrix


@pytest.mark.parametrize(
    ("scores", "matrix"),
    [
        (Embedded(QUERY, GALLERY), COSINE),
        (Embedded(QUERY, GALLERY, "dot"), QUERY @ GALLERY.T),
        (Embedded(QUERY, GALLERY).transposed().transposed(), COSINE),
        (Matrix(COSINE), COSINE),
        (Matrix(COSINE.T).transposed(), COSINE),
        (Ranked(Hits(ROWS, VALUES), 9), placed(np.full((5, 9), -np.inf))),
        (Replaced(Matrix(COSINE), ROWS, VALUES), placed(COSINE)),
    ],
)
def test_blocks_are_parts_of_the_matrix(scores: Any, matrix: Any) -> None:
    assert scores.shape == (5, 9)
    for block in ((0, 5), (2, 4), (4, 5), (1, 3, 2, 7), (0, 5, 8, 9)):
        rows, columns = slice(*block[:2]), slice(*block[2:] or (0, None))
        np.testing.assert_allclose(scores.block(*block), matrix[rows, columns], atol=1e-6)
    whole = [block for _, _, block in score_blocks(scores, entries=20)]  # two queries each
    assert [len(block) for block in whole] == [2, 2, 1]
    np.testing.assert_allclose(np.concatenate(whole), matrix, atol=1e-6)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(5, 4\).*\(9, 3\)"):
        Embedded(QUERY, GALLERY[:, :3])
    with pytest.raises(BadData, match=r"gallery vector \d is not finite, it holds inf"):
        Embedded(QUERY, np.where(GALLERY > 1, np.inf, GALLERY))
    with pytest.raises(UsageError, match="maxsim differs by direction"):
        Embedded(QUERY[:, None], GALLERY[:, None], "maxsim").transposed()
    with pytest.raises(BadData, match="the scores of query 2 contain NaN"):
        Matrix(np.where(np.arange(5)[:, None] == 2, np.nan, COSINE))
    with pytest.raises(BadData, match="the scores of query 3 contain an infinite score"):
        Matrix(np.where(np.arange(5)[:, None] == 3, np.inf, COSINE))
    with pytest.raises(BadData, match="whole numbers of up to 9007199254740993, which double"):
        Matrix(np.array([[2**53, 2**53 + 1]]))
    with pytest.raises(BadData, match="scores must be numbers, not complex128"):
        Matrix(COSINE.astype(complex))


@pytest.mark.parametrize("power", [-300, -43, -25, -10, 0, 10, 19, 30, 38, 300])
def test_cosine_does_not_depend_on_the_scale(power: int) -> None:
    kind = np.float64 if abs(power) > 40 else np.float32
    query, gallery = QUERY.astype(kind), GALLERY.astype(kind)
    scale = kind(10.0**power)
    found = Embedded(query / 8 * scale, gallery / 8 * scale).block(0, 5)
    # Below 1e-38 single precision itself has fewer digits.
    np.testing.assert_allclose(found, COSINE, atol=1e-6)


@pytest.mark.parametrize("similarity", ["dot", "maxsim"])
@pytest.mark.parametrize("power", [-25, 20, 38])
def test_inner_products_that_leave_single_precision_are_refused(similarity: str, power: int) -> None:
    query, gallery = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)
    query[2] *= 2
    if similarity == "maxsim":
        query, gallery = query[:, None], gallery[:, None]
    scale = np.float32(10.0**power)
    with pytest.raises(BadData, match="query vector 2, the longest, has the length"):
        Embedded(query * scale, gallery, similarity)
    assert Embedded(query, gallery, similarity).block(0, 4)[2, 2] == 2
