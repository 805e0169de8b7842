"""Closed-form values of CLIP4CMR's losses."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.systems.real_valued import clip4cmr
from diptych.systems.real_valued.clip4cmr import CLIP4CMR, LOSSES
from diptych.testing.materials import chance, mean_average_precision
from diptych.training.trainer import Trainer

F = torch.tensor([[1.0, 0], [0.6, 0.8]])
IMAGES, TEXTS = torch.eye(2), torch.tensor([[0.6, 0.8], [0, 1.0]])
SAME = torch.eye(2)


def small(**parameters: object) -> CLIP4CMR:
    torch.manual_seed(0)
    return CLIP4CMR(image_dim=32, text_dim=24, classes=5, hidden_dim=32, dim=16, **parameters)  # type: ignore[arg-type]


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)))


def test_prototype_contrastive_worked_out_by_hand() -> None:
    label = torch.tensor([[1.0, 0], [1, 0]])
    distances = clip4cmr.squared_distances(F, torch.eye(2))
    assert distances.tolist() == [pytest.approx([0, 2], abs=1e-6), pytest.approx([0.8, 0.4], abs=1e-6)]
    found = clip4cmr.prototype_contrastive(F, label, torch.eye(2), 1.0)
    assert float(found) == pytest.approx(0.5200, abs=1e-4)


@pytest.mark.parametrize(("classes", "floor"), [(10, 0.7966), (20, 1.2729), (200, 3.3298)])
def test_its_floor_with_orthogonal_prototypes(classes: int, floor: float) -> None:
    best = clip4cmr.prototype_contrastive(torch.eye(classes), torch.eye(classes), torch.eye(classes), 1.0)
    assert float(best) == pytest.approx(floor, abs=1e-4)
    assert floor == pytest.approx(math.log(1 + (classes - 1) * math.exp(-2)), abs=1e-4)


def test_contrastive_worked_out_by_hand() -> None:
    distance = clip4cmr.squared_distances(IMAGES, TEXTS)
    assert distance.tolist() == [pytest.approx([0.8, 2], abs=1e-6), pytest.approx([0.4, 0], abs=1e-6)]
    assert float(clip4cmr.contrastive(distance, SAME, 0.2)) == pytest.approx(0.4, abs=1e-6)
    assert float(clip4cmr.modality_invariant(distance, SAME)) == pytest.approx(0.4, abs=1e-6)
    # [.8 - 2 + .2]_+ + [0 - .4 + .2]_+ = 0; with margin 1.5: .3 + 1.1, over two pairs of one class
    assert float(clip4cmr.triplet(distance, SAME, 0.2)) == 0
    assert float(clip4cmr.triplet(distance, SAME, 1.5)) == pytest.approx(0.7, abs=1e-6)


def test_the_released_contrastive_loss_counts_the_margin_of_each_pair_of_one_class() -> None:
    distance = clip4cmr.squared_distances(IMAGES, TEXTS)
    assert float(clip4cmr.contrastive(distance, SAME, 0.2, released=True)) == pytest.approx(0.6, abs=1e-6)


def test_the_released_prototype_loss_worked_out_by_hand() -> None:
    label = torch.tensor([[1.0, 0], [1, 0]])
    found = clip4cmr.prototype_contrastive(F, label, torch.eye(2), 1.0, released=True)
    assert float(found) == pytest.approx(0.2600, abs=1e-4)


@pytest.mark.parametrize("loss", ["pcl", "lrl", "cel", "cl"])
def test_the_released_variant_trains_as_the_code_in_loops(loss: str) -> None:
    """Batches of different sizes; the label head's rows are scaled between the steps, out of the gradient."""
    split = Planted(train=16).split("train")
    system = small(loss=loss, released=True, dropout=0.0, lr=0.01)
    nets = {name: copy.deepcopy(net).double() for name, net in system.networks.items()}
    optimizer = system.optimizer()
    batches = list(Trainer(quiet=True).batches(split, 11, shuffle=False)) * 2
    assert [len(batch) for batch in batches] == [11, 5, 11, 5]
    moments: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for step, batch in enumerate(batches, start=1):
        found = torch.stack(list(system.objective(batch).values())).sum()
        optimizer.zero_grad()
        found.backward()
        optimizer.step()

        if "label_net" in nets:
            weight = nets["label_net"].weight
            weight.data = torch.stack([row / ((row**2).sum().sqrt() + 1e-8) for row in weight.data])
        y = [int(row.argmax()) for row in batch.label]
        sides = []
        for name, x in (("image_net", batch.image), ("text_net", batch.text)):
            _, first, _, second, *_ = nets[name]  # type: ignore[misc]
            hidden = x.double() @ first.weight.T + first.bias
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            out = hidden @ second.weight.T + second.bias
            sides.append([row / ((row**2).sum().sqrt() + 1e-8) for row in out])
        total = torch.zeros((), dtype=torch.float64)
        if loss == "cl":
            for i, one in enumerate(sides[0]):
                for j, other in enumerate(sides[1]):
                    squared, match = ((one - other) ** 2).sum(), float(y[i] == y[j])
                    total = total + match * squared + torch.relu(0.2 - (1 - match) * squared)
            total = total / len(y)
        else:
            for vectors in sides:
                for c, f in zip(y, vectors, strict=True):
                    if loss == "pcl":
                        logits = -torch.stack([((f - p) ** 2).sum() for p in nets["prototypes"].weight])
                        total = total - logits.log_softmax(dim=0)[c] / len(y) / len(y)
                        continue
                    logits = nets["label_net"].weight @ f + nets["label_net"].bias
                    if loss == "cel":
                        total = total - logits.log_softmax(dim=0)[c] / len(y)
                    else:
                        wanted = [float(k == c) for k in range(5)]
                        squares = [(value - w) ** 2 for value, w in zip(logits, wanted, strict=True)]
                        total = total + torch.stack(squares).sum().sqrt() / len(y)
        assert found.item() == pytest.approx(total.item(), rel=1e-4)
        parameters = [p for net in nets.values() for p in net.parameters() if p.requires_grad]
        for p, g in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
            mean, square = moments.get(id(p), (torch.zeros_like(p), torch.zeros_like(p)))
            mean, square = 0.5 * mean + 0.5 * g, 0.999 * square + 0.001 * g * g
            moments[id(p)] = mean, square
            upward = (mean / (1 - 0.5**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            p.data -= 0.01 * upward
    for name, net in system.networks.items():
        for one, literal in zip(net.parameters(), nets[name].parameters(), strict=True):
            assert torch.allclose(one.double(), literal, atol=2e-4), name


def test_triplet_equals_the_literal_sum() -> None:
    label = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 0]])
    distance, same = clip4cmr.squared_distances(unit(5, 4, 0), unit(5, 4, 1)), label @ label.T
    total = sum(
        max(0.0, float(distance[i, j] - distance[i, k]) + 0.2)
        for i in range(5)
        for j in range(5)
        for k in range(5)
        if same[i, j] > 0 and same[i, k] == 0
    )
    assert float(clip4cmr.triplet(distance, same, 0.2)) == pytest.approx(total / 13, abs=1e-5)


