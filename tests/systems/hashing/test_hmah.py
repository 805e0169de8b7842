"""HMAH: the specification's numbers, and what its fused database gains."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diptych import catalogue, metrics
from diptych.data.sets.planted import Planted, Syn
from diptych.errors import BadParameter
from diptych.evaluation import evaluate
from diptych.systems.hashing import hmah
from diptych.training.trainer import Trainer

LABELS = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
CODE = torch.tensor([[0.5, -0.2, 0.1, 0.9], [0.4, 0.3, -0.6, 0.2], [-0.1, 0.7, 0.2, -0.3]])


def test_the_graphs() -> None:
    found = hmah.adjacency(LABELS)
    a, b = 0.462117, 0.761594
    assert found.flatten().tolist() == pytest.approx([a, a, 0, a, b, a, 0, a, a], abs=1e-6)
    assert hmah.row_normalised(found)[1].tolist() == pytest.approx([0.274119, 0.451763, 0.274119], abs=1e-6)
    cross = hmah.cross_graph(found)[0].tolist()
    assert cross == pytest.approx([0.519687, 0, 0, 0.240156, 0.240156, 0], abs=1e-6)


def test_the_teachers_losses() -> None:
    system = catalogue.load("hmah:tiny", bits=4, similarity_weight=1.0, sign_weight=1.0)
    terms = system.teacher_terms(CODE, hmah.adjacency(LABELS))
    assert float(terms["teacher_similarity"]) == pytest.approx(0.188259, abs=1e-6)
    assert float(terms["teacher_sign"]) == pytest.approx(0.449167, abs=1e-6)


def test_the_adversary_answers_with_any_number_and_always_teaches() -> None:
    system = catalogue.load("hmah:tiny", seed=0, bits=4)
    last = system.judge[-1]
    torch.nn.init.constant_(last.bias, -5.0)
    code = CODE.clone().requires_grad_()
    term = system.teacher_terms(code, hmah.adjacency(LABELS))["teacher_adversarial"]
    hidden = [[float(v) for v in row] for row in CODE]
    for layer in system.judge[::2]:
        weight, bias = layer.weight.tolist(), layer.bias.tolist()
        hidden = [
            [
                value if layer is last else max(value, 0.0)
                for value in (
                    sum(w * x for w, x in zip(line, row, strict=True)) + b
                    for line, b in zip(weight, bias, strict=True)
                )
            ]
            for row in hidden
        ]
    assert max(row[0] for row in hidden) < 0
    assert term.item() == pytest.approx(sum((row[0] - 1) ** 2 for row in hidden) / 3, rel=1e-5)
    (slope,) = torch.autograd.grad(term, code)
    assert (slope.norm(dim=1) > 0).all()


def test_students_learn_in_the_batches_whose_graphs_made_their_targets() -> None:
    seen: list[list[int]] = []

    class Noting(Trainer):
        def step(self, optimizer: Any, terms: Any, *, batch: Any = None) -> None:
            if "code" in terms:
                seen.append(current[0].index.tolist())
            super().step(optimizer, terms, batch=batch)

        def batches(self, *arguments: Any, **options: Any) -> Any:
            for current[0] in super().batches(*arguments, **options):
                yield current[0]

    current: list[Any] = [None]
    split = Planted(train=50, seed=1).split("train")
    system = catalogue.load("hmah:tiny", seed=0, batch_size=20, teacher_epochs=1, epochs=2)
    system.fit(split, Noting(seed=0, quiet=True))
    assert seen == [list(range(20)), list(range(20, 40)), list(range(40, 50))] * 2


def test_statistics_freeze_and_weights_do_not() -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    hmah._freeze_statistics(True, net)
    before = net[0].running_mean.clone()
    net(torch.ones(3, 2)).sum().backward()
    assert torch.equal(net[0].running_mean, before)
    assert net[0].weight.grad is not None
    hmah._freeze_statistics(False, net)
    net(torch.ones(3, 2))
    assert not torch.equal(net[0].running_mean, before)


def test_bits_are_shared_by_four_views() -> None:
    with pytest.raises(BadParameter, match="multiple of 4"):
        catalogue.load("hmah:tiny", bits=18)


@pytest.mark.slow
def test_it_learns_and_a_fused_database_is_easier() -> None:
    data = Syn()
    system = catalogue.load("hmah:tiny", seed=0, image_dim=64, text_dim=120, bits=32)
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    single = {
        direction: one.bounds["MAP@ALL"]["expected"]
        for direction, one in evaluate(system, data, rank=False).measured.items()
    }
    assert single["image to text"] >= 0.6
    assert single["text to image"] >= 0.6
    query, database = data.split("query"), data.split("database")
    assert query.label is not None
    assert database.label is not None
    fused = system.encode_pair(database.image, database.text)
    relevance = metrics.ByLabel(query.label, database.label)
    groups = metrics.hamming_groups(system.encode_image(query.image), fused, relevance)
    image_to_fused = groups.average_precision()["expected"].mean()
    assert image_to_fused >= 0.64
    assert image_to_fused > single["image to text"]
