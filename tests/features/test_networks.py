"""CNN-F and VGG-19 read the original file formats, and compute what those networks compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import io
from torch.nn import functional

from diptych.errors import BadData, ImageError, MissingData
from diptych.features import cnn_f, vgg19_fc7
from diptych.features.cnn_f import CnnF
from diptych.features.vgg19_fc7 import VGG19Fc7

HIDDEN = 8


def filters(layers: dict[str, Any], side: int, seed: int = 0) -> dict[str, Any]:
    """Random MatConvNet filters [h, w, in, out] and biases of every layer."""
    random = np.random.default_rng(seed)
    found = {}
    for name, layer in layers.items():
        shape = tuple(layer.weight.shape)
        if len(shape) == 2 and shape[1] > HIDDEN:  # the first fully connected layer looks at side x side
            shape = (shape[0], shape[1] // side**2, side, side)
        out, into, height, width = (*shape, 1, 1)[:4]
        scale = np.float32((2 / (into * height * width)) ** 0.5)
        kernel = random.standard_normal((height, width, into, out), dtype=np.float32) * scale
        found[name] = kernel, random.standard_normal((1, out), dtype=np.float32) * np.float32(0.1)
    return found


def write(path: Path, weights: dict[str, Any], mean: Any, *, old: bool = False) -> Path:
    """A file as MatConvNet's: a 1 x n cell of structures, some without weights."""
    cells = np.empty((1, len(weights) + 1), object)
    for column, (name, (kernel, bias)) in enumerate(weights.items()):
        pair = np.empty((1, 2), object)
        pair[0, 0], pair[0, 1] = kernel, bias
        parts = {"filters": kernel, "biases": bias} if old else {"weights": pair}
        cells[0, column] = {"name": name, "type": "conv", **parts}
    cells[0, -1] = {"name": "prob", "type": "softmax"}
    normalization = {"averageImage": mean, "imageSize": [224, 224, 3]}
    rest = {"normalization": normalization} if old else {"meta": {"normalization": normalization}}
    io.savemat(path, {"layers": cells, **rest})
    return path


def picture(size: tuple[int, int] = (300, 240)) -> Image.Image:
    random = np.random.default_rng(1)
    small = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def convolved(x: Any, kernel: Any, bias: Any, *, stride: int = 1, pad: int = 0) -> Any:
    """Convolution of (h, w, in) with MatConvNet's [h, w, in, out], written as its definition."""
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    windows = windows[::stride, ::stride]  # (rows, columns, in, h, w)
    return np.einsum("rcihw,hwio->rco", windows, kernel, optimize=True) + bias.ravel()