def test_proxy_losses_equal_their_papers_formulas() -> None:
    x, p = unit(4, 6, 0), unit(3, 6, 1)
    classes = [0, 1, 1, 0]  # no item has class 2
    label = functional.one_hot(torch.tensor(classes), 3).float()
    nca = 0.0
    for row, own in enumerate(classes):
        d = ((x[row] - p) ** 2).sum(dim=1).numpy()
        nca += d[own] + math.log(sum(math.exp(-d[c]) for c in range(3) if c != own))
    assert float(clip4cmr.proxy_nca(x, label, p, 1.0)) == pytest.approx(nca / 4, abs=1e-5)
    cosine = (x @ p.T).numpy()
    pull = sum(
        math.log1p(sum(math.exp(-(cosine[i, c] - 0.1)) for i in range(4) if classes[i] == c)) for c in (0, 1)
    )
    push = sum(
        math.log1p(sum(math.exp(cosine[i, c] + 0.1) for i in range(4) if classes[i] != c)) for c in range(3)
    )
    assert float(clip4cmr.proxy_anchor(x, label, p)) == pytest.approx(pull / 2 + push / 3, abs=1e-5)


def test_prototypes_are_fixed_unit_rows_unless_they_learn() -> None:
    fixed, learnt = small(), small(learn_prototypes=True)
    assert np.allclose(fixed.prototypes().norm(dim=1).detach().numpy(), 1, atol=1e-6)
    assert not fixed.prototypes.weight.requires_grad
    before = [one.prototypes().clone() for one in (fixed, learnt)]
    split = Planted(train=30).split("train")
    for one in (fixed, learnt):
        one.epochs = 2
        one.fit(split, Trainer(quiet=True, device="cpu"))
    assert torch.equal(fixed.prototypes(), before[0])
    assert not torch.equal(learnt.prototypes(), before[1])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_teaches(loss: str) -> None:
    data = Planted(train=160, seed=7)
    system = small(loss=loss, epochs=15, lr=3e-3, batch_size=40)
    start = min(mean_average_precision(system, data.split("test")).values())
    system.fit(data.split("train"), Trainer(quiet=True, device="cpu"))
    end = min(mean_average_precision(system, data.split("test")).values())
    # "ml" only pulls together, so it may collapse: it must not make things worse than chance.
    least = chance(data.split("test")) if loss == "ml" else start + 0.1
    assert end > least, f"{loss}: {start:.3f} -> {end:.3f}"


def test_imbalance_leaves_out_texts() -> None:
    (batch,) = Trainer(quiet=True).batches(Planted(train=10).split("train"), 10)
    whole, part = small(dropout=0.0).objective(batch), small(dropout=0.0, text_share=0.3).objective(batch)
    assert torch.equal(whole["image"], part["image"])
    assert not torch.equal(whole["text"], part["text"])


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(BadParameter, match="one of pcl, cl, tl, ml, lrl, cel, pnca, pa, not 'mse'"):
        small(loss="mse")
    with pytest.raises(BadParameter, match="text_share must be above 0"):
        small(text_share=0.0)
