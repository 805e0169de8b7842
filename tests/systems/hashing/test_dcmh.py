"""DCMH's numbers, worked out on three pairs (specification, and by hand where short)."""

from __future__ import annotations

import pytest
import torch

from diptych.nets.pairwise import likelihood, share_a_label, sign
from diptych.systems.hashing.dcmh import DCMH

F = torch.tensor([[1, 0.5], [-0.5, 1], [0, -1]])
G = torch.tensor([[0.5, 1], [-1, 0.5], [1, -0.5]])
L = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
S = torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]])


def model(**given: float) -> DCMH:
    return DCMH(image_dim=3, text_dim=3, classes=2, bits=2, text_hidden=4, **given)


def test_similar_means_sharing_a_label() -> None:
    assert share_a_label(L, L).tolist() == S.tolist()


def test_codes_are_the_sign_of_the_sum() -> None:
    assert sign(F + G).tolist() == [[1, 1], [-1, 1], [1, -1]]


def test_likelihood_of_all_pairs() -> None:
    theta = [[0.5, -0.375, 0.375], [0.375, 0.5, -0.5], [-0.5, -0.25, 0.25]]
    assert (F @ G.T / 2).tolist() == theta
    assert likelihood(F, G, S).sum().item() == pytest.approx(6.117557, abs=1e-5)
    literal = sum(
        torch.log1p(torch.exp(torch.tensor(theta[i][j]))).item() - S[i, j].item() * theta[i][j]
        for i in range(3)
        for j in range(3)
    )
    assert likelihood(F, G, S).sum().item() == pytest.approx(literal, abs=1e-5)


def test_likelihood_does_not_overflow() -> None:
    large = torch.tensor([[200.0]])
    assert likelihood(large, large, torch.tensor([[0.0]])).item() == pytest.approx(20000)


def test_objective_and_gradient_of_all_rows() -> None:
    outputs = F.clone().requires_grad_()
    terms = model().terms(torch.arange(3), outputs, F, G, sign(F + G), S)
    assert 9 * terms["quantisation"].item() == pytest.approx(((sign(F + G) - F) ** 2).sum().item())
    (9 * sum(terms.values())).backward()
    expected = [[1.498281, -0.485104], [1.775707, 0.857563], [-0.843438, 1.157682]]
    torch.testing.assert_close(outputs.grad, torch.tensor(expected), atol=1e-5, rtol=0)


def test_objective_of_a_batch_counts_every_column_and_the_whole_balance() -> None:
    rows = torch.tensor([0, 1])
    terms = model().terms(rows, F[rows], F, G, sign(F + G), S[rows])
    assert sum(terms.values()).item() == pytest.approx(0.873600, abs=1e-5)


def test_the_rate_falls_in_equal_steps_to_the_last() -> None:
    learner = model(epochs=3, lr=0.3, final_lr=0.1)
    assert [learner._rate(epoch) for epoch in range(3)] == pytest.approx([0.3, 0.2, 0.1])
