"""How a published checkpoint wants its pictures prepared, read from the files beside it and checked.

Two forms: ``preprocessor_config.json`` of transformers, and ``preprocess_cfg.json`` of open_clip, which the
exports for Immich have. What a file does not say is not guessed, but refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadData, MissingData

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Patches", "Preparation", "of_open_clip", "of_transformers", "settings"]

# Kind of image processor -> whether one number as its size means the shorter side.
_PROCESSORS: Mapping[str, bool] = {"CLIP": True, "Siglip": False, "Siglip2": False, "ViT": False}
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in Pillow's numbering
_REFUSED = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_reduce_labels", "rescale_offset", "crop_pct")


@dataclass(frozen=True)
class Scale:
    """What pixels of 0 to 255 become: ``(value * factor - mean) / deviation``, channel by channel."""

    factor: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, pixels: NDArray[np.uint8]) -> Floats:
        """Values (h, w, 3) float32 of pixels (h, w, 3)."""
        mean, deviation = np.asarray(self.mean, np.float32), np.asarray(self.deviation, np.float32)
        values = pixels.astype(np.float32) * np.float32(self.factor)
        return np.asarray((values - mean) / deviation, np.float32)


@dataclass(frozen=True)
class Preparation:
    """From an RGB picture to what an image tower takes.

    Args:
        resize: Height and width, or the shorter or longer side ("shorter" and "longer" look at the first
            number only).
        to: What `resize` is of; "none" leaves pictures as they are.
        filter: How pixels are put together.
        crop: Height and width that are cut out of the middle; None cuts nothing.
        scale: What values become; None leaves them as uint8 (h, w, 3), for a graph that does it itself.
        odd: Where the middle lies if it is between two pixels: "down" is transformers' rule, "even" is
            torchvision's.
        fill: Colour around a picture that does not fill the crop.
    """

    resize: tuple[int, int]
    to: Literal["square", "shorter", "longer", "none"]
    filter: str
    crop: tuple[int, int] | None
    scale: Scale | None
    odd: Literal["down", "even"] = "down"
    fill: tuple[int, int, int] = (0, 0, 0)

    @property
    def image_size(self) -> int:
        """Pixels of the shorter side below which a decoder must not scale pictures down."""
        return max(self.resize)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what comes out."""
        return self.crop or self.resize

    def __call__(self, picture: Image) -> NDArray[Any]:
        """(3, h, w) float32, or (h, w, 3) uint8 without `scale`."""
        pixels = np.asarray(self._cut(self._resized(picture)), np.uint8)
        return pixels if self.scale is None else np.ascontiguousarray(self.scale(pixels).transpose(2, 0, 1))

    def _resized(self, picture: Image) -> Image:
        from PIL.Image import Resampling

        if self.to == "none":
            return picture
        height, width = self.resize
        if self.to == "shorter":
            short = min(picture.size)
            width, height = (int(height * side / short) for side in picture.size)
        elif self.to == "longer":
            ratio = max(picture.height / height, picture.width / width)
            width, height = (max(1, round(side / ratio)) for side in picture.size)
        return picture.resize((width, height), Resampling[self.filter.upper()])

    def _cut(self, picture: Image) -> Image:
        from PIL import Image

        if self.crop is None or picture.size == self.crop[::-1]:
            return picture
        height, width = self.crop
        if picture.width < width or picture.height < height:
            canvas = Image.new("RGB", (max(width, picture.width), max(height, picture.height)), self.fill)
            canvas.paste(
                picture, ((canvas.width - picture.width) // 2, (canvas.height - picture.height) // 2)
            )
            picture = canvas
        left, top = (self._half(picture.width - width), self._half(picture.height - height))
        return picture.crop((left, top, left + width, top + height))

    def _half(self, difference: int) -> int:
        return difference // 2 if self.odd == "down" else round(difference / 2)

    def meaning(self) -> dict[str, Any]:
        """What decides its result, for a fingerprint."""
        return asdict(self)


@dataclass(frozen=True)
class Patches:
    """From a picture in its own shape to at most so many square patches (SigLIP 2 of flexible resolution)."""

    patch: int
    most: int
    filter: str
    scale: Scale

    @property
    def image_size(self) -> int:
        """As of `Preparation`; a long picture may need twice the side of a square one."""
        return int(2 * self.patch * self.most**0.5)

    def __call__(self, picture: Image) -> Floats:
        """(most + 1, patch ** 2 * 3): patches, then a row that begins with their number down and across."""
        from PIL.Image import Resampling

        down, across = self._grid(picture.height, picture.width)
        size = (across * self.patch, down * self.patch)
        values = self.scale(np.asarray(picture.resize(size, Resampling[self.filter.upper()]), np.uint8))
        tiles = values.reshape(down, self.patch, across, self.patch, 3).swapaxes(1, 2)
        found = np.zeros((self.most + 1, self.patch * self.patch * 3), np.float32)
        found[: down * across] = tiles.reshape(down * across, -1)
        found[-1, :2] = down, across
        return found

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Patches down and across at the largest scale that has not too many, found as transformers finds it:
        by halving an interval until it is 1e-5 wide.
        """

        def at(scale: float) -> tuple[int, int]:
            down, across = (max(1, math.ceil(side * scale / self.patch)) for side in (height, width))
            return down, across

        low, high = 1e-6, 100.0
        while high - low >= 1e-5:
            middle = (low + high) / 2
            if math.prod(at(middle)) <= self.most:
                low = middle
            else:
                high = middle
        return at(low)

    def meaning(self) -> dict[str, Any]:
        """What decides its result, for a fingerprint."""
        return asdict(self)


def settings(path: Path, why: str) -> dict[str, Any]:
    """The content of a JSON file.

    Args:
        path: The file.
        why: What it is needed for, to end the sentence of the error ("how pictures are prepared").

    Raises:
        MissingData: it is not there.
        BadData: it is damaged, or holds anything but an object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingData(f"{path} is not there, which says {why}; fetch it, too") from None
    except (OSError, ValueError) as error:
        raise BadData(f"{path} is damaged ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise BadData(f"{path} holds no settings by name; fetch it again")
    return found


def of_transformers(path: Path) -> Preparation | Patches:
    """What a ``preprocessor_config.json`` says, in its old form (sizes as numbers) or its new one.

    Raises:
        MissingData: it is not there.
        BadData: it leaves something open, or asks for something that is not known here.
    """
    said = settings(path, "how pictures are prepared")
    kind = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
    family = kind.partition("ImageProcessor")[0].partition("FeatureExtractor")[0]
    if family not in _PROCESSORS:
        raise BadData(
            f"{path} asks for {kind or 'no kind of preparation'}; known are those of {', '.join(_PROCESSORS)}"
        )
    for key in _REFUSED:
        if said.get(key):
            raise BadData(f"{path} asks for {key} {said[key]!r}, which is not known here")
    filter_ = _filter(path, said, "resample")
    scale = Scale(
        # Files from before the factor had a name divide by 255, too.
        factor=float(said.get("rescale_factor") or 1 / 255) if said.get("do_rescale", True) else 1.0,
        mean=_colours(path, said, "image_mean") if said.get("do_normalize", True) else (0.0, 0.0, 0.0),
        deviation=_colours(path, said, "image_std") if said.get("do_normalize", True) else (1.0, 1.0, 1.0),
    )
    if family == "Siglip2":
        patch, most = (
            _whole(path, key, _needed(path, said, key)) for key in ("patch_size", "max_num_patches")
        )
        return Patches(patch, most, filter_, scale)
    size = _needed(path, said, "size")
    if isinstance(size, dict) and "shortest_edge" in size:
        resize, to = (_whole(path, "size", size["shortest_edge"]),) * 2, "shorter"
        if size.get("longest_edge"):
            raise BadData(f"{path} limits the longer side of pictures, too, which is not known here")
    elif isinstance(size, int):
        resize, to = (_whole(path, "size", size),) * 2, "shorter" if _PROCESSORS[family] else "square"
    else:
        resize, to = _pair(path, "size", size), "square"
    cuts = said.get("do_center_crop", False if family != "CLIP" else "crop_size" in said)
    crop = _pair(path, "crop_size", _needed(path, said, "crop_size")) if cuts else None
    if not said.get("do_resize", True) or (to == "shorter" and crop is None):
        raise BadData(f"{path} leaves pictures in different shapes; it must say a size that all of them get")
    return Preparation(resize, "shorter" if to == "shorter" else "square", filter_, crop, scale)


def of_open_clip(path: Path) -> Preparation:
    """What a ``preprocess_cfg.json`` says; without ``resize_mode`` it means "shortest", as in open_clip.

    Raises:
        MissingData: it is not there.
        BadData: it leaves something open, or asks for something that is not known here.
    """
    said = settings(path, "how pictures are prepared")
    if said.get("mode", "RGB") != "RGB":
        raise BadData(f"{path} asks for pictures in {said['mode']!r}; only RGB is known here")
    size = _pair(path, "size", _needed(path, said, "size"))
    modes: Mapping[str, Literal["shorter", "square", "longer"]]
    modes = {"shortest": "shorter", "squash": "square", "longest": "longer"}
    mode = said.get("resize_mode") or "shortest"
    if mode not in modes:
        raise BadData(f"{path} asks for resize_mode {mode!r}; known are {', '.join(modes)}")
    if mode == "shortest" and size[0] != size[1]:
        raise BadData(f"{path} asks for the shorter side of {size[0]} x {size[1]} pixels; give one number")
    fill = said.get("fill_color") or 0
    return Preparation(
        size,
        modes[mode],
        _filter(path, said, "interpolation"),
        None if mode == "squash" else size,
        Scale(1 / 255, _colours(path, said, "mean"), _colours(path, said, "std")),
        odd="even",
        fill=tuple(fill) if isinstance(fill, list) else (int(fill),) * 3,
    )


def _needed(path: Path, said: Mapping[str, Any], key: str) -> Any:
    if said.get(key) is None:
        raise BadData(f"{path} does not say {key}; fetch it again, or add it")
    return said[key]


def _whole(path: Path, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1 << 14:
        raise BadData(f"{path} says {value!r} for {key}, which must be a number of pixels or patches")
    return value


def _pair(path: Path, key: str, value: Any) -> tuple[int, int]:
    if isinstance(value, dict) and {"height", "width"} <= set(value):
        value = [value["height"], value["width"]]
    sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
    return _whole(path, key, sides[0]), _whole(path, key, sides[1])


def _colours(path: Path, said: Mapping[str, Any], key: str) -> tuple[float, ...]:
    value = _needed(path, said, key)
    numbers = value if isinstance(value, list) else [value] * 3
    if len(numbers) != 3 or not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):
        raise BadData(f"{path} says {value!r} for {key}, which must be a number a channel")
    if key.endswith("std") and 0 in numbers:
        raise BadData(f"{path} says {value!r} for {key}, by which values are divided")
    return tuple(float(one) for one in numbers)


def _filter(path: Path, said: Mapping[str, Any], key: str) -> str:
    value = _needed(path, said, key)
    if isinstance(value, int) and 0 <= value < len(_FILTERS):
        return _FILTERS[value]
    if value in _FILTERS:
        return str(value)
    raise BadData(f"{path} says {value!r} for {key}; known are {', '.join(_FILTERS)}")
