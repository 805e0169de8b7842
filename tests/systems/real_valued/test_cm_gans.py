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
from diptych.systems.real_valued.cm_gans import (
    CMGANs,
    judge_loss,
    of_another_class,
    pair_judge_loss,
    rate,
)
from diptych.training.trainer import Batch, Trainer


def small(**parameters: Any) -> CMGANs:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 8, "dim": 6, "judge_dim": 5, "classes": 5}
    return CMGANs(image_dim=32, text_dim=24, **{**sizes, **parameters})


def one_batch(count: int = 12) -> Batch:
    (batch,) = Trainer(quiet=True).batches(Planted(train=count).split("train"), count)
    return batch


def judged(system: CMGANs, batch: Batch, wrong: list[int]) -> dict[str, torch.Tensor]:
    """The judges' terms, with these rows of the batch as the wrong items."""
    return system.judge_objective(batch, batch.image[wrong], batch.text[wrong])


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
    terms = judged(system, batch, list(range(12))[::-1])
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
    pool = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]])
    label, seen = torch.tensor([[1.0, 0, 0], [0, 1, 1]]), [set[int](), set[int]()]
    for _ in range(40):
        for row, found in enumerate(of_another_class(label, pool).tolist()):
            seen[row].add(found)
    assert seen == [{1, 2}, {3}]
    assert len(of_another_class(torch.ones(3, 1), torch.ones(2, 1))) == 3


