"""What the classic networks share: reading MatConvNet files, preparing pictures, running batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diptych.core import Floats
from diptych.data.readers.extra import optional
from diptych.errors import BadData, MissingData
from diptych.features._pictures import opened

__all__ = ["SIZE", "Classic", "Weights", "existing", "fill", "matconvnet", "minus_mean"]

SIZE = 224  # pixels; what both networks were trained on
# What scipy raises for files of another kind, and numpy for fields that are not there.
_UNREADABLE = (KeyError, ValueError, IndexError, TypeError, NotImplementedError)
Weights = dict[str, tuple[NDArray[Any], NDArray[Any]]]


class Classic:
    """A convolutional network up to its seventh layer, as an encoder of pictures.

    Args:
        weights: The file, for the fingerprint and to be found again.
        net: Takes (n, 3, 224, 224), gives (n, d).
        pixels: Turns an RGB picture into (3, 224, 224) float32.
    """

    similarity = "cosine"
    side = "image"
    image_size = 256
    batch_size = 16

    def __init__(self, weights: Path, net: nn.Module, pixels: Callable[[Any], Floats]) -> None:
        self.weights = str(weights.resolve())  # a run may be loaded from another folder
        self.net, self._pixels = net.eval().requires_grad_(False), pixels
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.fingerprint = f"{type(self).__name__.lower()}:1:{digest[:24]}"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net.to(self.device)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"weights": self.weights}

    def prepare(self, picture: Any) -> Floats:
        """The network's input (3, 224, 224) float32 of a path or PIL picture."""
        return self._pixels(opened(picture))

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Activations (n, d) float32 after the seventh layer's ReLU, so none is negative."""
        found = []
        for start in range(0, len(images), self.batch_size):
            batch = [images[row] for row in range(start, min(start + self.batch_size, len(images)))]
            ready = [item if isinstance(item, np.ndarray) else self.prepare(item) for item in batch]
            with torch.inference_mode():
                found.append(self.net(torch.from_numpy(np.stack(ready)).to(self.device)).cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        layers = [layer for layer in self.net.modules() if isinstance(layer, nn.Linear)]
        return layers[-1].out_features


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
    scipy = optional("scipy.io", "reading MatConvNet weights")
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


def minus_mean(mean: Floats) -> Callable[[Any], Floats]:
    """MatConvNet's preparation: squeezed to 224 x 224, 0..255, minus the mean image."""

    def pixels(picture: Any) -> Floats:
        from PIL.Image import Resampling

        values = np.asarray(picture.resize((SIZE, SIZE), Resampling.BILINEAR), np.float32)
        return np.ascontiguousarray((values - mean).transpose(2, 0, 1))

    return pixels
