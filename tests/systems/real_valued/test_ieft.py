"""IEFT: the specification's numbers, its enhancement, and that it is a scorer of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.core import Encoder, Scorer
from diptych.data.planted import Planted
from diptych.errors import BadParameter
from diptych.systems.real_valued import ieft
from diptych.trainer import Batch, Trainer


def test_the_rank_loss() -> None:
    assert ieft.rank_loss(torch.zeros(3, 16)).item() == pytest.approx(math.log(16))
    scores = torch.zeros(1, 16)
    scores[0, 0] = 2
    assert ieft.rank_loss(scores).item() == pytest.approx(1.1086, abs=1e-4)


def test_sizes_of_the_paper() -> None:
    gate = ieft.GatedConvolution(768, 2.66)
    assert gate.project.in_channels == 2042
    assert sum(p.numel() for p in gate.parameters()) == 4_741_524
    channels = ieft.block(144, 12, 0.1)
    assert sum(p.numel() for p in channels.parameters()) == 250_704


def test_a_gate_that_projects_nothing_is_the_identity() -> None:
    system = catalogue.load("ieft:tiny")
    enhance = system.joint.enhance[0].eval()
    torch.nn.init.zeros_(enhance.gate.project.weight)
    patches = torch.randn(2, 9, 48)
    expected = enhance.channels(patches.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(enhance(patches), expected)


def test_the_loss_starts_at_chance_with_a_zero_head() -> None:
    system = catalogue.load("ieft:tiny", seed=0)
    torch.nn.init.zeros_(system.joint.rank.weight)
    rows = torch.arange(20)
    batch = Batch(rows, rows, rows, torch.randn(20, 32), torch.randn(20, 24), torch.zeros(20, 0))
    assert system.objective(batch)["rank"].item() == pytest.approx(math.log(8))


def test_it_scores_pairs_and_has_no_vectors() -> None:
    system = catalogue.load("ieft:tiny")
    assert isinstance(system, Scorer)
    assert not isinstance(system, Encoder)
    with pytest.raises(BadParameter, match="channel_heads that divide"):
        catalogue.load("ieft:tiny", channel_heads=2)


def test_it_over_fits_eight_pairs() -> None:
    split = Planted().split("train").take(np.arange(8))
    system = catalogue.load("ieft:tiny", seed=0, epochs=120, batch_size=8, dropout=0.0)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = system.score(split.image, split.text)
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()
    pairs = np.array([[3, 5], [0, 1]])
    found = system.score_pairs(split.image, split.text, pairs)
    assert found == pytest.approx(scores[[3, 0], [5, 1]], abs=1e-4)
