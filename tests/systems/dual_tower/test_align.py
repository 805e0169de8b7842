"""ALIGN has the paper's loss, loads checkpoints of its own kind, and trains whichever part is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.errors import BadData, BadParameter, UnknownName, UsageError
from diptych.systems.dual_tower.align import ALIGN
from diptych.systems.dual_tower.clip import CLIP
from diptych.testing.materials import drawn
from diptych.towers.drawn import _channels
from diptych.training.trainer import Trainer

SCORES = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.8, 0.4], [0.0, 0.5, 0.7]])
NONE = torch.zeros(3, 3, dtype=torch.bool)


def tiny(**parameters: Any) -> ALIGN:
    torch.manual_seed(0)
    return ALIGN(architecture="tiny", device="cpu", **{"pairs": 16, "epochs": 1, "lr": 1e-2, **parameters})


def test_the_loss_by_hand() -> None:
    """With images on the axes, the inner products are the entries of the texts."""
    found = tiny().loss(torch.eye(3), SCORES.T, NONE)
    assert {name: term.item() for name, term in found.items()} == pytest.approx(
        {"i2t": 0.8126904, "t2i": 0.8124552}, abs=1e-6
    )
    assert sum(found.values()).item() == pytest.approx(1.6251456, abs=1e-6)


@pytest.mark.parametrize(("smoothing", "slope"), [(0.0, 0.5575), (0.1, 0.4842)])
def test_a_smaller_temperature_is_better_here(smoothing: float, slope: float) -> None:
    system = tiny(smoothing=smoothing)
    temperature = system.towers.model.temperature.requires_grad_()
    sum(system.loss(torch.eye(3), SCORES.T, NONE).values()).backward()
    assert temperature.grad.item() == pytest.approx(slope, abs=1e-4)


def test_other_captions_of_a_picture_are_left_out_unless_taken_literally() -> None:
    left_out = NONE.clone()
    left_out[0, 2] = left_out[2, 0] = True
    ours, literal, none = (
        sum(tiny(literal=taken).loss(torch.eye(3), SCORES.T, out).values()).item()
        for taken, out in ((False, left_out), (True, left_out), (True, NONE))
    )
    assert literal == none
    assert ours < literal


def test_the_temperature_starts_where_it_is_told_and_stays_above_a_hundredth() -> None:
    assert tiny().towers.model.temperature.item() == 1
    system = tiny(temperature=0.02, lr=0.5)
    system.towers.model.temperature.data.fill_(-3.0)
    system.bound()
    assert system.towers.model.temperature.item() == pytest.approx(0.01)


def changed(**parameters: Any) -> set[str]:
    system = tiny(**parameters)
    before = {name: tensor.clone() for name, tensor in system.towers.model.state_dict().items()}
    system.fit(drawn(32, 8)[0], Trainer(seed=0, quiet=True, device="cpu"))
    after = system.towers.model.state_dict()
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_parts_that_are_not_trained_do_not_change() -> None:
    heads = {"temperature", "text_projection.weight", "text_projection.bias"}
    assert changed(tune="heads") == heads
    last = changed(tune="last", layers=1)
    assert {name.split(".")[3] for name in last if name.startswith("vision_model.encoder.blocks")} == {"6"}
    assert all(name in heads or ".encoder." in name for name in last)
    adapted = changed(tune="lora", rank=2)
    assert adapted == {"temperature"} | {
        f"text_model.encoder.layer.0.attention.self.{part}.weight" for part in ("query", "value")
    }
    assert not any(name.startswith("text_model.pooler") for name in changed())


def test_an_untrained_tower_lets_signals_through() -> None:
    """Pictures that differ have vectors that differ, before any statistics are known."""
    pictures = drawn(8, 8)[0].image
    vectors = tiny().encode_image(pictures)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("count", "width", "found"), [(320, 2.0, 640), (320, 4.3, 1376), (16, 0.25, 8), (32, 1.1, 32)]
)
def test_channels_are_efficientnets(count: int, width: float, found: int) -> None:
    assert _channels(count, width) == found


def test_a_checkpoint_is_loaded_by_its_own_system(tmp_path: Path) -> None:
    system = tiny()
    system.towers.save(tmp_path)
    again = catalogue.load(f"align@{tmp_path}", device="cpu")
    np.testing.assert_array_equal(again.encode_text(["a cat"]), system.encode_text(["a cat"]))
    assert again.fingerprint == system.fingerprint
    same = CLIP.from_weights(str(tmp_path), device="cpu")
    np.testing.assert_array_equal(same.encode_text(["a cat"]), system.encode_text(["a cat"]))
    with pytest.raises(UsageError, match="these towers are ALIGN's; train them as align@FOLDER"):
        same.fit(drawn(8, 8)[0])


def test_another_kind_of_checkpoint_is_refused(tiny_clip: Path) -> None:
    with pytest.raises(BadData, match="holds a model of type 'clip'; what can be used here: align"):
        catalogue.load(f"align@{tiny_clip}")


def test_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        BadParameter, match=r"temperature must be at least 0\.01, and smoothing from 0 to below 1"
    ):
        tiny(temperature=0.0)
    with pytest.raises(UnknownName, match="no architecture 'tinyy' of align; did you mean tiny"):
        ALIGN(architecture="tinyy")
