"""Grey: grey levels of a small copy of a picture.

Inputs: pictures
Learns from: nothing

The picture in 16 by 16 grey levels, from 0 to 1: no feature for photographs, but enough for drawings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grey"]


class Grey:
    """Grey levels.

    Args:
        size: Width and height of the copy.
    """

    similarity = "cosine"
    side = "image"

    def __init__(self, *, size: int = 16) -> None:
        self.size = size

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"size": self.size}

    @property
    def fingerprint(self) -> str:
        """Equal only for equal features."""
        return f"grey:1:{self.size}"

    def encode_image(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Levels (n, size * size) float32."""
        small = [
            np.asarray(image.convert("L").resize((self.size, self.size)), np.float32) for image in images
        ]
        return np.stack(small).reshape(len(small), -1) / 255