def test_wrong_items_come_from_all_training_data(monkeypatch: pytest.MonkeyPatch) -> None:
    split, system = Planted(train=30, captions=2).split("train"), small(epochs=1, batch_size=10)
    whole, asked = system.judge_objective, list[tuple[Batch, torch.Tensor, torch.Tensor]]()

    def watched(batch: Batch, image: torch.Tensor, text: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append((batch, image, text))
        return whole(batch, image, text)

    monkeypatch.setattr(system, "judge_objective", watched)
    system.fit(split, Trainer(quiet=True, device="cpu"))
    assert len(asked) == 6
    assert split.label is not None
    strangers = 0
    for batch, image, text in asked:
        for row, (one, other) in enumerate(zip(image.numpy(), text.numpy(), strict=True)):
            (at,) = np.flatnonzero((split.image == one).all(axis=1))
            (beside,) = np.flatnonzero((split.text == other).all(axis=1))
            assert beside // 2 == at  # a pair
            assert not (split.label[at] * batch.label[row].numpy()).any()
            strangers += at not in batch.image_row.tolist()
    assert strangers > 20


def affine(net: Any, x: Any) -> Any:
    weight, bias = net.weight.detach().double().numpy(), net.bias.detach().double().numpy()
    return np.array([[sum(w * v for w, v in zip(r, row, strict=True)) for r in weight] for row in x]) + bias


def normed(x: Any, scale: Any, shift: Any) -> Any:
    """Batch normalisation with the statistics of these rows, then the leaky rectifier, column by column."""
    found = np.empty_like(x)
    for column in range(x.shape[1]):
        mean = sum(x[:, column]) / len(x)
        variance = sum((value - mean) ** 2 for value in x[:, column]) / len(x)
        for row in range(len(x)):
            value = (x[row, column] - mean) / np.sqrt(variance + 1e-5)
            value = value * scale[column].item() + shift[column].item()
            found[row, column] = value if value > 0 else 0.2 * value
    return found


class Literal:
    """The released train.lua in loops: every forward call is its own, with its own batch's statistics."""

    def __init__(self, system: CMGANs) -> None:
        self.system = system

    def encode(self, net: Any, x: Any) -> Any:
        own = normed(affine(net[1], x), net[2].weight, net[2].bias)
        return normed(affine(net[4], own), net[6].weight, net[6].bias)

    def decode(self, net: Any, z: Any) -> Any:
        return affine(net[3], normed(affine(net[0], z), net[1].weight, net[1].bias))

    def pair(self, net: Any, z: Any, raw: Any) -> Any:
        x = affine(net.layers[0], np.concatenate([z, raw], axis=1))
        return affine(net.layers[3], normed(x, net.layers[1].weight, net.layers[1].bias))

    @staticmethod
    def cross(logits: Any, target: int) -> float:
        chances = [1 / (1 + np.exp(-value)) for value in logits[:, 0]]
        return -sum(np.log(p if target else 1 - p) for p in chances) / len(chances)

    def judges(self, i: Any, t: Any, wrong_i: Any, wrong_t: Any) -> dict[str, float]:
        s, cross = self.system, self.cross
        z_i, z_t = self.encode(s.image_net, i), self.encode(s.text_net, t)
        found = {
            "D_T": cross(affine(s.text_judge, self.decode(s.text_decoder, z_t)), 0)
            + cross(affine(s.text_judge, t), 1),
            "D_I": cross(affine(s.image_judge, self.decode(s.image_decoder, z_i)), 0)
            + cross(affine(s.image_judge, i), 1),
        }
        for name, judge, own, other, raw, wrong, net in (
            ("CD_T", s.text_pair_judge, z_t, z_i, t, wrong_t, s.text_net),
            ("CD_I", s.image_pair_judge, z_i, z_t, i, wrong_i, s.image_net),
        ):
            beside = wrong if s.wrong_pair == "as_released" else raw
            found[name] = (
                0.5 * cross(self.pair(judge, other, raw), 0)
                + cross(self.pair(judge, own, raw), 1)
                + 0.5 * cross(self.pair(judge, self.encode(net, wrong), beside), 0)
            )
        return found

    def generators(self, i: Any, t: Any, label: Any) -> dict[str, float]:
        s, cross, found = self.system, self.cross, {}
        for name, own, raw, net, decoder, judge, pair, classes in (
            ("GI", i, t, s.image_net, s.image_decoder, s.image_judge, s.text_pair_judge, s.image_labels),
            ("GT", t, i, s.text_net, s.text_decoder, s.text_judge, s.image_pair_judge, s.text_labels),
        ):
            z = self.encode(net, own)
            found[f"{name}_across"] = cross(self.pair(pair, z, raw), 1)
            found[f"{name}_within"] = cross(affine(judge, self.decode(decoder, z)), 1)
            total = 0.0
            for scores, y in zip(affine(classes, z), label, strict=True):
                logs = scores - np.log(np.exp(scores).sum())
                total -= sum(logs[c] for c in np.flatnonzero(y)) / y.sum()
            found[f"{name}_class"] = total / len(z)
        return found


@pytest.mark.parametrize("wrong_pair", ["mismatched", "as_released"])
def test_every_term_equals_the_released_code_in_loops(wrong_pair: str) -> None:
    """Several labels an item, and wrong items that are not those of the batch."""
    split = Planted(train=20, multi_label=True).split("train")
    (batch,) = Trainer(quiet=True).batches(split.take(np.arange(9)), 9)
    system = small(wrong_pair=wrong_pair)
    system.study(split)
    pool = torch.from_numpy(np.array(split.image)), torch.from_numpy(np.array(split.text))
    wrong = [side[[19, 12, 13, 12, 17, 10, 11, 18, 15]] for side in pool]
    terms = system.judge_objective(batch, *wrong)
    inputs = [side.double().numpy() for side in (batch.image, batch.text, *wrong)]
    literal = Literal(system).judges(*inputs)
    terms |= system.image_objective(batch) | system.text_objective(batch)
    literal |= Literal(system).generators(*inputs[:2], batch.label.numpy())
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(literal, rel=1e-4)


def test_the_released_wrong_pair_is_refused_by_another_name() -> None:
    with pytest.raises(BadParameter, match="mismatched or as_released, not 'x'"):
        small(wrong_pair="x")
    with pytest.raises(BadParameter, match="halve_every of CM-GANs must be at least 1, not 0"):
        small(halve_every=0)


def test_rates_are_halved_before_the_hundredth_epoch() -> None:
    """As `epoch % 100 == 0` at the beginning of an epoch that counts from 1."""
    factor, literal = 1.0, []
    for epoch in range(1, 301):
        factor *= 0.5 if epoch % 100 == 0 else 1
        literal.append(factor)
    assert [rate(done, 100) for done in range(300)] == literal

    system, seen = small(epochs=5, halve_every=2, batch_size=12), list[float]()

    class Watching(Trainer):
        def step(self, optimizer: torch.optim.Optimizer, *rest: Any, **named: Any) -> None:
            seen.append(optimizer.param_groups[0]["lr"])
            super().step(optimizer, *rest, **named)

    system.fit(Planted(train=12).split("train"), Watching(quiet=True, device="cpu"))
    each = [1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]
    assert seen == pytest.approx([lr for lr in each for _ in range(4 + 2 * 5)])


def test_one_class_is_not_enough() -> None:
    whole = Planted(train=8).split("train")
    label = np.zeros((8, 5), np.uint8)
    label[:, 0] = 1
    with pytest.raises(UsageError, match="at least two classes"):
        small().fit(Split(whole.image, whole.text, label, whole.pairs), Trainer(quiet=True))
