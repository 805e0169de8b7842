"""Closed-form values of DSCMR's losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter, UsageError
from diptych.nets.classes import class_loss, shares
from diptych.systems.real_valued.dscmr import DSCMR, label_loss, pairwise_loss
from diptych.training.trainer import Trainer

EYE = torch.eye(2)
U = torch.tensor([[3.0, 0], [0, 1], [1, 1]])
V = torch.tensor([[1.0, 0], [1, 2], [0, 2]])
Y = torch.tensor([[1.0, 0], [0, 1], [0, 1]])


def j3(u: torch.Tensor, v: torch.Tensor) -> float:
    return float(np.mean([np.linalg.norm(a - b) for a, b in zip(u.numpy(), v.numpy(), strict=True)]))


def total(u: torch.Tensor, v: torch.Tensor, y: torch.Tensor) -> float:
    return float(label_loss(u, v, y) + 1e-3 * pairwise_loss(u, v, y)) + 0.1 * j3(u, v)


@pytest.mark.parametrize(
    ("u", "v", "y", "j1", "j2", "j"),
    [
        (EYE, EYE, EYE, 0.0, 1.7508, 0.0017508),
        (EYE, EYE.flip(0), EYE, 1.4142, 2.0008, 1.5576),
        (U, V, Y, 1.8047, 1.8449, 1.9675),
    ],
)
def test_values_worked_out_by_hand(u: Any, v: Any, y: Any, j1: float, j2: float, j: float) -> None:
    assert float(label_loss(u, v, y)) == pytest.approx(j1, abs=1e-4)
    assert float(pairwise_loss(u, v, y)) == pytest.approx(j2, abs=1e-4)
    assert total(u, v, y) == pytest.approx(j, abs=1e-4)


def test_pairwise_loss_equals_the_literal_sum() -> None:
    draw = torch.Generator().manual_seed(0)
    u, v = torch.randn(6, 4, generator=draw), torch.randn(6, 4, generator=draw)
    y = (torch.rand(6, 3, generator=draw) > 0.5).float()
    found = 0.0
    for first, second in ((u, v), (u, u), (v, v)):
        for i in range(6):
            for k in range(6):
                cosine = float(first[i] @ second[k] / first[i].norm() / second[k].norm())
                similar = float(bool((y[i] * y[k]).any()))
                found += (np.log1p(np.exp(cosine / 2)) - similar * cosine / 2) / 36
    assert float(pairwise_loss(u, v, y)) == pytest.approx(found, abs=1e-5)


def test_gradients_stay_finite_where_a_prediction_is_perfect() -> None:
    exact = EYE.clone().requires_grad_()
    label_loss(exact, EYE, EYE).backward()
    assert exact.grad is not None
    assert torch.equal(exact.grad, torch.zeros(2, 2))


def test_objective_has_the_papers_terms_and_weights() -> None:
    torch.manual_seed(0)
    system = DSCMR(image_dim=32, text_dim=24, classes=5, hidden_dim=8, dim=4)
    split = Planted(train=6).split("train")
    (batch,) = Trainer(quiet=True).batches(split, 10, shuffle=False)
    terms = system.objective(batch)
    u, v = system.image_net(batch.image).detach(), system.text_net(batch.text).detach()
    assert list(terms) == ["J1", "J2", "J3"]
    assert terms["J2"].item() == pytest.approx(1e-3 * float(pairwise_loss(u, v, batch.label)), rel=1e-5)
    assert terms["J3"].item() == pytest.approx(0.1 * j3(u, v), rel=1e-5)


def test_the_last_layer_is_one_for_both_sides() -> None:
    system = DSCMR(image_dim=8, text_dim=6, hidden_dim=4, dim=3)
    assert system.image_net[-1] is system.text_net[-1]  # type: ignore[index]
    assert len(system.trainable()) == 8  # two own layers, the shared one and the label layer


def test_it_has_the_papers_size() -> None:
    system = DSCMR()
    assert sum(p.numel() for p in system.trainable()) == pytest.approx(11.13e6, rel=1e-3)


def test_the_label_space_is_an_option() -> None:
    torch.manual_seed(0)
    system = DSCMR(image_dim=8, text_dim=6, hidden_dim=4, dim=3, classes=2, space="label")
    assert system.encode_image(np.ones((5, 8), np.float32)).shape == (5, 2)
    with pytest.raises(BadParameter, match="common or label, not 'both'"):
        DSCMR(space="both")


def test_wrong_features_are_refused_in_one_sentence() -> None:
    system = DSCMR(image_dim=8, text_dim=6, hidden_dim=4, dim=3)
    with pytest.raises(UsageError, match=r"image features \(n, 8\), not \(2, 3\)"):
        system.encode_image(np.ones((2, 3), np.float32))
    with pytest.raises(UsageError, match="text features, not texts themselves"):
        system.encode_text(["a dog"])


def test_class_loss_shares_several_labels_equally() -> None:
    label = torch.tensor([[1.0, 1, 0], [0, 0, 1]])
    assert shares(label).tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    logits = torch.tensor([[1.0, 2, 3], [0, 0, 0]])
    by_hand = (-0.5 * (1 + 2) + np.log(np.exp([1, 2, 3]).sum()) + np.log(3)) / 2
    assert float(class_loss(logits, label)) == pytest.approx(by_hand, abs=1e-6)
