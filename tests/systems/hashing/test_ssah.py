"""SSAH: the specification's numbers, and that its adversarial game is played."""

from __future__ import annotations

import math

import pytest
import torch

from diptych import catalogue, metrics
from diptych.data.sets.planted import Planted, Syn
from diptych.evaluation import evaluate
from diptych.nets.pairwise import likelihood
from diptych.systems.hashing import ssah
from diptych.training.trainer import Trainer

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("bits", [2, 5])
def test_released_losses_are_half_of_the_sums_of_squares(bits: int) -> None:
    draw = torch.Generator().manual_seed(bits)
    labels = (torch.rand(7, 3, generator=draw) < 0.5).float()
    held = [torch.randn(7, width, generator=draw) for width in (4, bits)]
    own = [torch.randn(3, width, generator=draw) for width in (4, bits, 3)]
    rows = torch.tensor([5, 0, 3])
    system = catalogue.load("ssah:tiny", image_dim=4, text_dim=6, classes=3, bits=bits, released=True)
    system.quantisation_weight = 1.0
    terms = system.terms(
        ssah._Outputs(*own), ssah._Buffers(*held, labels), rows, labels[rows], torch.sign(own[1])
    )
    expected = dict.fromkeys(("features", "codes", "quantisation", "labels"), 0.0)
    for at, row in enumerate(rows.tolist()):
        for other in range(7):
            alike = 0.999 * float(any(labels[row][k] * labels[other][k] for k in range(3)))
            for name, mine, theirs in (("features", own[0], held[0]), ("codes", own[1], held[1])):
                theta = sum(float(a * b) for a, b in zip(mine[at], theirs[other], strict=True)) / 2
                expected[name] += 0.5 * (alike * theta - math.log(1 + math.exp(theta))) ** 2
        for k in range(bits):
            value = float(own[1][at][k])
            expected["quantisation"] += 0.5 * (math.copysign(1, value) - value) ** 2
        for k in range(3):
            expected["labels"] += 0.5 * float(labels[row][k] - own[2][at][k]) ** 2
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


def test_released_networks_hear_no_adversary_and_follow_their_own_signs() -> None:
    played: dict[str, set[str]] = {}
    for released in (False, True):
        system = catalogue.load(
            "ssah:tiny", seed=0, epochs=1, label_passes=1, image_passes=1, text_passes=1, released=released
        )
        trainer = Trainer(seed=0, quiet=True)
        system.fit(Planted(train=60, seed=1).split("train"), trainer)
        played[str(released)] = {name for entry in trainer.history for name in entry["terms"]}
    assert {"image_adversarial", "text_judge"} <= played["False"]
    assert played["True"] == {
        name for name in played["False"] if "advers" not in name and "judge" not in name
    }


def test_first_weights_and_biases_are_spread_alike() -> None:
    system = catalogue.load("ssah:tiny", seed=0, spread=0.01)
    for net in (system.label_net, system.image_net, system.text_net, system.image_judge):
        values = torch.cat([p.detach().flatten() for n, p in net.named_parameters() if "scale" not in n])
        biases = torch.cat([p.detach() for n, p in net.named_parameters() if n.endswith("bias")])
        assert values.std().item() == pytest.approx(0.01, rel=0.05)
        assert biases.std().item() == pytest.approx(0.01, rel=0.25)


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
