"""How a picture becomes what an image tower takes, as data: its shape, its filter, its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CLIP_NORMAL", "IMAGENET_NORMAL", "Normal", "Preprocess"]


@dataclass(frozen=True)
class Normal:
    """What is taken from values of 0 to `top`, and what they are divided by.

    Args:
        mean: One number a channel, or a whole picture (size, size, 3).
        deviation: Likewise; 1 divides by nothing.
        top: What white becomes before: 1 or 255.
    """

    mean: ArrayLike
    deviation: ArrayLike = 1.0
    top: int = 1


CLIP_NORMAL = Normal(mean=(0.48145466, 0.4578275, 0.40821073), deviation=(0.26862954, 0.26130258, 0.27577711))
IMAGENET_NORMAL = Normal(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Preprocess:
    """From an RGB picture to an array.

    Args:
        size: Width and height.
        fit: "squeeze" lets circles become ellipses and loses nothing; "cover" scales until the square is full
            and cuts in the middle; "centre" scales the shorter side to `shorter` pixels and cuts then.
        filter: How pixels are put together.
        shorter: For "centre".
        reducing_gap: Lets PIL first shrink in whole steps, to so many times the size; None is exact.
        normal: None leaves values of 0 to 255 in uint8, else they become float32.
        channels: Whether the array is (3, size, size) or (size, size, 3).
    """

    size: int
    fit: Literal["squeeze", "cover", "centre"] = "squeeze"
    filter: Literal["bilinear", "bicubic"] = "bicubic"
    shorter: int = 0
    reducing_gap: float | None = None
    normal: Normal | None = None
    channels: Literal["first", "last"] = "first"

    def __call__(self, picture: Image) -> NDArray[Any]:
        """The array of an RGB picture."""
        values: NDArray[Any] = np.asarray(self._square(picture), np.uint8)
        if self.normal is not None:
            values = values.astype(np.float32)
            values = values / np.float32(255) if self.normal.top == 1 else values
            values = values - np.asarray(self.normal.mean, np.float32)
            values = values / np.asarray(self.normal.deviation, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1)) if self.channels == "first" else values

    def _square(self, picture: Image) -> Image:
        from PIL import ImageOps
        from PIL.Image import Resampling

        filter_ = Resampling[self.filter.upper()]
        whole = (self.size, self.size)
        if self.fit == "squeeze":
            return picture.resize(whole, filter_, reducing_gap=self.reducing_gap)
        if self.fit == "cover":
            return ImageOps.fit(picture, whole, filter_)
        scale = self.shorter / min(picture.size)
        width, height = (max(self.shorter, int(side * scale)) for side in picture.size)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        picture = picture.resize((width, height), filter_, reducing_gap=self.reducing_gap)
        return picture.crop((left, top, left + self.size, top + self.size))
