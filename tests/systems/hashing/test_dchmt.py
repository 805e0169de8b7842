"""DCHMT's numbers (specification) and limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.systems.hashing.dchmt import DCHMT

L = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
IMAGE = torch.tensor([[[2.0, 0], [0, 1]], [[-1, 1], [3, 0]], [[0, 0], [1, -1]]])
TEXT = torch.tensor([[[1, 0], [0, 2.0]], [[0, 1], [1, 0]], [[-2, 0], [0, 0.5]]])


@pytest.fixture
def model() -> DCHMT:
    return DCHMT(image_dim=3, text_dim=3, classes=2, bits=2)


def test_terms(model: DCHMT) -> None:
    terms = {k: v.item() for k, v in model.terms(IMAGE.softmax(2), TEXT.softmax(2), L).items()}
    expected = {
        "cross_similar": 0.572861,
        "cross_dissimilar": 0.086970,
        "image_similar": 0.532239,
        "image_dissimilar": 0.112927,
        "text_similar": 0.326807,
        "text_dissimilar": 0.139670,
    }
    assert terms == pytest.approx(expected, abs=2e-5)
    assert sum(terms.values()) == pytest.approx(1.771474, abs=5e-5)


def test_codes_choose_the_larger_and_a_tie_is_minus_one(model: DCHMT) -> None:
    assert model.as_vectors(IMAGE.softmax(2).numpy()).tolist() == [[-1, 1], [1, -1], [-1, -1]]


def test_perfect_one_hot_codes_cost_exactly_nothing() -> None:
    model = DCHMT(image_dim=3, text_dim=3, classes=2, bits=4, differing=0.75)
    chosen = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    one_hot = torch.nn.functional.one_hot(chosen, 2).float()
    label = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    assert sum(model.terms(one_hot, one_hot, label).values()).item() == pytest.approx(0, abs=1e-10)


def test_gradient_is_finite_where_two_items_are_equal(model: DCHMT) -> None:
    same = torch.full((3, 2, 2), 0.5, requires_grad=True)
    sum(model.terms(same, same, L).values()).backward()
    assert torch.isfinite(same.grad).all()


def test_encoding_gives_codes(model: DCHMT) -> None:
    codes = model.encode_image(np.random.default_rng(0).standard_normal((5, 3)))
    assert codes.shape == (5, 2)
    assert set(np.unique(codes)) <= {-1.0, 1.0}
