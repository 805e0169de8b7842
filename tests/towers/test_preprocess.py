"""Preparations as data, against what they stand for written out, and against the library of the towers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.Image import Resampling

from diptych.towers.preprocess import CLIP_NORMAL, IMAGENET_NORMAL, Normal, Preprocess

SIZES = [(40, 30), (30, 60), (33, 33), (300, 500), (1001, 257)]


def picture(size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(sum(size))
    return Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_squeezing_loses_nothing_of_the_picture(size: tuple[int, int]) -> None:
    found = Preprocess(size=24, reducing_gap=2.0, channels="last")(picture(size))
    expected = picture(size).resize((24, 24), Resampling.BICUBIC, reducing_gap=2.0)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_covering_cuts_in_the_middle(size: tuple[int, int]) -> None:
    found = Preprocess(size=24, fit="cover")(picture(size))
    expected = ImageOps.fit(picture(size), (24, 24), Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(expected).transpose(2, 0, 1))
    assert found.flags["C_CONTIGUOUS"]


def test_a_mean_picture_is_taken_from_0_to_255() -> None:
    mean = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32) * 255
    found = Preprocess(size=8, filter="bilinear", normal=Normal(mean=mean, top=255))(picture((20, 10)))
    values = np.asarray(picture((20, 10)).resize((8, 8), Resampling.BILINEAR), np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (values - mean).transpose(2, 0, 1))


def test_white_and_black_by_hand() -> None:
    normal = Normal(mean=(0.5, 0.25, 0.0), deviation=(0.5, 0.25, 1.0))
    step = Preprocess(size=2, fit="centre", shorter=2, normal=normal)
    white, black = (step(Image.new("RGB", (5, 4), colour))[:, 0, 0].tolist() for colour in ("white", "black"))
    assert (white, black) == ([1.0, 3.0, 1.0], [-1.0, -1.0, 0.0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("normal", [CLIP_NORMAL, IMAGENET_NORMAL], ids=["clip", "imagenet"])
def test_it_is_what_the_library_of_the_towers_does(size: tuple[int, int], normal: Normal) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    theirs = CLIPImageProcessorPil(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_mean=list(normal.mean),  # type: ignore[arg-type]
        image_std=list(normal.deviation),  # type: ignore[arg-type]
    )
    expected = theirs(images=[picture(size)], return_tensors="np")["pixel_values"][0]
    ours = Preprocess(size=32, fit="centre", shorter=32, normal=normal)(picture(size))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
