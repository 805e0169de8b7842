"""Regions: boxes by hand, rows taken apart, and classes where no detector tells them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.errors import BadParameter, TrainingError
from diptych.nets.masking import guess_loss, hide_regions, hide_words, inside
from diptych.nets.regions import RegionClasses, geometry, region_dim, unpacked


def test_boxes_of_the_three_systems() -> None:
    box = torch.tensor([64, 48, 320, 240]) / torch.tensor([640, 480, 640, 480])
    assert geometry(box, 5).tolist() == pytest.approx([0.1, 0.1, 0.5, 0.5, 0.16])
    assert geometry(box, 6).tolist() == pytest.approx([0.1, 0.1, 0.5, 0.5, 0.4, 0.4])
    assert geometry(box, 7).tolist() == pytest.approx([0.1, 0.1, 0.5, 0.5, 0.4, 0.4, 0.16])


def rows() -> torch.Tensor:
    """Two pictures of three regions with two features and two classes; the second has only one."""
    one = [1.0, 2, 0, 0, 0.5, 0.5, 0.25, 0.75]
    two = [3.0, 4, 0.5, 0, 1, 1, 0.9, 0.1]
    none = [9.0, 9, 0, 0, 0, 0, 0, 0]
    return torch.tensor([[*one, *two, *one], [*two, *none, *none]])


def test_rows_are_taken_apart() -> None:
    found = unpacked(rows(), 3, 2)
    assert found.features[0].tolist() == [[1, 2], [3, 4], [1, 2]]
    assert found.shown.tolist() == [[True, True, True], [True, False, False]]
    assert found.features[1, 1:].abs().sum() == 0
    assert found.boxes[1, 0].tolist() == [0.5, 0, 1, 1]
    assert found.classes[0, 1].tolist() == pytest.approx([0.9, 0.1])
    assert region_dim(24, 3, 2) == 2
    for regions, classes in ((5, 0), (0, 0), (3, 4)):
        with pytest.raises(BadParameter, match="rows of 24 numbers cannot hold"):
            region_dim(24, regions, classes)


def test_classes_that_a_detector_told() -> None:
    seen = unpacked(rows(), 3, 2)
    classes = RegionClasses(2, 2, told=True)
    at = torch.tensor([[True, True, False], [True, False, False]])
    assert classes.shares(seen, at)[0].tolist() == pytest.approx([0.25, 0.75])
    assert classes.numbers(seen, at).tolist() == [1, 0, 0]


def test_groups_stand_in_for_classes() -> None:
    random = np.random.default_rng(0)
    means = np.array([[5, 0], [0, 5], [-5, -5]], np.float32)
    group = random.integers(3, size=(40, 6))
    content = np.zeros((40, 6, 6), np.float32)
    content[..., :2] = means[group] + 0.1 * random.standard_normal((40, 6, 2))
    content[..., 4:] = 1
    content[0, 0, 4:] = 0  # none there
    classes = RegionClasses(2, 3, told=False)
    classes.study(content.reshape(40, -1), 6)
    seen = unpacked(torch.from_numpy(content.reshape(40, -1)), 6)
    found, true = classes.numbers(seen, seen.shown), group[seen.shown.numpy()]
    assert all(len(found[torch.from_numpy(true == one)].unique()) == 1 for one in range(3))
    assert len(found.unique()) == 3
    shares = classes.shares(seen, seen.shown)
    near = torch.cdist(seen.features[seen.shown][:1], classes.centres)[0]
    assert shares[0].tolist() == pytest.approx((-near).exp().div((-near).exp().sum()).tolist(), abs=1e-5)
    with pytest.raises(TrainingError, match="cannot be put into 300 groups"):
        RegionClasses(2, 300, told=False).study(content.reshape(40, -1), 6)


def test_words_are_hidden_in_the_shares_of_the_paper() -> None:
    torch.manual_seed(0)
    text = torch.full((2000, 12), 7)
    text[:, 0], text[:, 9], text[:, 10:] = 1, 2, 0
    seen, hidden = hide_words(text, share=0.15, mask=500, vocabulary=500)
    assert not hidden[:, [0, 9, 10, 11]].any()
    assert hidden.sum() / inside(text).sum() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(seen[~hidden], text[~hidden])
    among = seen[hidden]
    assert (among == 500).float().mean() == pytest.approx(0.8, abs=0.03)
    assert (among == 7).float().mean() == pytest.approx(0.1, abs=0.02)
    with pytest.raises(BadParameter, match="knows 5 word pieces"):
        hide_words(text, share=0.15, mask=5, vocabulary=5)


def test_regions_are_hidden_nine_times_in_ten() -> None:
    torch.manual_seed(0)
    features, shown = torch.ones(1000, 10, 3), torch.arange(10).expand(1000, 10) < 8
    seen, hidden = hide_regions(features, shown, share=0.15)
    assert not (hidden & ~shown).any()
    assert hidden.sum() / shown.sum() == pytest.approx(0.15, abs=0.01)
    assert (seen[hidden].sum(dim=1) == 0).float().mean() == pytest.approx(0.9, abs=0.02)
    assert (seen[~hidden] == 1).all()


def test_nothing_hidden_costs_nothing() -> None:
    guesses = torch.randn(0, 5, requires_grad=True)
    assert guess_loss(guesses, torch.zeros(0, dtype=torch.long)).item() == 0
    some = torch.randn(4, 5)
    truth = torch.tensor([0, 1, 2, 3])
    assert guess_loss(some, truth).item() == pytest.approx(
        torch.nn.functional.cross_entropy(some, truth).item()
    )
