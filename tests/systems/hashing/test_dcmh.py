"""DCMH's numbers, worked out on three pairs (specification, and by hand where short)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split, paired_in_order
from diptych.nets.pairwise import likelihood, share_a_label, sign
from diptych.systems.hashing.dcmh import DCMH
from diptych.testing.materials import chance, mean_average_precision, planted
from diptych.training.trainer import Batch, Trainer

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


class Noting(Trainer):
    """Notes which pairs each batch has."""

    def batches(self, *arguments: Any, **options: Any) -> Iterator[Batch]:
        for batch in super().batches(*arguments, **options):
            self.rows.append(batch.index.tolist())
            yield batch

    rows: list[list[int]]


def test_the_algorithm_equals_its_literal_form() -> None:
    """Two epochs over drawn batches, written out pair by pair in float64 after the authors' code."""
    draw = np.random.default_rng(0)
    count, size, bits = 11, 4, 3
    image, text = draw.standard_normal((count, 5)), draw.standard_normal((count, 6))
    label = (draw.random((count, 3)) < 0.4).astype(np.uint8)
    split = Split(image.astype(np.float32), text.astype(np.float32), label, paired_in_order(count))
    settings = {"bits": bits, "text_hidden": 7, "classes": 3, "image_dim": 5, "text_dim": 6}
    learner = catalogue.load(
        "dcmh", seed=0, epochs=2, batch_size=size, lr=0.5, final_lr=0.25, balance_weight=0.3, **settings
    )
    nets = [[p.detach().double() for p in net.parameters()] for net in (learner.image_net, learner.text_net)]
    trainer = Noting(seed=3, quiet=True)
    trainer.rows = []
    learner.fit(split, trainer)
    # An epoch has as many full batches as fit, for each network.
    assert [len(rows) for rows in trainer.rows] == [size] * 8
    assert any(
        len({*first, *second}) < 2 * size for first, second in zip(*[iter(trainer.rows)] * 2, strict=True)
    )

    noise = torch.Generator().manual_seed(3)
    buffers = [torch.randn((count, bits), generator=noise).double() for _ in range(2)]
    codes = torch.where(buffers[0] + buffers[1] >= 0, 1.0, -1.0).double()
    batches = iter(trainer.rows)
    for rate in (0.5, 0.25):
        for side, values in ((0, image.astype(np.float32)), (1, text.astype(np.float32))):
            for _ in range(count // size):
                rows = next(batches)
                weights = [w.requires_grad_() for w in nets[side]]
                out = torch.from_numpy(values[rows]).double()
                for at in range(0, len(weights), 2):
                    out = (out.relu() if at else out) @ weights[at].T + weights[at + 1]
                for place, row in enumerate(rows):
                    buffers[side][row] = out[place].detach()
                loss = torch.zeros((), dtype=torch.float64)
                for place, row in enumerate(rows):
                    for other in range(count):
                        theta = out[place] @ buffers[1 - side][other] / 2
                        alike = float(any(label[row] & label[other]))
                        loss = loss + torch.log(1 + torch.exp(theta)) - alike * theta
                    loss = loss + sum((codes[row][k] - out[place][k]) ** 2 for k in range(bits))
                for k in range(bits):
                    rest = sum(float(buffers[side][row][k]) for row in range(count) if row not in rows)
                    loss = loss + 0.3 * (rest + out[:, k].sum()) ** 2
                found = torch.autograd.grad(loss / (count * size), weights)
                nets[side] = [(w - rate * g).detach() for w, g in zip(weights, found, strict=True)]
        codes = torch.where(buffers[0] + buffers[1] >= 0, 1.0, -1.0).double()
    for net, expected in zip((learner.image_net, learner.text_net), nets, strict=True):
        for parameter, one in zip(net.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.detach().double(), one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bits", [16, 128])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_small_settings_learn_at_every_seed_and_length(seed: int, bits: int) -> None:
    """At the rate that they had, every one of these ended in a loss that was not finite."""
    learn, test = planted()
    learner = catalogue.load("dcmh:tiny", seed=seed, image_dim=32, text_dim=24, classes=5, bits=bits)
    learner.fit(learn, Trainer(seed=seed, quiet=True))
    assert min(mean_average_precision(learner, test).values()) > (1 + chance(test)) / 2
