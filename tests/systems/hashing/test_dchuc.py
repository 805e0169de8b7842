"""DCHUC: the specification's numbers, the descent of its discrete step, and its codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue, metrics
from diptych.data.base import Split, paired_in_order
from diptych.data.sets.planted import Syn
from diptych.evaluation import evaluate
from diptych.nets.pairwise import share_a_label
from diptych.systems.hashing.dchuc import DCHUC, _State, asymmetric
from diptych.training.trainer import Trainer

LABELS = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
COLUMNS = torch.tensor([0, 2])


def system(**parameters: Any) -> DCHUC:
    return catalogue.load("dchuc:tiny", seed=0, image_dim=4, text_dim=4, classes=2, **parameters)  # type: ignore[no-any-return]


def state(codes: torch.Tensor, classifier: torch.Tensor) -> _State:
    return _State(codes, classifier, LABELS, asymmetric(share_a_label(LABELS[COLUMNS], LABELS)))


IMAGE = torch.tensor([[0.5, -0.2], [0.1, 0.7]])
TEXT = torch.tensor([[0.4, 0.3], [-0.6, 0.2]])
CODES = torch.tensor([[1.0, -1], [1, 1], [-1, 1]])
CLASSIFIER = torch.tensor([[0.2, -0.1], [0.3, 0.4]])


def test_asymmetric_similarity() -> None:
    assert asymmetric(share_a_label(LABELS[COLUMNS], LABELS)).tolist() == [[1, 1, -2], [-2, 1, 1]]


def test_the_objective_of_the_networks() -> None:
    terms = system(bits=2).terms(
        IMAGE, TEXT, torch.tensor([0, 1]), COLUMNS, state(CODES, CLASSIFIER), batch=2
    )
    scaled = {name: 6 * float(value) for name, value in terms.items()}
    expected = {"codes": 30.43, "similarity": 1930.205, "labels": 76.215, "mean": 454.0}
    assert scaled == pytest.approx(expected, abs=2e-3)
    assert float(torch.stack(list(terms.values())).sum()) == pytest.approx(415.141667, abs=1e-3)


def literal_terms(
    own: Any, other: Any, rows: Any, columns: Any, now: Any, released: bool
) -> dict[str, float]:
    """The network step's terms for bits c, entry by entry, before the scale."""
    codes, classifier, labels, similar = now
    bits, found = len(codes[0]), {"codes": 0.0, "similarity": 0.0, "labels": 0.0, "mean": 0.0}
    for at, row in enumerate(rows):
        pair = columns[row]
        for other_pair in range(len(codes)):
            inner = sum(own[at][k] * codes[other_pair][k] for k in range(bits))
            found["codes"] += (inner - bits * similar[row][other_pair]) ** 2
        for row_of_other in rows:
            inner = sum(own[at][k] * other[row_of_other][k] for k in range(bits))
            column = row_of_other if released else columns[row_of_other]
            found["similarity"] += 50 * (inner - bits * similar[row][column]) ** 2
        for label in range(len(labels[0])):
            guess = sum(own[at][k] * classifier[k][label] for k in range(bits))
            found["labels"] += 50 * (guess - labels[pair][label]) ** 2
        for k in range(bits):
            found["mean"] += 200 * (codes[pair][k] - (own[at][k] + other[row][k]) / 2) ** 2
    return found


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("bits", [3, 8])
def test_the_objective_of_a_batch_that_is_not_the_sample(released: bool, bits: int) -> None:
    draw = torch.Generator().manual_seed(bits)
    labels = (torch.rand(9, 4, generator=draw) < 0.4).float()
    columns = torch.randperm(9, generator=draw)[:6]
    similar = asymmetric(share_a_label(labels[columns], labels))
    codes = torch.where(torch.randn(9, bits, generator=draw) > 0, 1.0, -1.0)
    classifier = torch.randn(bits, 4, generator=draw)
    own, other = (torch.tanh(torch.randn(size, bits, generator=draw)) for size in (3, 6))
    rows = torch.tensor([4, 1, 5])
    learner = system(bits=bits, released=released)
    terms = learner.terms(own, other, rows, columns, _State(codes, classifier, labels, similar), batch=3)
    now = tuple(tensor.tolist() for tensor in (codes, classifier, labels, similar))
    expected = literal_terms(own.tolist(), other.tolist(), rows.tolist(), columns.tolist(), now, released)
    assert {name: 27 * float(term) for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


def test_released_is_the_released_algorithm() -> None:
    """Written out in float64: buffers from zero, batches that stay, late rates, the slips."""
    count, sample, size, bits, outer = 13, 7, 3, 4, 5
    numbers = np.random.default_rng(2)
    image, text = (numbers.standard_normal((count, d)).astype(np.float32) for d in (5, 6))
    label = (numbers.random((count, 3)) < 0.4).astype(np.uint8)
    learner = catalogue.load(
        "dchuc", seed=0, image_dim=5, text_dim=6, classes=3, bits=bits, image_hidden=(8,), text_hidden=(9,),
        dropout=0.0, sample=sample, outer=outer, epochs=2, batch_size=size, image_lr=2e-4, text_lr=3e-4,
        released=True,
    )  # fmt: skip
    nets = [[p.detach().double() for p in net.parameters()] for net in (learner.image_net, learner.text_net)]
    learner.fit(Split(image, text, label, paired_in_order(count)), Trainer(seed=5, quiet=True))

    draws = torch.Generator().manual_seed(5)
    w = (0.01 * torch.randn((bits, 3), generator=draws)).double().numpy()
    v, known = np.zeros((count, bits)), label.astype(np.float64)
    for iteration in range(outer):
        chosen = torch.randperm(count, generator=draws)[:sample].numpy()
        alike = (known[chosen] @ known.T > 0).astype(np.float64)
        ratio = alike.sum() / (1 - alike).sum()
        s = np.where(alike > 0, 1.0, -ratio)
        u, g = np.zeros((sample, bits)), np.zeros((sample, bits))
        falls = (iteration > 1) + (iteration > 3)  # after the iterations 5 / 3 and 10 / 3
        for _ in range(2):
            for side, (own, other, values, start) in enumerate(((u, g, image, 2e-4), (g, u, text, 3e-4))):
                for begin in range(0, sample, size):
                    rows = list(range(begin, min(begin + size, sample)))
                    weights = [one.requires_grad_() for one in nets[side]]
                    hidden = torch.from_numpy(values[chosen[rows]]).double() @ weights[0].T + weights[1]
                    out = torch.tanh(hidden.relu() @ weights[2].T + weights[3])
                    own[rows] = out.detach().numpy()
                    loss: Any = 0.0
                    for at, row in enumerate(rows):
                        loss = (
                            loss
                            + ((torch.from_numpy(v) @ out[at] - bits * torch.from_numpy(s[row])) ** 2).sum()
                        )
                        for to in rows:
                            inner = out[at] @ torch.from_numpy(other[to])
                            loss = loss + 50 * (inner - bits * s[row, to]) ** 2
                        guess = torch.from_numpy(w).T @ out[at] - torch.from_numpy(known[chosen[row]])
                        middle = (out[at] + torch.from_numpy(other[row])) / 2
                        loss = loss + 50 * (guess**2).sum()
                        loss = loss + 200 * ((torch.from_numpy(v[chosen[row]]) - middle) ** 2).sum()
                    found = torch.autograd.grad(loss / (count * len(rows)), weights)
                    rate = start / 1.5**falls
                    nets[side] = [
                        (one - rate * (slope + 5e-4 * one)).detach()
                        for one, slope in zip(weights, found, strict=True)
                    ]
        padded = np.zeros((count, bits))
        padded[chosen] = u + g
        q = -2 * bits * s.T @ (u + g) - 200 * padded - 2 * known @ w.T
        for k in range(bits):
            for item in range(count):
                pull = q[item, k]
                for j in (j for j in range(bits) if j != k):
                    pull += 2 * v[item, j] * (u[:, j] @ u[:, k] + 2 * g[:, j] @ g[:, k] + 2 * w[j] @ w[k])
                v[item, k] = 1.0 if -pull >= 0 else -1.0
        gram = 50 * (u.T @ u + g.T @ g) + v.T @ v + 50 * np.eye(bits)
        w = np.linalg.solve(gram, (50 * padded + v).T @ known)
    assert np.array_equal(learner.codes.unified.numpy(), v)
    np.testing.assert_allclose(learner.codes.classifier.numpy(), w, atol=1e-5)
    for net, expected in zip((learner.image_net, learner.text_net), nets, strict=True):
        for parameter, one in zip(net.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.detach().double(), one, atol=1e-6, rtol=1e-4)


def test_rates_fall_after_a_third_and_two_thirds() -> None:
    learner = system(outer=30)
    assert [learner._falls(iteration) for iteration in (0, 10, 11, 20, 21, 29)] == [0, 0, 1, 1, 2, 2]


def test_first_weights_of_the_bag_are_those_of_a_convolution_as_wide_as_it() -> None:
    learner = catalogue.load(
        "dchuc", seed=0, image_dim=16, text_dim=100, image_hidden=(8,), text_hidden=(400,)
    )
    first, last = learner.text_net[0], learner.text_net[-2]
    assert first.weight.abs().max().item() == pytest.approx((6 / (100 * 401)) ** 0.5, rel=0.01)
    assert last.weight.abs().max().item() == pytest.approx((6 / 432) ** 0.5, rel=0.01)
    assert first.bias.unique().tolist() == last.bias.unique().tolist() == [pytest.approx(0.01)]
    # The image's code layer starts as torch starts a linear layer.
    assert learner.image_net[-2].weight.abs().max().item() == pytest.approx(8**-0.5, rel=0.05)
    assert len(learner.image_net[-2].bias.unique()) == 32


def test_the_classifier_in_closed_form() -> None:
    found = system(bits=2).classify(CODES, IMAGE, TEXT, COLUMNS, LABELS)
    assert found.flatten().tolist() == pytest.approx([0.512855, -0.257091, 0.073048, 0.539038], abs=1e-6)


@pytest.mark.parametrize(
    ("released", "codes", "objective"),
    [
        (False, [[1, 1, -1], [1, 1, -1], [1, 1, 1]], 200.96875),
        (True, [[1, -1, 1]] * 3, 244.21875),
    ],
)
def test_the_discrete_step(released: bool, codes: list[list[float]], objective: float) -> None:
    image = torch.tensor([[-0.75, 0.75, -0.5], [-0.5, 1, 0.75]])
    text = torch.tensor([[1, -0.75, -1], [0.5, -1, -1]])
    learner = system(bits=3, code_weight=1.0, code_label_weight=1.0, released=released)
    now = state(torch.ones(3, 3), torch.zeros(3, 2))
    before = learner.discrete_objective(now.codes, image, text, COLUMNS, now)
    assert float(before) == pytest.approx(241.96875)
    found = learner.discrete(now.codes, image, text, COLUMNS, now)
    assert found.tolist() == codes
    assert float(learner.discrete_objective(found, image, text, COLUMNS, now)) == pytest.approx(objective)


def test_a_discrete_pass_never_raises_the_objective() -> None:
    draw = torch.Generator().manual_seed(0)
    learner = system(bits=8)
    labels = (torch.rand(60, 2, generator=draw) < 0.5).float()
    columns = torch.randperm(60, generator=draw)[:20]
    similar = asymmetric(share_a_label(labels[columns], labels))
    for _ in range(15):
        image, text = (torch.tanh(torch.randn(20, 8, generator=draw)) for _ in range(2))
        codes = torch.sign(torch.randn(60, 8, generator=draw))
        now = _State(codes, torch.randn(8, 2, generator=draw), labels, similar)
        found = learner.discrete(codes, image, text, columns, now)
        before, after = (learner.discrete_objective(v, image, text, columns, now) for v in (codes, found))
        assert float(after) <= float(before)


@pytest.mark.slow
def test_it_learns_and_its_own_codes_are_better_than_the_networks(tmp_path: Path) -> None:
    data = Syn()
    learner = catalogue.load("dchuc:tiny", seed=0, image_dim=64, text_dim=120, classes=24, bits=32)
    learner.fit(data.split("train"), Trainer(seed=0, quiet=True))
    found = evaluate(learner, data, rank=False).measured
    # The specification's run learned from the database; here the 800 training pairs are a part of it.
    for direction, one in found.items():
        assert one.bounds["MAP@ALL"]["expected"] >= 0.55, direction
    train, query = data.split("train"), data.split("query")
    assert train.label is not None
    assert query.label is not None
    relevance = metrics.ByLabel(query.label, train.label)
    asked = learner.encode_image(query.image)
    unified = learner.codes.unified.numpy()
    own, network = (
        metrics.hamming_groups(asked, codes, relevance).average_precision()["expected"].mean()
        for codes in (unified, learner.encode_text(train.text))
    )
    assert own > network
    learner.save(tmp_path)
    again = catalogue.load(f"dchuc@{tmp_path}")
    assert np.array_equal(again.codes.unified.numpy(), unified)
    pair = learner.encode_pair(query.image, query.text)
    assert set(np.unique(pair)) == {-1, 1}
