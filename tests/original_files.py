"""Weights of classic networks in the files in which they were published, made small by code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.nets import alexnet, cnn_f

__all__ = ["matconvnet_file", "torchvision_file"]

_ALEXNET = (
    "features.0",
    "features.3",
    "features.6",
    "features.8",
    "features.10",
    "classifier.1",
    "classifier.4",
)


def _drawn(layers: Mapping[str, Any], seed: int) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Weights under which activations keep their size, and biases."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(layer.weight.shape, generator=draw) * (2 / layer.weight[0].numel()) ** 0.5,
            torch.randn(layer.bias.shape, generator=draw) * 0.1,
        )
        for name, layer in layers.items()
    }


def matconvnet_file(path: Path, units: int = 8, *, mean: Any = None, without: str = "") -> dict[str, Tensor]:
    """A small CNN-F like MatConvNet's ``imagenet-vgg-f.mat``, and the tensors it must become by name.

    Args:
        path: Of the file.
        units: Of the sixth and seventh layer.
        mean: The mean image (224, 224, 3), drawn if not given.
        without: A layer to leave out.
    """
    from scipy import io

    if mean is None:
        mean = np.random.default_rng(2).uniform(90, 130, (224, 224, 3))
    found, cells = {}, []
    for name, (weight, bias) in _drawn(cnn_f.network(units)[1], 0).items():
        found |= {f"{name}.weight": weight, f"{name}.bias": bias}
        # [out, in, h, w] -> [h, w, in, out]; the sixth layer looks at 6 x 6, the seventh at 1 x 1.
        side = {"fc6": 6, "fc7": 1}.get(name, weight.shape[-1])
        kernel = weight.view(len(weight), -1, side, side).permute(2, 3, 1, 0).contiguous().numpy()
        pair = np.empty((1, 2), object)
        pair[0, 0], pair[0, 1] = kernel, bias.numpy()[None]
        if name != without:
            cells.append({"name": name, "type": "conv", "weights": pair})
    layers = np.empty((1, len(cells)), object)
    layers[0, :] = cells
    meta = {"normalization": {"averageImage": np.asarray(mean, np.float32)}}
    io.savemat(path, {"layers": layers, "meta": meta})
    return found


def torchvision_file(path: Path, units: int = 8, *, without: str = "") -> dict[str, Tensor]:
    """A small AlexNet like torchvision's ``alexnet-owt-7be5be79.pth``, and the tensors in it by our names.

    Args:
        path: Of the file.
        units: Of the sixth and seventh layer.
        without: A tensor to leave out.
    """
    found: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for theirs, (name, pair) in zip(_ALEXNET, _drawn(alexnet.network(units)[1], 1).items(), strict=True):
        for part, value in zip(("weight", "bias"), pair, strict=True):
            found[f"{name}.{part}"] = state[f"{theirs}.{part}"] = value
    last = nn.Linear(units, 5)
    state |= {f"classifier.6.{part}": value for part, value in last.state_dict().items()}
    state.pop(without, None)
    torch.save(state, path)
    return found
