"""The towers on pixels compute what the published networks compute, and refuse what they cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from diptych.errors import BadData, BadParameter, MissingData
from diptych.features.cnn_f import CnnF
from diptych.features.pixels import Pixels
from diptych.nets.image_towers import PixelTower, image_tower
from original_files import matconvnet_file, torchvision_file


def picture() -> Image.Image:
    random = np.random.default_rng(1)
    small = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return small.resize((224, 224), Image.Resampling.BICUBIC)


def pixels(count: int = 1) -> Any:
    return torch.from_numpy(Pixels().encode_image([picture()] * count))


def test_cnn_f_equals_the_extractor_on_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "imagenet-vgg-f.mat"
    matconvnet_file(path)
    tower = PixelTower("cnn_f", file=str(path))
    assert tower.units == 8  # those of the file
    # At 224 x 224 there is nothing to cut and nothing to squeeze.
    expected = CnnF(weights=str(path)).encode_image([picture()])
    found = tower(pixels()).detach().numpy()
    assert expected.max() > 1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.max())


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3)])
def test_a_mean_colour_stands_for_a_mean_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mean = np.array([123, 117, 104], np.float32)
    matconvnet_file(tmp_path / "colour.mat", mean=mean.reshape(shape))
    matconvnet_file(tmp_path / "image.mat", mean=np.broadcast_to(mean, (224, 224, 3)))
    colour, image = (PixelTower("cnn_f", file=str(tmp_path / f"{name}.mat")) for name in ("colour", "image"))
    assert torch.equal(colour.mean, image.mean)
    assert torch.equal(colour(pixels()), image(pixels()))


def test_alexnet_equals_its_definition(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.pth"
    of = torchvision_file(path)
    tower = PixelTower("alexnet", file=str(path)).eval()
    x = torch.from_numpy(np.asarray(picture(), np.float32) / 255)
    x = (x - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    x = x.permute(2, 0, 1)[None]
    x = functional.conv2d(x, of["conv1.weight"], of["conv1.bias"], stride=4, padding=2).relu()
    assert x.shape == (1, 64, 55, 55)
    x = functional.max_pool2d(x, 3, 2)
    x = functional.conv2d(x, of["conv2.weight"], of["conv2.bias"], padding=2).relu()
    x = functional.max_pool2d(x, 3, 2)
    for name in ("conv3", "conv4", "conv5"):
        x = functional.conv2d(x, of[f"{name}.weight"], of[f"{name}.bias"], padding=1).relu()
    x = functional.max_pool2d(x, 3, 2).flatten(1)
    assert x.shape == (1, 256 * 6 * 6)
    for name in ("fc6", "fc7"):
        x = functional.linear(x, of[f"{name}.weight"], of[f"{name}.bias"]).relu()
    assert float(x.max()) > 0.1
    torch.testing.assert_close(tower(pixels()), x, rtol=1e-4, atol=1e-5)


def test_alexnet_drops_out_only_while_it_learns() -> None:
    tower = PixelTower("alexnet", units=64)
    inputs = pixels()
    assert not torch.equal(tower(inputs), tower(inputs))
    tower.eval()
    assert torch.equal(tower(inputs), tower(inputs))


@pytest.mark.parametrize("kind", ["cnn_f", "alexnet"])
def test_gradients_reach_the_first_convolution(kind: str) -> None:
    torch.manual_seed(0)
    tower = PixelTower(kind, units=8)
    tower(pixels(2)).square().sum().backward()
    assert all(bool(p.grad.count_nonzero()) for p in tower.parameters())
    assert set(dict(tower.named_buffers())) == {"mean", "deviation"}  # which do not learn


@pytest.mark.parametrize("kind", ["cnn_f", "alexnet"])
def test_loaded_without_the_original_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "original"
    (matconvnet_file if kind == "cnn_f" else torchvision_file)(path)
    tower = PixelTower(kind, file=str(path)).eval()
    path.unlink()
    again = PixelTower(kind, units=tower.units).eval()
    assert not torch.equal(again(pixels()), tower(pixels()))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(again(pixels()), tower(pixels()))


def test_files_that_will_not_do(tmp_path: Path) -> None:
    cnn_f, alexnet, junk = (tmp_path / name for name in ("f.mat", "a.pth", "junk"))
    matconvnet_file(cnn_f)
    torchvision_file(alexnet)
    junk.write_bytes(b"junk")
    with pytest.raises(
        MissingData, match=r"no file .*gone with the weights of CNN-F; get imagenet-vgg-f\.mat"
    ):
        PixelTower("cnn_f", file=str(tmp_path / "gone"))
    with pytest.raises(MissingData, match=r"no file .*gone with the weights of AlexNet; get torchvision's"):
        PixelTower("alexnet", file=str(tmp_path / "gone"))
    for path in (alexnet, junk):
        with pytest.raises(BadData, match=f"{path.name} is not a network of MatConvNet"):
            PixelTower("cnn_f", file=str(path))
    for path in (cnn_f, junk):
        with pytest.raises(BadData, match=f"{path.name} does not hold torchvision's AlexNet"):
            PixelTower("alexnet", file=str(path))
    matconvnet_file(cnn_f, without="conv4")
    with pytest.raises(BadData, match="has no layer conv4"):
        PixelTower("cnn_f", file=str(cnn_f))
    matconvnet_file(cnn_f, mean=np.zeros((227, 227, 3)))
    with pytest.raises(BadData, match=r"is not CNN-F: its mean image is \(227, 227, 3\)"):
        PixelTower("cnn_f", file=str(cnn_f))
    torchvision_file(alexnet, without="features.6.bias")
    with pytest.raises(BadData, match="holds 13 tensors up to fc7, but AlexNet has 14"):
        PixelTower("alexnet", file=str(alexnet))


def test_pixels_that_will_not_do() -> None:
    tower = PixelTower("cnn_f", units=8)
    small = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    with pytest.raises(BadParameter, match=r"sees 3 x 224 x 224 pixels, not 3 x 96 x 96; .*image=pixels"):
        tower(small)


def test_names() -> None:
    assert image_tower("", 4096, "") is None
    with pytest.raises(BadParameter, match="cnn_f or alexnet, not 'vgg'"):
        image_tower("vgg", 8, "")
    with pytest.raises(BadParameter, match="needs an image_tower, cnn_f or alexnet"):
        image_tower("", 8, "imagenet-vgg-f.mat")
