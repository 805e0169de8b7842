"""Reads the weights of classic networks in the files in which they were published."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diptych.core import Floats
from diptych.errors import BadData, MissingData
from diptych.optional import optional

__all__ = ["Weights", "existing", "fill", "fill_torchvision", "matconvnet", "torchvision"]

Weights = dict[str, tuple[NDArray[Any], NDArray[Any]]]
# What scipy raises for files of another kind, and numpy for fields that are not there.
_UNREADABLE = (KeyError, ValueError, IndexError, TypeError, NotImplementedError)
# What torch raises for files of another kind, and for a dictionary without the tensor asked for.
_NO_STATE = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError),
    *(KeyError, IndexError, ValueError, TypeError, AttributeError),
)


def existing(weights: str, what: str, source: str) -> Path:
    """The file of the original weights.

    Raises:
        MissingData: saying where it comes from.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise MissingData(
            f"there is no file {path} with the weights of {what}; get {source} and give its path"
        )
    return path


def matconvnet(path: Path) -> tuple[Weights, Floats]:
    """Filters [h, w, in, out] and biases by layer name, and the mean image (h, w, 3), of a MatConvNet file.

    Raises:
        MissingExtra: scipy is not installed.
        BadData: the file is something else.
    """
    scipy = optional("scipy.io", "reading MatConvNet weights", "data")
    try:
        file = scipy.loadmat(path)
        found: Weights = {}
        for cell in file["layers"].ravel():
            layer = cell[0, 0]
            fields = layer.dtype.names
            if "weights" in fields and layer["weights"].size:
                filters, bias = layer["weights"].ravel()
            elif "filters" in fields:  # files from before 2015
                filters, bias = layer["filters"], layer["biases"]
            else:
                continue
            found[str(layer["name"].ravel()[0])] = filters, bias.ravel()
        holder = file["meta"][0, 0] if "meta" in file else file
        mean = holder["normalization"][0, 0]["averageImage"].astype(np.float32)
    except (*_UNREADABLE, scipy.matlab.MatReadError) as error:
        raise BadData(f"{path} is not a network of MatConvNet ({error})") from error
    return found, mean.reshape(1, 1, 3) if mean.size == 3 else mean


def fill(layers: dict[str, nn.Module], weights: Weights, path: Path) -> None:
    """Put MatConvNet's [h, w, in, out] filters into layers of torch.

    A fully connected layer after pooling is a convolution there; its inputs become torch's (in, h, w) order.

    Raises:
        BadData: a layer is missing or has another shape.
    """
    for name, layer in layers.items():
        if name not in weights:
            raise BadData(f"{path} has no layer {name}; it has {', '.join(weights)}")
        filters, bias = (torch.from_numpy(np.asarray(part, np.float32)) for part in weights[name])
        filters = filters.reshape(*filters.shape, *[1] * (4 - filters.ndim))
        kernel: Tensor = filters.permute(3, 2, 0, 1)  # [h, w, in, out] -> [out, in, h, w]
        target: Any = layer
        if isinstance(layer, nn.Linear):
            kernel = kernel.flatten(1)
        if kernel.shape != target.weight.shape:
            raise BadData(f"{path}: {name} is {tuple(kernel.shape)}, not {tuple(target.weight.shape)}")
        target.weight.data.copy_(kernel)
        target.bias.data.copy_(bias)


def torchvision(path: Path, known: str, what: str) -> dict[str, Tensor]:
    """The tensors of a torchvision file up to the seventh layer, from input to output; no pickle is run.

    Args:
        path: A ``.pth`` file.
        known: A tensor that must be there.
        what: The network's name.

    Raises:
        BadData: the file is something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state[known].numel()
        return {name: value for name, value in state.items() if not name.startswith("classifier.6")}
    except _NO_STATE as error:
        raise BadData(f"{path} does not hold torchvision's {what} ({str(error).splitlines()[0]})") from error


def fill_torchvision(
    layers: Mapping[str, nn.Module], state: Mapping[str, Tensor], path: Path, what: str
) -> None:
    """Put tensors of `torchvision` into layers in the order in which both go from input to output.

    Raises:
        BadData: there are more or fewer, or one has another shape.
    """
    ours = [f"{name}.{part}" for name in layers for part in ("weight", "bias")]
    if len(state) != len(ours):
        raise BadData(f"{path} holds {len(state)} tensors up to fc7, but {what} has {len(ours)}")
    for (name, value), mine in zip(state.items(), ours, strict=True):
        layer, _, part = mine.partition(".")
        target: Any = getattr(layers[layer], part)
        if target.shape != value.shape:
            raise BadData(f"{path}: {name} is {tuple(value.shape)}, not {tuple(target.shape)}")
        target.data.copy_(value)
