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

from diptych.builtin.towers import IMAGE_SIZE, WEIGHTS, ImageTower, prepare_image
from diptych.core import Floats
from diptych.features._pictures import opened

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
        """The tower's input (224, 224, 3) uint8 of a path or PIL picture."""
        return prepare_image(opened(picture))

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Features (n, 1280) float32 of paths, PIL pictures or results of `prepare_image`."""
        found = [np.zeros((0, 1280), np.float32)]
        for start in range(0, len(images), self.batch_size):
            batch = [images[row] for row in range(start, min(start + self.batch_size, len(images)))]
            ready = [item if isinstance(item, np.ndarray) else self.prepare_image(item) for item in batch]
            found.append(self._tower(np.stack(ready))[0])
        return np.concatenate(found)
