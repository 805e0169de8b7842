"""Closed-form values of ACMR's losses, and where its gradients go."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.nets.reversal import reverse, schedule
from diptych.systems.real_valued.acmr import ACMR, VARIANTS, demo_triplet, hardest, triplet_loss
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


def test_where_no_other_cosine_is_positive_the_released_code_takes_its_own_class() -> None:
    inputs = torch.tensor([[1.0, 0], [1, 1], [-1, -0.5], [-1, 0]])
    label = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert hardest(inputs, label).tolist() == [0, 0, 2, 2]


def test_the_demo_starts_from_xaviers_weights() -> None:
    torch.manual_seed(0)
    system = ACMR(**{**VARIANTS["demo"], "image_dim": 200, "text_dim": 100})
    layers = [layer for net in system.networks.values() for layer in net.modules() if hasattr(layer, "bias")]
    shapes = [tuple(layer.weight.shape[::-1]) for layer in layers]
    assert shapes == [(200, 512), (512, 100), (100, 40), (100, 40), (40, 100), (100, 40), (40, 10), (40, 20),
                      (20, 10), (10, 2)]  # fmt: skip
    for layer, (inputs, outputs) in zip(layers, shapes, strict=True):
        limit = np.sqrt(6 / (inputs + outputs))
        assert layer.weight.abs().max() <= limit + 1e-6
        if inputs * outputs > 100:
            assert layer.weight.std().item() == pytest.approx(limit / np.sqrt(3), rel=0.1)
        assert not layer.bias.any()


def test_the_demo_trains_as_the_released_code_in_loops() -> None:
    """Three epochs of file order without the last four pairs; both steps of a batch from one forward pass."""
    split = Planted(train=20, multi_label=True).split("train")
    assert split.label is not None
    demo = {key: value for key, value in VARIANTS["demo"].items() if not key.endswith("sizes")}
    system = small(**{**demo, "batch_size": 8, "epochs": 3, "lr": 0.01})
    nets = {name: copy.deepcopy(net).double() for name, net in system.networks.items()}
    system.fit(split, Trainer(quiet=True, device="cpu"))

    moments: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def adam(
        loss: torch.Tensor, names: tuple[str, ...], step: int
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        parameters = [p for name in names for p in nets[name].parameters()]
        changes = []
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
            mean, square = moments.get(id(p), (torch.zeros_like(p), torch.zeros_like(p)))
            mean, square = 0.5 * mean + 0.5 * g, 0.999 * square + 0.001 * g * g
            moments[id(p)] = mean, square
            upward = (mean / (1 - 0.5**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            changes.append((p, 0.01 * upward))
        return changes

    step = 0
    for _ in range(3):
        for rows in (range(8), range(8, 16)):
            step += 1
            x, z = (torch.from_numpy(side[list(rows)]).double() for side in (split.image, split.text))
            v, t = nets["image_net"](x), nets["text_net"](z)
            labels = split.label[list(rows)]
            total = torch.zeros(())
            for one in (v, t):
                for row, logs in enumerate(nets["label_net"](one).log_softmax(dim=1)):
                    for c in np.flatnonzero(labels[row]):
                        total = total - 100 * logs[c] / labels[row].sum() / 8
            for anchor, other, inputs in ((v, t, x), (t, v, z)):
                near, far = torch.zeros(()), torch.zeros(())
                for a in range(8):
                    best, chosen = -2.0, 0
                    for b in range(8):
                        cosine = float(inputs[a] @ inputs[b] / inputs[a].norm() / inputs[b].norm())
                        masked = 0.0 if (labels[a] * labels[b]).any() else cosine
                        if masked > best:
                            best, chosen = masked, b
                    near = near + 0.5 * ((anchor[a] - other[a]) ** 2).sum()
                    far = far + 0.5 * ((anchor[a] - other[chosen]) ** 2).sum()
                total = total + torch.relu(0.1 + 5 * near - far)
            told = torch.zeros(())
            for side, vectors in ((0, v), (1, t)):
                for row in vectors.detach():
                    hidden = row
                    for layer in nets["modality_net"]:  # type: ignore[attr-defined]
                        hidden = layer.weight @ hidden + layer.bias
                    told = told - hidden.log_softmax(dim=0)[side] / 8
            changes = adam(total, ("image_net", "text_net"), step) + adam(told, ("modality_net",), step)
            with torch.no_grad():
                for parameter, change in changes:
                    parameter -= change
    for name, net in system.networks.items():
        for found, literal in zip(net.parameters(), nets[name].parameters(), strict=True):
            assert torch.allclose(found.double(), literal, atol=1e-5), name


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
    with pytest.raises(BadParameter, match="common space of 4 or more, not 3"):
        small(released=True, image_sizes=(8, 3), text_sizes=(6, 3))
