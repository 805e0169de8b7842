"""DCHUC: the specification's numbers, the descent of its discrete step, and its codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue, metrics
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
