"""The encoder of dialogues: its losses by hand, and what it leaves as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.systems.mllm.dialogue import Dialogue, dialogues_of, recall_surrogate
from diptych.training.trainer import Trainer


def test_the_surrogate_is_that_of_the_closed_form() -> None:
    cosines = torch.tensor([[0.5, 0.49, 0.30]]).expand(3, 3).clone()
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    first = recall_surrogate(cosines, nothing, 0.01)
    rank = 1 + torch.sigmoid(torch.tensor(-1.0)) + torch.sigmoid(torch.tensor(-20.0))
    assert float(rank) == pytest.approx(1.268941, abs=1e-6)
    terms = [float(1 - torch.sigmoid(k - rank)) for k in (1, 2, 4, 8, 16)]
    assert terms == pytest.approx([0.566833, 0.324962, 0.061165, 0.001192, 0.0000004], abs=1e-6)
    assert np.mean(terms) == pytest.approx(0.190831, abs=1e-6)
    only = torch.tensor([[0.5, 0.49, 0.30], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    best = float((1 - torch.sigmoid(torch.tensor([1.0, 2, 4, 8, 16]) - 1)).mean())
    assert float(recall_surrogate(only, nothing, 0.01)) == pytest.approx((0.190831 + 2 * best) / 3, abs=1e-5)
    assert float(first) > float(recall_surrogate(only, nothing, 0.01))


def test_dialogues_about_one_picture_are_no_negatives() -> None:
    cosines = torch.tensor([[0.5, 0.9], [0.9, 0.5]])
    other = torch.tensor([[False, True], [True, False]])
    assert float(recall_surrogate(cosines, other)) < float(recall_surrogate(cosines, ~(other | True)))


def test_where_both_sides_have_one_width_it_begins_as_the_tower() -> None:
    system = catalogue.load("dialogue", image_dim=16, text_dim=16, hidden_dim=8)
    texts = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    assert np.abs(system.encode_text(texts) - unit).max() < 2e-3


@pytest.mark.parametrize("loss", ["contrastive", "recall"])
def test_pictures_stay_as_they_are_and_only_the_head_learns(loss: str) -> None:
    split = Planted(train=120, val=0, test=40, seed=3).split("train")
    system = Dialogue(loss=loss, epochs=3, batch_size=40, hidden_dim=16)
    before = np.array(split.image[:5])
    system.fit(split, Trainer(seed=0, quiet=True, device="cpu"))
    unit = before / np.linalg.norm(before, axis=1, keepdims=True)
    assert np.allclose(system.encode_image(before), unit, atol=1e-6)
    assert not system.trainable("image_net")


def test_dialogues_have_every_length_and_hide_some_descriptions() -> None:
    texts = [[f"{row}{letter}" for letter in "abcde"] for row in range(200)]
    found, rows = dialogues_of(texts, 3, seed=1)
    assert rows == [row for row in range(200) for _ in range(3)]
    assert all(
        part[:-1] == str(row) for one, row in zip(found, rows, strict=True) for part in one.split(", ")
    )
    lengths = np.bincount([one.count(", ") + 1 for one in found])
    assert (lengths[1:] > 40).all()
    assert dialogues_of(texts, 3, seed=1)[0] == found
    whole, _ = dialogues_of(texts, 3, seed=1, hidden=0.0)
    assert sum(one.count(", ") for one in whole) > sum(one.count(", ") for one in found)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(BadParameter, match="by contrastive or recall, not by 'mse'"):
        Dialogue(loss="mse")
    with pytest.raises(BadParameter, match="must be positive"):
        Dialogue(temperature=0)
