"""SSAH: the specification's numbers, and that its adversarial game is played."""

from __future__ import annotations

import pytest
import torch

from diptych import catalogue, metrics
from diptych.data.sets.planted import Syn
from diptych.evaluation import evaluate
from diptych.nets.pairwise import likelihood
from diptych.systems.hashing import ssah
from diptych.training.trainer import Trainer

LABEL_CODES = torch.tanh(torch.tensor([[1.0, 0.5], [-0.5, 1], [0, -1]]))
CODES = torch.tanh(torch.tensor([[0.5, 1.0], [-1, 0.5], [1, -0.5]]))
SIMILAR = torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]])


def test_likelihood_and_released_pair_loss() -> None:
    theta = LABEL_CODES @ CODES.T / 2
    assert theta[0].tolist() == pytest.approx([0.351946, -0.183237, 0.183237], abs=1e-6)
    assert float(likelihood(LABEL_CODES, CODES, SIMILAR).sum()) == pytest.approx(6.085957, abs=1e-5)
    assert float(ssah.released_pairs(LABEL_CODES, CODES, SIMILAR).sum()) == pytest.approx(2.130327, abs=1e-5)
    plain = (torch.sign(CODES) - CODES).square().sum()
    assert float(plain) == pytest.approx(1.038466, abs=1e-5)


def test_the_game() -> None:
    logits = torch.tensor([0.3, -0.2, 1.1])
    assert float(ssah.towards_one(logits)) == pytest.approx(0.546610, abs=1e-6)
    far = torch.full((3,), 100.0)
    assert float(ssah.judged(far, logits)) == pytest.approx(0.946610, abs=1e-6)


def test_the_adversarial_gradient_reaches_the_feature_and_opposes_the_discriminator() -> None:
    torch.manual_seed(0)
    judge = ssah._judge(8, (16, 8))
    feature = torch.randn(4, 8, requires_grad=True)
    (fooling,) = torch.autograd.grad(ssah.towards_one(judge(feature)), feature)
    telling = torch.nn.functional.binary_cross_entropy_with_logits(judge(feature), torch.zeros(4, 1))
    (opposite,) = torch.autograd.grad(telling, feature)
    assert (fooling.norm(dim=1) > 0).all()
    cosine = torch.nn.functional.cosine_similarity(fooling, opposite)
    assert cosine.tolist() == pytest.approx([-1] * 4, abs=1e-5)


def test_text_sees_its_neighbourhood_at_several_scales() -> None:
    scales = ssah._Scales(60, (50, 30, 5))
    bag = torch.zeros(1, 60)
    bag[0, 2] = 1
    found = scales(bag).detach().view(4, 60)
    assert (found[0] == bag[0]).all()
    assert found[3, :3].tolist() == pytest.approx([0.2, 0.2, 0.2])
    assert float(found[3, 30:].abs().max()) == 0
    assert float(found[1].max()) == pytest.approx(1 / 50)
    # A bag narrower than a window simply lacks that scale.
    assert ssah._Scales(7, (50, 5)).outputs == 14


@pytest.mark.slow
def test_it_learns_multi_label_data() -> None:
    data = Syn()
    system = catalogue.load("ssah:tiny", seed=0, image_dim=64, text_dim=120, bits=32)
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    found = evaluate(system, data, rank=False).measured
    for direction, one in found.items():
        assert one.bounds["MAP@ALL"]["expected"] >= 0.41, direction
    query, database = data.split("query"), data.split("database")
    assert query.label is not None
    assert database.label is not None
    with torch.no_grad():
        labels = (torch.as_tensor(split.label).float() for split in (query, database))
        codes = [system.label_net(rows).numpy() for rows in labels]
    groups = metrics.hamming_groups(codes[0], codes[1], metrics.ByLabel(query.label, database.label))
    assert groups.average_precision()["expected"].mean() >= 0.65
