"""CLIP's loss on the backbones that come with Diptych: heads learn, and their run is loaded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych import catalogue
from diptych.errors import BadData, MissingData
from diptych.nets.packaged_towers import PackagedTowers
from diptych.systems.dual_tower.clip import CLIP
from diptych.testing.materials import drawn, mean_average_precision
from diptych.training.trainer import Trainer


def test_heads_learn_and_are_loaded_again(tmp_path: Path) -> None:
    learn, ask = drawn(64, 24, size=64)
    system = catalogue.load("clip:packaged", device="cpu", pairs=32, epochs=10)
    before = system.fingerprint
    system.fit(learn, Trainer(seed=0, quiet=True, device="cpu"))
    assert system.fingerprint != before
    found = mean_average_precision(system, ask)
    assert min(found.values()) > 0.6, found  # chance is .35
    system.save(tmp_path, seed=0)
    again = catalogue.load(str(tmp_path))
    assert again.fingerprint == system.fingerprint
    np.testing.assert_array_equal(again.encode_image(ask.image), system.encode_image(ask.image))
    np.testing.assert_array_equal(again.encode_text(ask.text), system.encode_text(ask.text))
    ready = [again.prepare_image(picture) for picture in ask.image[:2]]
    np.testing.assert_allclose(again.encode_image(ready), again.encode_image(ask.image[:2]), atol=1e-6)


def test_each_text_goes_through_the_backbone_once(monkeypatch: pytest.MonkeyPatch) -> None:
    towers, asked = PackagedTowers(), []
    monkeypatch.setitem(
        towers.__dict__,
        "_text_tower",
        lambda texts: asked.extend(texts) or np.ones((len(texts), 384), np.float32),
    )
    towers.text_inputs(["a", "b", "a"])
    towers.encode_text(["b", "c"])
    assert asked == ["a", "b", "c"]


def test_heads_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"has no model\.safetensors; give a folder"):
        CLIP(architecture="packaged", weights=str(tmp_path))
    PackagedTowers(dim=16).save(tmp_path)
    with pytest.raises(BadData, match="does not hold these heads"):
        PackagedTowers.of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BadData, match="does not hold these heads"):
        PackagedTowers.of(tmp_path)
