"""What the classic networks share as extractors: preparing pictures, running batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diptych.core import Floats
from diptych.media.pictures import batches, open_picture
from diptych.towers.preprocess import Normal, Preprocess

__all__ = ["SIZE", "Classic", "minus_mean"]

SIZE = 224  # pixels; what both networks were trained on


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
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"weights": self.weights}

    def prepare_image(self, picture: Any) -> Floats:
        """The network's input (3, 224, 224) float32 of a picture."""
        return self._pixels(open_picture(picture, size=self.image_size))

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Activations (n, d) float32 after the seventh layer's ReLU, so none is negative."""
        found = []
        for batch in batches(images, self):
            with torch.inference_mode():
                found.append(self.net(torch.from_numpy(batch).to(self.device)).cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        layers = [layer for layer in self.net.modules() if isinstance(layer, nn.Linear)]
        return layers[-1].out_features


def minus_mean(mean: Floats) -> Preprocess:
    """MatConvNet's preparation: squeezed to 224 x 224, 0..255, minus the mean image."""
    return Preprocess(size=SIZE, filter="bilinear", normal=Normal(mean=mean, top=255))
