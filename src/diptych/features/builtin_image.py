"""Built-in image tower: EfficientNet-Lite0 as packaged, its 1,280 pooled features.

Inputs: pictures
Learns from: nothing (trained on ImageNet)

What the built-in model sees of a picture before its concepts and heads; needs neither torch nor a download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.media.pictures import batches
from diptych.towers.onnx import IMAGE_SIZE, WEIGHTS, ImageTower, prepare_image

__all__ = ["BuiltinImage"]


class BuiltinImage:
    """Pooled features of the built-in image tower.

    Args:
        batch_size: Pictures that go through the tower at once.
    """

    similarity = "cosine"
    side = "image"
    image_size = IMAGE_SIZE

    def __init__(self, *, batch_size: int = 16) -> None:
        self.batch_size = batch_size

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"batch_size": self.batch_size}

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same weights."""
        return f"builtin_image:1:{hashlib.sha256((WEIGHTS / 'image.onnx').read_bytes()).hexdigest()[:24]}"

    @cached_property
    def _tower(self) -> ImageTower:
        return ImageTower()

    def prepare_image(self, picture: Any) -> NDArray[np.uint8]:
        """The tower's input (224, 224, 3) uint8 of a picture."""
        return prepare_image(picture)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Features (n, 1280) float32 of pictures or results of `prepare_image`."""
        found = [np.zeros((0, 1280), np.float32)]
        for batch in batches(images, self):
            found.append(self._tower(batch)[0])
        return np.concatenate(found)
