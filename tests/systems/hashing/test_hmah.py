"""HMAH: the specification's numbers, and what its fused database gains."""

from __future__ import annotations

import pytest
import torch

from diptych import catalogue, metrics
from diptych.data.sets.planted import Syn
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