def pooled(x: Any, *, end: int = 0) -> Any:
    """Maxima of 3 x 3 windows two apart, padded below and right."""
    x = np.pad(x, ((0, end), (0, end), (0, 0)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(-1, -2))


def normalised(x: Any) -> Any:
    """a / (2 + 1e-4 * sum of squares of five neighbouring channels)^.75."""
    squares = np.pad(x**2, ((0, 0), (0, 0), (2, 2)))
    return x / (2 + 1e-4 * sum(squares[:, :, k : k + x.shape[2]] for k in range(5))) ** 0.75


@pytest.fixture(scope="module")
def cnn_f_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    weights = filters(cnn_f.network(HIDDEN)[1], 6)
    mean = np.random.default_rng(2).uniform(90, 130, (224, 224, 3)).astype(np.float32)
    return write(tmp_path_factory.mktemp("weights") / "imagenet-vgg-f.mat", weights, mean), weights, mean


def test_cnn_f_equals_its_definition(cnn_f_file: tuple[Path, dict[str, Any], Any]) -> None:
    path, weights, mean = cnn_f_file
    squeezed = picture().resize((224, 224), Image.Resampling.BILINEAR)
    x = np.asarray(squeezed, np.float64) - mean  # 0..255, not scaled
    x = pooled(normalised(np.maximum(convolved(x, *weights["conv1"], stride=4), 0)), end=1)
    assert x.shape == (27, 27, 64)
    x = pooled(normalised(np.maximum(convolved(x, *weights["conv2"], pad=2), 0)))
    for name in ("conv3", "conv4", "conv5"):
        x = np.maximum(convolved(x, *weights[name], pad=1), 0)
    x = pooled(x)
    assert x.shape == (6, 6, 256)
    x = np.maximum(convolved(x, *weights["fc6"]), 0)
    x = np.maximum(convolved(x, *weights["fc7"]), 0).ravel()
    found = CnnF(weights=str(path)).encode_image([picture()])
    assert found.shape == (1, HIDDEN)
    assert found.dtype == np.float32
    assert x.max() > 1
    np.testing.assert_allclose(found[0], x, rtol=2e-4, atol=2e-4 * x.max())


def test_an_extractor_is_an_encoder(cnn_f_file: tuple[Path, dict[str, Any], Any], tmp_path: Path) -> None:
    extractor = CnnF(weights=str(cnn_f_file[0]))
    pictures = [picture(), picture((100, 300)), picture((50, 50))]
    both = extractor.encode_image(pictures)
    for row, one in enumerate(pictures):
        np.testing.assert_allclose(extractor.encode_image([one])[0], both[row], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(
        extractor.encode_image([extractor.prepare_image(p) for p in pictures]), both
    )
    pictures[0].save(tmp_path / "a.png")
    np.testing.assert_allclose(extractor.encode_image([tmp_path / "a.png"])[0], both[0], rtol=1e-4)
    assert extractor.encode_image([]).shape == (0, HIDDEN)
    assert (both >= 0).all()
    assert CnnF(**extractor.hyperparameters).fingerprint == extractor.fingerprint
    with pytest.raises(ImageError, match="cannot be read"):
        extractor.encode_image([tmp_path / "gone.png"])


def test_files_from_before_2015_are_read(
    tmp_path: Path, cnn_f_file: tuple[Path, dict[str, Any], Any]
) -> None:
    path, weights, mean = cnn_f_file
    old = write(tmp_path / "old.mat", weights, mean, old=True)
    np.testing.assert_array_equal(
        CnnF(weights=str(old)).encode_image([picture()]), CnnF(weights=str(path)).encode_image([picture()])
    )


def test_files_that_will_not_do(tmp_path: Path, cnn_f_file: tuple[Path, dict[str, Any], Any]) -> None:
    _, weights, mean = cnn_f_file
    with pytest.raises(MissingData, match=r"get imagenet-vgg-f\.mat"):
        CnnF(weights=str(tmp_path / "gone.mat"))
    (tmp_path / "no.mat").write_bytes(b"not a mat file")
    with pytest.raises(BadData, match="not a network of MatConvNet"):
        CnnF(weights=str(tmp_path / "no.mat"))
    some = {name: pair for name, pair in weights.items() if name != "conv4"}
    with pytest.raises(BadData, match="has no layer conv4"):
        CnnF(weights=str(write(tmp_path / "some.mat", some, mean)))
    turned = {**weights, "conv3": (weights["conv3"][0].transpose(3, 2, 0, 1), weights["conv3"][1])}
    with pytest.raises(BadData, match="conv3 is"):
        CnnF(weights=str(write(tmp_path / "turned.mat", turned, mean)))


def torchvision_state(seed: int = 0) -> dict[str, Any]:
    """VGG-19 under torchvision's names, as its file lists them."""
    layers = vgg19_fc7.network(HIDDEN)[1]
    numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    names = [*(f"features.{number}" for number in numbers), "classifier.0", "classifier.3"]
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, layer in zip(names, layers.values(), strict=True):
        deviation = (2 / layer.weight[0].numel()) ** 0.5
        state[f"{name}.weight"] = torch.randn(layer.weight.shape, generator=generator) * deviation
        state[f"{name}.bias"] = torch.randn(layer.bias.shape, generator=generator) * 0.1
    state["classifier.6.weight"], state["classifier.6.bias"] = torch.zeros(5, HIDDEN), torch.zeros(5)
    return state


def test_vgg_19_reads_torchvisions_file(tmp_path: Path) -> None:
    state = torchvision_state()
    torch.save(state, tmp_path / "vgg19.pth")
    extractor = VGG19Fc7(weights=str(tmp_path / "vgg19.pth"))
    found = extractor.encode_image([picture((512, 256))])
    # Shorter side 256, centre 224: with this size nothing is scaled.
    crop = np.asarray(picture((512, 256)).crop((144, 16, 368, 240)), np.float32) / 255
    x = (
        torch.from_numpy((crop - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))
        .float()
        .permute(2, 0, 1)[None]
    )
    with torch.no_grad():
        for name in [n[:-7] for n in state if n.startswith("features") and n.endswith("weight")]:
            if name.partition(".")[2] in {"5", "10", "19", "28"}:
                x = functional.max_pool2d(x, 2)
            x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
        x = functional.max_pool2d(x, 2).flatten(1)
        for name in ("classifier.0", "classifier.3"):
            x = functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
    assert x.max() > 0.1
    np.testing.assert_allclose(found, x.numpy(), rtol=1e-3, atol=1e-4)


def test_vgg_19_reads_matconvnets_file(tmp_path: Path) -> None:
    state = torchvision_state()
    pairs = [
        (state[name].numpy(), state[f"{name[:-7]}.bias"].numpy())
        for name in state
        if name.endswith("weight") and "classifier.6" not in name
    ]
    weights = {}
    for name, (kernel, bias) in zip(vgg19_fc7.network(HIDDEN)[1], pairs, strict=True):
        if name == "fc6":
            kernel = kernel.reshape(HIDDEN, 512, 7, 7)
        kernel = kernel.reshape(*kernel.shape, *[1] * (4 - kernel.ndim))
        weights[name] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), bias[None]
    mean = np.array([123.68, 116.779, 103.939], np.float32).reshape(1, 1, 3)
    extractor = VGG19Fc7(weights=str(write(tmp_path / "vgg.mat", weights, mean)))
    torch.save(state, tmp_path / "vgg19.pth")
    same = VGG19Fc7(weights=str(tmp_path / "vgg19.pth"))
    ready = extractor.prepare_image(picture())
    np.testing.assert_allclose(extractor.encode_image([ready]), same.encode_image([ready]), rtol=1e-4)
    squeezed = np.asarray(picture().resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_allclose(ready, (squeezed - mean).transpose(2, 0, 1), atol=1e-4)
    assert extractor.fingerprint != same.fingerprint


def test_pth_files_that_are_not_vgg_19(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"junk")
    with pytest.raises(BadData, match="does not hold torchvision's VGG-19"):
        VGG19Fc7(weights=str(path))
    state = torchvision_state()
    del state["features.5.bias"]
    torch.save(state, path)
    with pytest.raises(BadData, match="holds 35 tensors up to fc7, but VGG-19 has 36"):
        VGG19Fc7(weights=str(path))
    with pytest.raises(MissingData, match="torchvision's vgg19"):
        VGG19Fc7(weights=str(tmp_path / "gone.pth"))
