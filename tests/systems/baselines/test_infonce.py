"""InfoNCE: its loss worked out by hand and literally, what is no negative, and the temperature's limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.systems.baselines.infonce import InfoNCE, contrast, matching
from diptych.testing.materials import chance, mean_average_precision
from diptych.training.trainer import Batch, Trainer

EYE = torch.eye(2, dtype=torch.bool)


def batch(rows: list[int], label: list[list[float]], text_rows: list[int] | None = None) -> Batch:
    count = len(rows)
    text = torch.tensor(text_rows or list(range(count)))
    return Batch(
        index=torch.arange(count),
        image_row=torch.tensor(rows),
        text_row=text,
        image=torch.eye(4)[rows],
        text=torch.eye(4)[text],
        label=torch.tensor(label),
    )


def plain(supervised: bool = False) -> InfoNCE:
    """Heads that change nothing: the identity of four dimensions."""
    one = InfoNCE(image_dim=4, text_dim=4, hidden_dim=0, dim=4, temperature=0.5, supervised=supervised)
    with torch.no_grad():
        for net in (one.image_net, one.text_net):
            net[1].weight.copy_(torch.eye(4))  # type: ignore[index]
            net[1].bias.zero_()  # type: ignore[index]
    return one


@torch.no_grad()
def loss(one: InfoNCE, pairs: Batch) -> float:
    return float(one.objective(pairs)["contrast"])


def test_two_pairs_worked_out_by_hand() -> None:
    # Own partners at cosine 1, others at 0, times 2: log(1 + e^-2) each way.
    value = loss(plain(), batch([0, 1], [[], []]))
    assert value == pytest.approx(math.log1p(math.exp(-2)))


def test_other_captions_of_an_image_are_no_negatives() -> None:
    # Pairs 0 and 1 show the same image: each of its two captions has caption 2 as its only negative.
    value = loss(plain(), batch([0, 0, 2], [[]] * 3))
    # Images: row 0 meets texts 0 (cosine 1) and 2 (0); row 1 (image 0) meets texts 1 (0) and 2 (0);
    # row 2 (image 2) meets texts 0, 1 (0) and 2 (1). Texts: 0 and 1 meet image 0 (1 and 0) and image 2.
    two, flat, three = math.log1p(math.exp(-2)), math.log(2), math.log1p(2 * math.exp(-2))
    assert value == pytest.approx((two + flat + three) / 3)


def test_other_images_of_a_text_are_no_negatives() -> None:
    value = loss(plain(), batch([0, 1, 2], [[]] * 3, text_rows=[0, 0, 2]))
    two, flat, three = math.log1p(math.exp(-2)), math.log(2), math.log1p(2 * math.exp(-2))
    assert value == pytest.approx((two + flat + three) / 3)


def test_supervised_takes_the_mean_over_all_partners() -> None:
    label = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    value = loss(plain(supervised=True), batch([0, 1, 2], label))
    # Own text: log(1 + 2 e^-2); the partner at cosine 0 has the likelihood e^-2 of it.
    own = math.log1p(2 * math.exp(-2))
    assert value == pytest.approx((2 * (own + own + 2) / 2 + own) / 3)


def test_the_loss_is_the_literal_one() -> None:
    random = np.random.default_rng(0)
    logits, rows = random.standard_normal((6, 6)), np.array([0, 0, 1, 2, 2, 2])
    same = rows[:, None] == rows
    literal = []
    for query in range(6):
        rest = [entry for entry in range(6) if entry == query or not same[query, entry]]
        total = sum(math.exp(logits[query, entry]) for entry in rest)
        literal.append(-math.log(math.exp(logits[query, query]) / total))
    eye = torch.eye(6, dtype=torch.bool)
    left_out = matching(torch.from_numpy(rows)) & ~eye
    found = contrast(torch.from_numpy(logits), eye, left_out)
    assert float(found) == pytest.approx(np.mean(literal))


def test_gradients_stay_finite_where_all_others_are_left_out() -> None:
    logits = torch.randn(2, 2, requires_grad=True)
    found = contrast(logits, EYE, ~EYE)
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == 0
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_the_temperature_is_learned_and_limited() -> None:
    one = plain()
    with torch.no_grad():
        assert float(one.scale()) == pytest.approx(2)
        one.scale.logarithm.fill_(9.0)
        assert float(one.scale()) == pytest.approx(100)
    split = Planted(train=60).split("train")
    fitted = catalogue.load("infonce:tiny").fit(split, Trainer(seed=0, quiet=True, device="cpu"))
    assert float(fitted.scale().detach()) != pytest.approx(1 / 0.07)  # type: ignore[attr-defined]
    with pytest.raises(BadParameter, match="must be positive, not 0"):
        InfoNCE(temperature=0)


def test_labels_change_the_supervised_variant_only() -> None:
    split = Planted(train=60).split("train")
    assert split.label is not None
    wrong = Split(split.image, split.text, split.label[::-1].copy(), split.pairs)
    for supervised in (False, True):
        prints = {
            catalogue.load("infonce:tiny", epochs=2, supervised=supervised)
            .fit(one, Trainer(seed=0, quiet=True, device="cpu"))
            .fingerprint
            for one in (split, wrong)
        }
        assert len(prints) == (2 if supervised else 1)


def test_labels_help_where_classes_are_asked_for() -> None:
    data = Planted(train=160, val=0, test=60, seed=7, spread=1.0, noise=1.0)
    learn, ask = data.split("train"), data.split("test")
    found = {}
    for supervised in (False, True):
        one = catalogue.load("infonce:tiny", supervised=supervised)
        one.fit(learn, Trainer(seed=0, quiet=True, device="cpu"))
        found[supervised] = np.mean(list(mean_average_precision(one, ask).values()))
    assert found[True] > found[False] + 0.05 > chance(ask) + 0.1
