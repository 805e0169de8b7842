"""AGREE: the specification's numbers, its masks and both of its re-rankers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.planted import Planted
from diptych.evaluation import evaluate
from diptych.systems.real_valued import agree
from diptych.trainer import Trainer


def test_the_mask_ranking_loss() -> None:
    whole, masked = torch.tensor([30.0, 25.0]), torch.tensor([28.0, 27.0])
    assert agree.mask_loss(whole, masked, 100.0).item() == pytest.approx(0.02)


def test_masks_reach_the_encoders_unless_released() -> None:
    for released in (False, True):
        whole = torch.tensor([1.0, 2.0], requires_grad=True)
        scale = torch.tensor(10.0, requires_grad=True)
        agree.mask_loss(whole, torch.tensor([3.0, 1.0]), scale, released).backward()
        assert (whole.grad is None) == released
        assert scale.grad is not None


def test_entity_guided_scores() -> None:
    masks, prompts = (0.28, 0.31, 0.20), (0.22, 0.26)
    assert agree.entity_guided(0.30, masks, prompts, query="text") == pytest.approx(0.28059)
    assert agree.entity_guided(0.30, masks, prompts, query="image") == pytest.approx(0.28204)


def test_two_way_lists_of_the_specification() -> None:
    """Entries a, b, c are 0, 1, 2; the query is 0 and x another."""
    lists, x = np.array([[0, 1, 2]]), 9
    reverse = np.array([[x, 0], [0, x], [x, x]])
    assert agree.two_way(lists, reverse).tolist() == [[0, 1, 2]]
    reverse[0] = [x, x]
    assert agree.two_way(lists, reverse).tolist() == [[1, 0, 2]]
    reverse[0] = [0, x]  # it finds its query back at once, so everything stays
    assert agree.two_way(np.array([[0, 2, 1]]), reverse).tolist() == [[0, 2, 1]]


def test_two_way_changes_no_perfect_ranking_and_only_permutes() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20, 20))
    scores = scores + scores.T + 100 * np.eye(20)
    lists = np.argsort(-scores, axis=1)[:, :10]
    assert (agree.two_way(lists, lists) == lists).all()
    other = np.argsort(-rng.standard_normal((20, 20)), axis=1)[:, :10]
    found = agree.two_way(other, lists)
    assert (np.sort(found, axis=1) == np.sort(other, axis=1)).all()


def test_empty_slots_are_no_entities() -> None:
    image = torch.nn.functional.normalize(
        torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1
    )
    prompts = torch.stack([image, -image])
    present = torch.tensor([[True] * 4, [False] * 4])
    both = agree.prompt_loss(image, prompts, present, 10.0)
    alone = agree.prompt_loss(image, prompts[:1], present[:1], 10.0)
    assert both.item() == pytest.approx(alone.item())
    assert agree.prompt_loss(image, prompts, torch.zeros(2, 4, dtype=torch.bool), 10.0).item() == 0


def test_one_piece_is_masked() -> None:
    system = catalogue.load("agree:tiny", pieces=4)
    masked = system._masked(torch.ones(50, 32))
    assert ((masked == 0).sum(dim=1) == 8).all()
    assert len(torch.unique(masked, dim=0)) == 4


def test_agreeing_lists_are_measured() -> None:
    data = Planted()
    system = catalogue.load("agree:tiny", seed=0)
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    split = data.split("test")
    from diptych import metrics
    from diptych.evaluation import scores

    found = scores(system, split, split)
    system.agree_depth = 0
    plain = scores(system, split, split)
    for direction, one in found.items():
        before = metrics.order(plain[direction].block(0, len(split)))[0]
        after = metrics.order(one.block(0, len(split)))[0]
        assert (np.sort(after[:, :10], axis=1) == np.sort(before[:, :10], axis=1)).all()
        assert (after[:, 10:] == before[:, 10:]).all()
        assert (after != before).any()
    assert evaluate(system, data, rank=False).main()["image to text"] > 0.3
