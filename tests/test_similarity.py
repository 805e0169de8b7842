"""Similarities against literal loops, and packed codes."""

from __future__ import annotations

import numpy as np
import pytest

from diptych import similarity
from diptych.errors import UnknownName


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 6)), rng.standard_normal((5, 6))


def test_cosine_equals_the_definition_pair_by_pair(pair: tuple[np.ndarray, np.ndarray]) -> None:
    queries, gallery = pair
    literal = [[q @ g / (np.linalg.norm(q) * np.linalg.norm(g)) for g in gallery] for q in queries]
    np.testing.assert_allclose(similarity.cosine(queries, gallery), literal, atol=1e-6)


def test_cosine_with_zeros_is_zero_and_not_nan() -> None:
    assert similarity.cosine(np.zeros((1, 3)), np.ones((2, 3))).tolist() == [[0.0, 0.0]]


def test_hamming_is_minus_the_number_of_differing_bits() -> None:
    codes = np.array([[1, -1, 1, 1], [-1, -1, -1, 1]])
    assert similarity.hamming(codes, codes).tolist() == [[0.0, -2.0], [-2.0, 0.0]]


def test_hamming_counts_zero_as_minus_one() -> None:
    assert similarity.hamming(np.array([[0.0, 1.0]]), np.array([[-1.0, 1.0]])).tolist() == [[0.0]]


def test_maxsim_equals_the_definition_and_ignores_padding() -> None:
    rng = np.random.default_rng(1)
    queries, gallery = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 5, 4))
    queries[0, 2] = 0
    gallery[1, 3:] = 0
    literal = np.array(
        [[sum(max(t @ u for u in g if u.any()) for t in q if t.any()) for g in gallery] for q in queries]
    )
    np.testing.assert_allclose(similarity.maxsim(queries, gallery), literal, atol=1e-5)


def test_packing_keeps_every_bit_and_a_bit_is_a_bit() -> None:
    codes = np.where(np.random.default_rng(2).random((7, 32)) < 0.5, -1, 1)
    packed = similarity.pack(codes)
    assert packed.shape == (7, 4)
    assert packed.dtype == np.uint8
    assert np.array_equal(similarity.unpack(packed), codes)


def test_packing_refuses_half_bytes() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        similarity.pack(np.ones((1, 12)))


def test_unknown_similarity_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean cosine"):
        similarity.named("cosin")
