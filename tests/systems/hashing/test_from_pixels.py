"""The hashing systems whose papers fine-tune CNN-F or AlexNet learn from pictures themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.data.extracted import extract
from diptych.errors import BadParameter, UsageError
from diptych.features import named
from diptych.nets.image_towers import PixelTower
from diptych.systems.hashing.udcmh import UDCMH, standardised
from diptych.testing.materials import drawn
from diptych.training.learner import Learner
from diptych.training.parameters import dimensions
from diptych.training.trainer import Trainer
from original_files import matconvnet_file, torchvision_file

# Small where size matters, and as few steps as show every kind of step.
SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "dcmh:cnn_f": {"text_hidden": 16, "epochs": 1},
    "ssah:cnn_f": {
        "hidden": 16,
        "semantic": 8,
        "judge_sizes": (8, 4),
        "widths": (2,),
        "epochs": 1,
        "label_passes": 1,
        "image_passes": 1,
        "text_passes": 1,
    },
    "bi_cmr:cnn_f": {
        "image_sizes": (16,),
        "text_sizes": (16,),
        "label_sizes": (16,),
        "middle": 8,
        "epochs": 1,
    },
    "udcmh:cnn_f": {"text_hidden": 16, "rounds": 2, "epochs": 1},
    "dchuc:alexnet": {"text_hidden": (16,), "outer": 1, "epochs": 1, "sample": 10},
}


@pytest.fixture(scope="module")
def splits() -> tuple[Split, Split]:
    """Pixels, mapped from the cache, and bags of words to learn from and to encode."""
    learn, new = drawn(12, 4)
    extractors = named("image=pixels,text=bow")
    extractors["text"].fit(learn.text)
    return extract(learn, **extractors), extract(new, **extractors)


def system(name: str, split: Split, **parameters: Any) -> Learner:
    fields = {key: value for key, value in dimensions(split).items() if key in _fields(name)}
    small = {"bits": 16, "batch_size": 6, "tower_units": 32, **SYSTEMS[name]}
    return catalogue.load(name, seed=0, **{**small, **fields, **parameters})  # type: ignore[no-any-return]


def _fields(name: str) -> Any:
    return type(catalogue.load(f"{name.partition(':')[0]}:tiny")).__dataclass_fields__


def tower_of(learner: Learner) -> PixelTower:
    (found,) = (module for module in learner.image_net.modules() if isinstance(module, PixelTower))
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_trains_on_pictures(name: str, splits: tuple[Split, Split], tmp_path: Path) -> None:
    learn, new = splits
    assert isinstance(learn.image, np.memmap)
    learner = system(name, learn)
    tower, seen = tower_of(learner), []
    tower.register_forward_pre_hook(lambda _, given: seen.append((given[0].dtype, len(given[0]))))
    before = {key: value.clone() for key, value in tower.named_parameters()}
    learner.fit(learn, Trainer(seed=0, quiet=True, device="cpu"))
    assert all(not torch.equal(before[key], value) for key, value in tower.named_parameters())
    # Never all pictures at once: each forward pass takes its own as the bytes they are.
    assert {dtype for dtype, _ in seen} == {torch.uint8}
    assert max(count for _, count in seen) <= 12
    codes = learner.encode_image(new.image), learner.encode_text(new.text)
    for one in codes:
        assert one.shape == (4, 16)
        assert set(np.unique(one)) <= {-1, 1}
    learner.save(tmp_path)
    again = catalogue.load(f"{name.partition(':')[0]}@{tmp_path}")
    assert again.fingerprint == learner.fingerprint
    np.testing.assert_array_equal(again.encode_image(new.image), codes[0])
    np.testing.assert_array_equal(again.encode_text(new.text), codes[1])


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_starts_from_the_published_weights(name: str, splits: tuple[Split, Split], tmp_path: Path) -> None:
    path = tmp_path / "original"
    expected = (torchvision_file if name.endswith("alexnet") else matconvnet_file)(path)
    learner = system(name, splits[0], image_file=str(path))
    assert learner.hyperparameters["tower_units"] == 8  # the file's
    layers = [layer for layer in tower_of(learner).net if hasattr(layer, "weight")]
    names = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    for layer, key in zip(layers, names, strict=True):
        assert torch.equal(layer.weight, expected[f"{key}.weight"]), key
        assert torch.equal(layer.bias, expected[f"{key}.bias"]), key
    learner.save(tmp_path / "run")
    path.unlink()
    again = catalogue.load(f"{name.partition(':')[0]}@{tmp_path / 'run'}")
    assert again.fingerprint == learner.fingerprint


@pytest.mark.parametrize("name", SYSTEMS)
def test_other_data_are_refused(name: str, splits: tuple[Split, Split]) -> None:
    learn = splits[0]
    short, trainer = name.partition(":")[0], Trainer(seed=0, quiet=True, device="cpu")
    features = Split(np.ones((12, 5), np.float32), learn.text, learn.label, learn.pairs)
    learner = system(name, learn)
    with pytest.raises(
        UsageError, match=f"{short} learns from image pixels, but the training data have feat"
    ):
        learner.fit(features, trainer)
    with pytest.raises(UsageError, match=f"{short} encodes pixels of images, not images themselves"):
        learner.encode_image(drawn(2, 0)[0].image)
    small = Split(np.zeros((12, 3, 96, 96), np.uint8), learn.text, learn.label, learn.pairs)
    with pytest.raises(BadParameter, match="sees 3 x 224 x 224 pixels, not 3 x 96 x 96"):
        learner.fit(small, trainer)
    with pytest.raises(UsageError, match=f"{short} learns from image features, but .* have pixels"):
        catalogue.load(f"{short}:tiny").fit(learn, trainer)
    with pytest.raises(BadParameter, match="needs an image_tower"):
        catalogue.load(f"{short}:tiny", image_file="imagenet-vgg-f.mat")


def test_udcmh_factors_the_seventh_layer_from_the_first_round_on(splits: tuple[Split, Split]) -> None:
    once = splits[0]
    twice = Split(once.image, once.text, None, np.concatenate([once.pairs[::-1], once.pairs]))
    learner = system("udcmh:cnn_f", twice)
    assert isinstance(learner, UDCMH)
    tower = tower_of(learner)
    with torch.no_grad():
        seventh = tower(torch.from_numpy(np.array(once.image))).numpy()
    for given in (True, False):
        image, text = learner.latent(twice, given=given)
        assert image.shape == (32, 24)
        expected = standardised(np.concatenate([seventh[::-1], seventh]))
        np.testing.assert_allclose(image, expected, atol=1e-3)
    assert text.shape == (16, 24)  # its hidden layer, once the words themselves have been factored
    assert learner.latent(twice, given=True)[1].shape == (learner.text_dim, 24)
