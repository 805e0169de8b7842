"""What systems share in front of their own layers."""

from __future__ import annotations

from dataclasses import fields

import pytest

from diptych import catalogue
from diptych.errors import BadParameter
from diptych.nets.fronts import FromClip, FromPixels
from diptych.nets.image_towers import PixelTower


def test_features_have_no_network_in_front() -> None:
    front = FromPixels()
    assert front.image_front(10) == (None, 10)
    assert front.reads == {"image": "features", "text": "features"}


def test_pixels_have_one_that_decides_the_width() -> None:
    front = FromPixels(image_tower="cnn_f", tower_units=4)
    tower, width = front.image_front(10)
    assert isinstance(tower, PixelTower)
    assert width == tower.units == front.tower_units == 4
    assert front.reads == {"image": "pixels", "text": "features"}
    with pytest.raises(BadParameter, match="needs an image_tower"):
        FromPixels(image_file="weights.mat").image_front(10)


def test_without_a_checkpoint_there_are_no_towers_of_clip() -> None:
    front = FromClip()
    assert front.clip_front() is None
    assert front.reads == {"image": "features", "text": "features"}
    assert FromClip(clip_config="{}").reads == {"image": "pixels", "text": "tokens"}


@pytest.mark.parametrize("name", ["dcmh", "ssah", "bi_cmr", "udcmh", "dchuc", "dchmt", "dsph", "agree"])
def test_their_parameters_are_those_of_the_learner(name: str) -> None:
    learner = catalogue.load(f"{name}:tiny")
    front = FromPixels if isinstance(learner, FromPixels) else FromClip
    assert {field.name for field in fields(front)} <= {*learner.hyperparameters}
    assert type(learner).start_files == front.start_files  # type: ignore[attr-defined]
