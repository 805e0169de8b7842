"""Pixels: pictures themselves, at one size.

Inputs: pictures
Learns from: nothing

What systems with an image network of their own read: `pixels` has 224 x 224 points, `pixels:96` has 96 x 96.
The picture is scaled until it covers the square and cut in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import BadParameter
from diptych.media.pictures import batches, open_picture
from diptych.towers.preprocess import Preprocess

__all__ = ["Pixels"]


class Pixels:
    """Pictures as arrays.

    Args:
        size: Width and height.

    Raises:
        BadParameter: `size` is not positive.
    """

    similarity = "cosine"
    side = "image"
    variant = "size"

    def __init__(self, *, size: int = 224) -> None:
        if size < 1:
            raise BadParameter(f"size of pixels must be at least 1, not {size}")
        self.size = size
        self._preprocess = Preprocess(size=size, fit="cover")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"size": self.size}

    @property
    def fingerprint(self) -> str:
        """Equal only for the same size."""
        return f"pixels:1:{self.size}"

    @property
    def image_size(self) -> int:
        """Lets the decoder draft."""
        return self.size

    def prepare_image(self, picture: Any) -> NDArray[np.uint8]:
        """The array (3, size, size) uint8 of a picture."""
        return self._preprocess(open_picture(picture, size=self.size))

    def encode_image(self, images: Sequence[Any]) -> NDArray[np.uint8]:
        """Arrays (n, 3, size, size) uint8 of pictures or results of `prepare_image`."""
        none = np.zeros((0, 3, self.size, self.size), np.uint8)
        return next(batches(images, self, size=max(1, len(images))), none)
