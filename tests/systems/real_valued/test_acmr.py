"""Closed-form values of ACMR's losses, and where its gradients go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.nets.reversal import reverse, schedule
from diptych.systems.real_valued.acmr import ACMR, demo_triplet, hardest, triplet_loss
from diptych.training.trainer import Batch, Trainer

U = torch.tensor([[0.0, 0], [1, 0], [0, 3]])
V = torch.tensor([[0.0, 1], [2, 0], [0, 0]])
Y = torch.tensor([[1.0, 0], [1, 0], [0, 1]])


def small(**parameters: object) -> ACMR:
    torch.manual_seed(0)
    sizes = {"image_sizes": (8, 4), "text_sizes": (6, 4), "classes": 5}
    return ACMR(image_dim=32, text_dim=24, **{**sizes, **parameters})  # type: ignore[arg-type]


def one_batch() -> Batch:
    (batch,) = Trainer(quiet=True).batches(Planted(train=12).split("train"), 20)
    return batch


def literal(anchor: torch.Tensor, other: torch.Tensor, margin: float, weight: float) -> tuple[float, int]:
    """The sum over all (i, j, k), and how many there are."""
    total, count = 0.0, 0
    for i in range(3):
        for j in range(3):
            for k in range(3):
                if bool((Y[i] * Y[j]).any()) and not bool((Y[i] * Y[k]).any()):
                    near = float((anchor[i] - other[j]).norm())
                    far = float((anchor[i] - other[k]).norm())
                    total, count = total + near + weight * max(0.0, margin - far), count + 1
    return total, count


@pytest.mark.parametrize(("anchor", "other", "published"), [(U, V, 14.4142), (V, U, 12.9142)])
def test_triplets_worked_out_by_hand(anchor: torch.Tensor, other: torch.Tensor, published: float) -> None:
    total, count = literal(anchor, other, 2.0, 0.5)
    assert total == pytest.approx(published, abs=1e-3)
    found = float(triplet_loss(anchor, other, Y, margin=2.0, negative_weight=0.5))
    assert found * count == pytest.approx(published, abs=1e-3)


def test_the_demos_hinge_on_the_batch() -> None:
    negatives = torch.tensor([2, 2, 0])
    assert float(demo_triplet(U, V, negatives, margin=0.1)) == pytest.approx(25.1, abs=1e-4)
    assert float(demo_triplet(V, U, negatives, margin=0.1)) == pytest.approx(19.1, abs=1e-4)


def test_the_hardest_negative_is_the_nearest_input_of_another_class() -> None:
    inputs = torch.tensor([[1.0, 0], [1, 0.1], [1, 0.2], [0, 1]])
    label = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert hardest(inputs, label).tolist() == [2, 2, 1, 1]


def test_the_schedule_of_the_reversal() -> None:
    found = [schedule(p) for p in (0, 0.1, 0.25, 0.5, 1)]
    assert found == pytest.approx([0, 0.4621, 0.8483, 0.9866, 0.9999], abs=1e-4)


def test_the_reversal_turns_the_gradient_and_leaves_the_value() -> None:
    def gradient(strength: float | None) -> tuple[float, list[float]]:
        x, w = torch.tensor([1.0, 2], requires_grad=True), torch.tensor([0.3, -0.1])
        seen = x if strength is None else reverse(x, strength)
        loss = functional.binary_cross_entropy_with_logits(seen @ w, torch.ones(()))
        loss.backward()
        assert x.grad is not None
        return loss.item(), x.grad.tolist()

    assert gradient(None) == (pytest.approx(0.6444, abs=1e-4), pytest.approx([-0.1425, 0.0475], abs=1e-4))
    assert gradient(0.5) == (pytest.approx(0.6444, abs=1e-4), pytest.approx([0.0713, -0.0238], abs=1e-4))


def test_the_projectors_get_the_reversed_gradient_of_the_modality_loss() -> None:
    system, batch = small(), one_batch()
    weight = system.image_net[1].weight  # type: ignore[index]
    vectors = system.image_net(batch.image), system.text_net(batch.text)
    (plain,) = torch.autograd.grad(system.modality_loss(*vectors), weight)
    (turned,) = torch.autograd.grad(system.objective(batch, strength=0.7)["adv"], weight)
    assert torch.allclose(turned, -0.7 * plain, atol=1e-7)
    assert plain.abs().max() > 0


def test_an_unsure_classifier_costs_two_ln_two() -> None:
    system, batch = small(), one_batch()
    torch.nn.init.zeros_(system.modality_net[2].weight)  # type: ignore[index]
    torch.nn.init.zeros_(system.modality_net[2].bias)  # type: ignore[index]
    terms = system.classifier_objective(batch)
    assert terms["modality"].item() == pytest.approx(2 * np.log(2), abs=1e-6)
    assert {
        name for name, net in system.networks.items() for p in net.parameters() if p.grad is not None
    } == set()


def test_the_regulariser_is_the_sum_of_frobenius_norms() -> None:
    system = small(norm_weight=1.0)
    by_hand = sum(
        float(np.sqrt((p.detach().numpy() ** 2).sum()))
        for net in (system.image_net, system.text_net)
        for p in net.parameters()
        if p.ndim == 2
    )
    assert system.objective(one_batch())["reg"].item() == pytest.approx(by_hand, rel=1e-5)


def test_the_demo_sends_no_adversarial_gradient_and_leaves_its_labels_random() -> None:
    system = small(adversarial=False, trained_labels=False, triplet="demo", epochs=2)
    before = system.label_net.weight.clone()
    assert "adv" not in system.objective(one_batch())
    system.fit(Planted(train=12).split("train"), Trainer(quiet=True, device="cpu"))
    assert torch.equal(system.label_net.weight, before)


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(BadParameter, match="paper or demo, not 'hard'"):
        small(triplet="hard")
    with pytest.raises(BadParameter, match="must be equal: the common space"):
        small(text_sizes=(6, 5))
