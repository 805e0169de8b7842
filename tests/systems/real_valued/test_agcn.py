"""AGCN's graph by hand, and what must not change it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter, TrainingError, UsageError
from diptych.systems.real_valued.agcn import AGCN, GraphGenerator, distance_loss, star
from diptych.training.trainer import Batch, Trainer


def small(**parameters: Any) -> AGCN:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 8, "dim": 6, "judge_dim": 4, "classes": 5, "neighbours": 3}
    return AGCN(image_dim=32, text_dim=24, **{**sizes, **parameters})


def test_the_star_worked_out_by_hand() -> None:
    found = star(2)
    by_hand = [[0.3333, 0.4082, 0.4082], [0.4082, 0.5, 0], [0.4082, 0, 0.5]]
    assert np.allclose(found.numpy(), by_hand, atol=1e-4)
    product = found @ torch.tensor([[1.0, 0], [0, 1], [2, 2]])
    assert np.allclose(product.numpy(), [[1.1498, 1.2247], [0.4082, 0.5], [1.4082, 1]], atol=1e-4)


def test_without_neighbours_it_is_a_plain_network() -> None:
    torch.manual_seed(0)
    net = GraphGenerator(5, 4, 3, 0, "none")
    x = torch.randn(7, 5)
    plain = torch.tanh(net.last(functional.relu(net.second(functional.relu(net.first(x))))))
    assert torch.allclose(net(x[:, None]), plain, atol=1e-6)


def test_the_order_of_neighbours_changes_nothing() -> None:
    torch.manual_seed(0)
    net, x = GraphGenerator(5, 4, 3, 3, "none"), torch.randn(7, 4, 5)
    assert torch.allclose(net(x), net(x[:, [0, 3, 1, 2]]), atol=1e-6)
    assert not torch.allclose(net(x), net(x[:, [1, 0, 2, 3]]), atol=1e-3)


def test_a_training_item_is_not_its_own_neighbour_but_a_new_one_may_have_its_twin() -> None:
    net, features = GraphGenerator(5, 4, 3, 2, "none"), torch.randn(9, 5)
    around = net.remember(features)
    assert around.shape == (9, 2)
    assert all(row not in near for row, near in enumerate(around.tolist()))
    assert net.nearest(features)[:, 0].tolist() == list(range(9))


def test_neighbours_are_the_nearest_by_cosine() -> None:
    net = GraphGenerator(2, 4, 3, 2, "none")
    net.remember(torch.tensor([[1.0, 0], [10, 1], [0, 1], [1, 1]]))
    assert net.nearest(torch.tensor([[5.0, 0]])).tolist() == [[0, 1]]


def test_neighbours_come_from_the_training_data_of_the_same_side_only() -> None:
    data, system = Planted(train=40), small(epochs=1)
    split = data.split("train")
    system.fit(split, Trainer(quiet=True, device="cpu"))
    assert np.array_equal(system.image_net.pool.numpy(), split.image)  # type: ignore[operator]
    assert np.array_equal(system.text_net.pool.numpy(), split.text)  # type: ignore[operator]
    test = data.split("test")
    alone, among = system.encode_image(test.image[:1]), system.encode_image(test.image)[:1]
    assert np.allclose(alone, among, atol=1e-6)  # what else is asked about does not matter


def test_distances_worked_out_by_hand() -> None:
    first, second = torch.tensor([[0.0, 0], [1, 0]]), torch.tensor([[0.0, 2], [1, 0.5]])
    label = torch.eye(2)
    # same: 2 and .5; different: |(0,0)-(1,.5)| = 1.118 -> 0, |(1,0)-(0,2)| = 2.236 -> 0
    assert float(distance_loss(first, second, label)) == pytest.approx(1.25, abs=1e-6)
    # closer than 1: |(0,0)-(.6,0)| -> .4, |(1,0)-(.6,0)| -> .6 over two of each kind
    both = torch.tensor([[0.6, 0], [0.6, 0]])
    expected = (0.6 + 0.4) / 2 + (0.4 + 0.6) / 2
    assert float(distance_loss(first, both, label)) == pytest.approx(expected, abs=1e-6)


def test_generators_and_judge_want_opposites() -> None:
    split, system = Planted(train=20).split("train"), small(adversarial_weight=1.0)
    system.study(split)
    (batch,) = Trainer(quiet=True).batches(split, 20)
    weight = system.image_net.last.weight
    z_image, z_text = system._generated(batch)
    judged = (
        functional.softplus(-system.judge(z_image)).mean() + functional.softplus(system.judge(z_text)).mean()
    )
    assert system.judge_objective(batch)["D"].item() == pytest.approx(judged.item(), abs=1e-6)
    (of_judge,) = torch.autograd.grad(judged, weight, retain_graph=True)  # type: ignore[arg-type]
    (of_generator,) = torch.autograd.grad(system.objective(batch)["G"], weight)  # type: ignore[arg-type]
    assert float((of_judge * of_generator).sum()) < 0


def test_every_term_equals_the_cards_equations_in_loops() -> None:
    """There is no released code, so this second version of all of them stands for it.

    Several labels an item, a batch that is not the training set, images with two texts, and scaled inputs.
    """
    split = Planted(train=9, multi_label=True, captions=2).split("train")
    rows = np.array([0, 1, 5, 6, 11, 12, 16])
    system = small(neighbours=2, image_scaling="standard", text_scaling="global", distance_weight=0.3)
    system.study(split)
    (whole,) = Trainer(quiet=True).batches(split, 18, shuffle=False)
    batch = Batch(*(getattr(whole, name)[rows] for name in ("index", "image_row", "text_row", "image")),
                  whole.text[rows], whole.label[rows])  # fmt: skip
    found = system.objective(batch) | system.judge_objective(batch)

    def affine(layer: Any, x: Any) -> Any:
        weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
        return np.array([sum(w * v for w, v in zip(r, x, strict=True)) for r in weight]) + bias

    z = []
    for net, features, of, scaling in (
        (system.image_net, np.asarray(split.image, np.float64), batch.image_row, "standard"),
        (system.text_net, np.asarray(split.text, np.float64), batch.text_row, "global"),
    ):
        if scaling == "standard":
            scaled = (features - features.mean(axis=0)) / features.std(axis=0)
        else:
            scaled = features / features.std()
        made = []
        for own in of.tolist():
            others = [row for row in range(len(scaled)) if row != own]
            lengths = [np.sqrt((row**2).sum()) for row in scaled]
            cosine = {row: scaled[own] @ scaled[row] / lengths[own] / lengths[row] for row in others}
            near = sorted(others, key=lambda row: -cosine[row])[:2]
            nodes = [scaled[own]] + [scaled[row] for row in near]
            # Item 0 has itself and two neighbours, each of those itself and item 0.
            degree, edges = [3, 2, 2], {(0, 0), (1, 1), (2, 2), (0, 1), (1, 0), (0, 2), (2, 0)}
            for layer in (net.first, net.second):
                mapped, mixed = [affine(layer, node) for node in nodes], []
                for a in range(3):
                    total = np.zeros(len(mapped[0]))
                    for b in range(3):
                        if (a, b) in edges:
                            total = total + mapped[b] / np.sqrt(degree[a] * degree[b])
                    mixed.append(np.maximum(total, 0))
                nodes = mixed
            made.append(np.tanh(affine(net.last, nodes[0])))
        z.append(np.array(made))

    def judged(x: Any) -> float:
        hidden = np.maximum(affine(system.judge[0], x), 0)  # type: ignore[index]
        return float(1 / (1 + np.exp(-affine(system.judge[2], hidden)[0])))  # type: ignore[index]

    literal = {"class": 0.0, "distance": 0.0, "G": 0.0, "D": 0.0}
    label = batch.label.numpy()
    for side, vectors in enumerate(z):
        for row, y in zip(vectors, label, strict=True):
            logits = affine(system.label_net, row)
            chances = np.exp(logits) / np.exp(logits).sum()
            literal["class"] -= sum(np.log(chances[c]) for c in np.flatnonzero(y)) / y.sum() / 7
            real = judged(row)
            literal["D"] -= np.log(real if side == 0 else 1 - real) / 7
            literal["G"] -= 0.1 * np.log(1 - real if side == 0 else real) / 7
    near, apart = [], []
    for a, first in enumerate(z[0]):
        for b, second in enumerate(z[1]):
            distance = np.sqrt(((first - second) ** 2).sum())
            if any(label[a, c] and label[b, c] for c in range(5)):
                near.append(distance)
            else:
                apart.append(max(0.0, 1 - distance))
    assert any(value > 0 for value in apart)
    literal["distance"] = 0.3 * (sum(near) / len(near) + sum(apart) / len(apart))
    assert {name: term.item() for name, term in found.items()} == pytest.approx(literal, rel=1e-4)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(BadParameter, match="must not be negative, but is -1"):
        small(neighbours=-1)
    with pytest.raises(TrainingError, match="set neighbours lower"):
        small(neighbours=5).study(Planted(train=5).split("train"))
    (batch,) = Trainer(quiet=True).batches(Planted(train=4).split("train"), 4)
    with pytest.raises(UsageError, match=r"call study\(split\) first"):
        small().objective(batch)
