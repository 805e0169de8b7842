"""Closed-form values of CM-GANs' losses, and where its gradients go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diptych.data.base import Split
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter, UsageError
from diptych.nets.adversary import call_fake, call_real
from diptych.systems.real_valued.cm_gans import CMGANs, judge_loss, of_another_class, pair_judge_loss
from diptych.training.trainer import Batch, Trainer


def small(**parameters: Any) -> CMGANs:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 8, "dim": 6, "judge_dim": 5, "classes": 5}
    return CMGANs(image_dim=32, text_dim=24, **{**sizes, **parameters})


def one_batch(count: int = 12) -> Batch:
    (batch,) = Trainer(quiet=True).batches(Planted(train=count).split("train"), count)
    return batch


def logit(p: float) -> torch.Tensor:
    return torch.tensor([[p]]).logit()


def test_unsure_judges_cost_two_ln_two() -> None:
    zero = torch.zeros(4, 1)
    assert float(judge_loss(zero, zero)) == pytest.approx(1.3863, abs=1e-4)
    assert float(pair_judge_loss(zero, zero, zero)) == pytest.approx(1.3863, abs=1e-4)


def test_a_pair_judge_worked_out_by_hand() -> None:
    assert float(pair_judge_loss(logit(0.8), logit(0.3), logit(0.4))) == pytest.approx(0.6569, abs=1e-4)


def test_the_released_wrong_pair_puts_the_best_judge_at_two_thirds() -> None:
    def loss(p: float) -> float:  # matched pairs are called real once and fake half a time
        return float(call_real(logit(p)) + 0.5 * call_fake(logit(p)))

    assert loss(2 / 3) == pytest.approx(0.9548, abs=1e-4)
    assert loss(2 / 3) < min(loss(0.65), loss(0.68))


@pytest.mark.parametrize(("classes", "expected"), [(20, 4.3820), (10, 3.6889)])
def test_a_generator_before_unsure_judges(classes: int, expected: float) -> None:
    system = small(classes=classes)
    for net in (system.text_pair_judge.layers[-1], system.image_judge, system.image_labels):
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
    batch = one_batch()
    label = torch.eye(classes)[torch.arange(len(batch)) % classes]
    batch = Batch(batch.index, batch.image_row, batch.text_row, batch.image, batch.text, label)
    assert sum(term.item() for term in system.image_objective(batch).values()) == pytest.approx(
        expected, abs=1e-4
    )


def test_judges_send_nothing_to_generators() -> None:
    system, batch = small(), one_batch()
    terms = system.judge_objective(batch)
    generators = system.trainable("image_net", "text_net", "image_decoder", "text_decoder")
    for name, term in terms.items():
        found = torch.autograd.grad(term, generators, retain_graph=True, allow_unused=True)
        assert all(gradient is None for gradient in found), name


def test_a_step_of_one_generator_moves_the_layer_of_both_and_no_judge() -> None:
    system, batch = small(), one_batch()
    judges = ("image_judge", "text_judge", "image_pair_judge", "text_pair_judge")
    before = [p.clone() for p in system.trainable(*judges)]
    shared = system.text_net[4].weight.clone()  # type: ignore[index]
    optimizer = torch.optim.Adam(system.trainable("image_net", "image_decoder", "image_labels"))
    Trainer(quiet=True).step(optimizer, system.image_objective(batch))
    assert system.image_net[4] is system.text_net[4]  # type: ignore[index]
    assert not torch.equal(system.text_net[4].weight, shared)  # type: ignore[index]
    assert all(map(torch.equal, before, system.trainable(*judges)))


def test_statistics_of_the_shared_layer_are_each_sides_own() -> None:
    system = small()
    assert system.image_net[5] is not system.text_net[5]  # type: ignore[index]
    assert system.image_net[6] is system.text_net[6]  # type: ignore[index]


def test_wrong_items_share_no_label() -> None:
    torch.manual_seed(0)
    label = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    for _ in range(20):
        rows = of_another_class(label)
        assert not (label * label[rows]).any()
    assert len(of_another_class(torch.ones(3, 1))) == 3


def test_the_released_wrong_pair_is_another_loss() -> None:
    batch = one_batch()

    def terms(wrong_pair: str) -> dict[str, float]:
        system = small(wrong_pair=wrong_pair)
        torch.manual_seed(1)
        return {name: term.item() for name, term in system.judge_objective(batch).items()}

    ours, released = terms("mismatched"), terms("as_released")
    assert ours["D_I"] == released["D_I"]
    assert ours["CD_I"] != released["CD_I"]
    with pytest.raises(BadParameter, match="mismatched or as_released, not 'x'"):
        small(wrong_pair="x")


def test_one_class_is_not_enough() -> None:
    whole = Planted(train=8).split("train")
    label = np.zeros((8, 5), np.uint8)
    label[:, 0] = 1
    with pytest.raises(UsageError, match="at least two classes"):
        small().fit(Split(whole.image, whole.text, label, whole.pairs), Trainer(quiet=True))
