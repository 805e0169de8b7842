"""TEAM: the specification's numbers, and what its score may depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.planted import Planted
from diptych.evaluation import evaluate
from diptych.systems.real_valued import team
from diptych.trainer import Trainer


def test_word_score_leaves_padding_out() -> None:
    words = torch.tensor([[[1.0, 0], [1, 0], [1, 0]]])
    rebuilt = torch.tensor([[[0.8, 0.6], [0.4, 0.84**0.5], [0.9, 0.19**0.5]]])
    padding = torch.tensor([[False, False, True]])
    assert float(team.word_score(rebuilt, words, padding)) == pytest.approx(0.6)


def test_token_loss() -> None:
    scores = torch.tensor([[[0.6, 0.1, 0.2]]])
    assert float(team.token_loss(scores, 10.0)) == pytest.approx(0.02474, abs=1e-5)
    assert float(team.token_loss(scores, 1 / 0.07)) == pytest.approx(0.00408, abs=1e-5)
    assert float(team.token_loss(scores.expand(6, 1, 3), 10.0)) == pytest.approx(0.1485, abs=1e-4)


def test_scales_start_at_14_and_stop_at_100() -> None:
    scales = team._Scales()
    assert scales.of(0).item() == pytest.approx(14.296, abs=1e-3)
    scales.log.data.fill_(9)
    assert scales.of(1).item() == 100


def test_other_texts_of_an_image_are_no_negatives() -> None:
    """One direction of the specification's toy: rows are queries, items 1 and 3 have the same image."""
    logits = torch.tensor([[5.0, 2, 4], [1, 6, 0], [4, 0, 5]])
    same = torch.tensor([[True, False, True], [False, True, False], [True, False, True]])
    target = torch.arange(3)
    plain = torch.nn.functional.cross_entropy(logits, target)
    assert float(plain) == pytest.approx(0.2255, abs=1e-4)
    for mask, expected in (("zero", 0.0258), ("remove", 0.0215)):
        others = same & ~torch.eye(3, dtype=torch.bool)
        filled = logits.masked_fill(others, 0.0 if mask == "zero" else -torch.inf)
        row = torch.nn.functional.cross_entropy(filled, target)
        column = torch.nn.functional.cross_entropy(filled.T, target)
        assert float(row) == pytest.approx(expected, abs=1e-4)
        assert float(team.global_loss(logits, same, mask)) == pytest.approx(float(row + column) / 2)


def alignment() -> Any:
    torch.manual_seed(0)
    return team._Alignment(64, 32, 2, 0.1).eval()


def test_the_score_depends_on_words_and_image_only() -> None:
    blocks = alignment()
    text, image = torch.randn(2, 5, 64), torch.randn(2, 7, 64)
    padding = torch.tensor([[False] * 4 + [True]] * 2)
    found = blocks(text, image, padding)
    other = text.clone()
    other[:, 4] = 9
    assert torch.allclose(blocks(other, image, padding), found, atol=1e-5)
    assert torch.allclose(blocks(text, image[:, torch.randperm(7)], padding), found, atol=1e-5)
    assert not torch.allclose(blocks(text, image.flip(0), padding), found, atol=1e-5)
    for block in blocks.blocks:
        torch.nn.init.zeros_(block.across.out_proj.weight)
        torch.nn.init.zeros_(block.across.out_proj.bias)
    blind = blocks(text, image, padding)
    assert torch.allclose(blocks(text, image.flip(0), padding), blind)


def test_no_negatives_in_a_batch_of_one_image() -> None:
    system = catalogue.load("team:tiny")
    assert system._negatives(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)) is None
    images, texts = system._negatives(torch.zeros(3, 3), torch.eye(3, dtype=torch.bool))
    assert (images != torch.arange(3)).all()
    assert (texts != torch.arange(3)).all()


def test_it_over_fits_what_it_saw_and_reranking_keeps_the_first_hits() -> None:
    split = Planted().split("train").take(np.arange(64))
    system = catalogue.load("team:tiny", seed=0, epochs=60, batch_size=32, dropout=0.0)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = system.score(split.image, split.text)
    truth = np.zeros_like(scores, dtype=bool)
    truth[split.pairs[:, 0], split.pairs[:, 1]] = True
    assert (truth[np.arange(64), scores.argmax(axis=1)]).mean() >= 0.95
    pairs = np.array([[3, 5], [0, 1]])
    assert system.score_pairs(split.image, split.text, pairs) == pytest.approx(
        scores[[3, 0], [5, 1]], abs=1e-4
    )
    assert evaluate(system, Planted(), rank=False).main()["image to text"] > 0
