"""A tiny deterministic encoder that sees colours and understands their names; fast, and without any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.core import Floats

__all__ = ["Colours"]

_NAMES = ("red", "green", "blue")


class Colours:
    """Encodes a picture as its mean colour and a text as how often it names red, green and blue.

    `pictures` and `texts` count what it had to encode, so that a test can see what was encoded again.

    Example:
        >>> Colours().encode_text(["red, red and blue"]).round()
        array([[2., 0., 1.]], dtype=float32)
    """

    name = "colours"
    similarity = "cosine"
    fingerprint = "colours:1"
    image_size = 32
    batch_size = 4

    def __init__(self) -> None:
        self.pictures = 0
        self.texts = 0

    def prepare_image(self, picture: Any) -> Any:
        """A PIL picture as (8, 8, 3) uint8."""
        return np.asarray(picture.resize((8, 8)), np.uint8)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, 3) of n pictures, prepared or not."""
        self.pictures += len(images)
        arrays = [image if isinstance(image, np.ndarray) else self.prepare_image(image) for image in images]
        means = np.stack([array.reshape(-1, 3).mean(axis=0) for array in arrays]).astype(np.float32)
        return means + np.float32(1)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, 3) of n texts."""
        self.texts += len(texts)
        counts = [[text.lower().count(name) + 0.01 for name in _NAMES] for text in texts]
        return np.array(counts, np.float32)
