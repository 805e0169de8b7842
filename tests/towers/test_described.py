"""What files say of pictures is done to the pixel, in every form that such files have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from diptych.errors import BadData
from diptych.towers.described import Patches, of_open_clip, of_transformers

SIZES = [(40, 30), (30, 60), (33, 33), (300, 500), (101, 17), (35, 38), (32, 35)]
OPEN_CLIP = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
CLIP = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "image_mean": [0.5, 0.25, 0.125],
    "image_std": [0.25, 0.5, 0.75],
    "resample": 3,
    "rescale_factor": 1 / 255,
}


def picture(size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(sum(size))
    return Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))


def written(folder: Path, **values: Any) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps(values))
    return path


def scaled(image: Image.Image) -> Any:
    return ((np.asarray(image, np.float64) / 255 - 0.5) / 0.25).transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_middle_of_open_clip_is_torchvisions(size: tuple[int, int], tmp_path: Path) -> None:
    found = of_open_clip(written(tmp_path, **OPEN_CLIP))(picture(size))
    given = picture(size)
    short, long = sorted(given.size)
    longer = int(32 * long / short)
    wide = (32, longer) if given.width <= given.height else (longer, 32)
    resized = given.resize(wide, Resampling.BICUBIC)
    left, top = round((wide[0] - 32) / 2.0), round((wide[1] - 32) / 2.0)
    np.testing.assert_allclose(found, scaled(resized.crop((left, top, left + 32, top + 32))), atol=1e-5)
    assert found.dtype == np.float32


def test_whole_pictures_are_squeezed_or_lie_on_a_ground(tmp_path: Path) -> None:
    given = picture((60, 30))
    squeezed = of_open_clip(written(tmp_path, **OPEN_CLIP, resize_mode="squash"))(given)
    np.testing.assert_allclose(squeezed, scaled(given.resize((32, 32), Resampling.BICUBIC)), atol=1e-5)
    found = of_open_clip(written(tmp_path, **OPEN_CLIP, resize_mode="longest", fill_color=255))(given)
    ground = Image.new("RGB", (32, 32), "white")
    ground.paste(given.resize((16, 32), Resampling.BICUBIC), (8, 0))
    np.testing.assert_allclose(found, scaled(ground), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_old_and_new_forms_are_what_transformers_does(size: tuple[int, int], tmp_path: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    own = {key: value for key, value in CLIP.items() if key != "image_processor_type"}
    expected = CLIPImageProcessorPil(**own)(images=[picture(size)], return_tensors="np")["pixel_values"][0]
    found = of_transformers(written(tmp_path, **CLIP))(picture(size))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    old = {**own, "size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor"}
    del old["rescale_factor"], old["do_center_crop"]
    np.testing.assert_array_equal(of_transformers(written(tmp_path, **old))(picture(size)), found)


def test_what_is_not_to_be_done_is_not_done(tmp_path: Path) -> None:
    path = written(tmp_path, **CLIP, do_normalize=False, do_rescale=False)
    found = of_transformers(path)(picture((32, 32)))
    np.testing.assert_array_equal(found, np.asarray(picture((32, 32)), np.float32).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [*SIZES, (3, 200), (1, 1), (2000, 31)])
def test_patches_are_as_transformers_cuts_them(size: tuple[int, int], tmp_path: Path) -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    processor = Siglip2ImageProcessorPil(patch_size=4, max_num_patches=30)
    processor.save_pretrained(tmp_path)
    found = of_transformers(tmp_path / "preprocessor_config.json")
    assert isinstance(found, Patches)
    expected = processor(images=[picture(size)], return_tensors="np")
    np.testing.assert_allclose(found(picture(size))[:-1], expected["pixel_values"][0], atol=1e-5)
    np.testing.assert_array_equal(found(picture(size))[-1, :2], expected["spatial_shapes"][0])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "L"}, "in 'L'; only RGB"),
        ({"resize_mode": "tile"}, "resize_mode 'tile'; known are shortest, squash, longest"),
        ({"size": [32, 24]}, "the shorter side of 32 x 24 pixels; give one number"),
        ({"size": None}, "does not say size"),
        ({"interpolation": "random"}, "says 'random' for interpolation"),
        ({"std": "small"}, "must be a number a channel"),
    ],
)
def test_what_open_clip_leaves_open(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadData, match=said):
        of_open_clip(written(tmp_path, **{**OPEN_CLIP, **values}))
