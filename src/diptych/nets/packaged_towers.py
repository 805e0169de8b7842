"""Dual towers on the two backbones that come with Diptych, which stay as they are: small heads learn.

EfficientNet-Lite0 and MiniLM run in ONNX Runtime, once for each picture and each text of a training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats, Side
from diptych.errors import BadData, MissingData
from diptych.media.pictures import batches
from diptych.optional import optional
from diptych.towers.onnx import IMAGE_SIZE, WEIGHTS, ImageTower, TextTower, prepare_image

__all__ = ["PackagedTowers"]

_DIMS = {"image": 1280, "text": 384}
_MOST_TEXTS = 200_000  # whose vectors are kept, of 1.5 KB each
_FILE = "model.safetensors"


class Heads(nn.Module):
    """One head a side, and the logarithm of the factor of their cosines.

    Args:
        dim: Dimensions of the common space.
        width: Hidden units.
        dropout: Of the inputs and the hidden units.
    """

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.image, self.text = (Head(_DIMS[side], dim, width, dropout) for side in ("image", "text"))
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())


class Head(nn.Module):
    """A linear map and a perceptron of two layers, added up, of normalised inputs."""

    def __init__(self, inputs: int, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(inputs), nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, dim)
        self.inner, self.outer = nn.Linear(inputs, width), nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b, dim)."""
        x = self.drop(self.norm(x))
        found: Tensor = self.linear(x) + self.outer(self.drop(functional.gelu(self.inner(x))))
        return found


class PackagedTowers:
    """Both backbones and the heads; what `diptych.towers.transformers.DualTowers` is for a checkpoint.

    Args:
        device: "auto" and "cpu" are the same: the backbones run on the processor; a training moves the heads.
        batch_size: Pictures or texts that go through a tower at once.
        dim, width, dropout: See `Heads`.
    """

    kind = "packaged"
    image_size = IMAGE_SIZE

    def __init__(
        self,
        *,
        device: str = "auto",
        batch_size: int = 32,
        dim: int = 384,
        width: int = 768,
        dropout: float = 0.3,
    ) -> None:
        self.batch_size, self.dim = batch_size, dim
        self.model = Heads(dim, width, dropout).eval().requires_grad_(False)
        self._read: dict[str, Floats] = {}

    @classmethod
    def of(cls, folder: Path, **options: Any) -> Self:
        """Those that `save` wrote.

        Raises:
            MissingData: there are none.
            BadData: they are damaged, or others.
        """
        files = optional("safetensors.torch", "the weights of a trained system", "train")
        towers, path = cls(**options), folder / _FILE
        if not path.is_file():
            raise MissingData(f"{folder} has no {_FILE}; give a folder that `diptych train` wrote")
        try:
            towers.model.load_state_dict(files.load_file(path))
        except (RuntimeError, OSError, optional("safetensors", "weights", "train").SafetensorError) as error:
            raise BadData(f"{path} does not hold these heads ({str(error).splitlines()[0]})") from error
        return towers

    def save(self, folder: Path) -> None:
        """Write the heads; the folder is made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        optional("safetensors.torch", "the weights of a trained system", "train").save_file(
            state, folder / _FILE
        )

    @property
    def device(self) -> torch.device:
        """Where the heads are."""
        return self.model.logit_scale.device

    def digest(self, **settings: Any) -> str:
        """24 hex digits over weights of heads and backbones, and what else is given."""
        digest = hashlib.sha256(f"1 {sorted(settings.items())}".encode())
        digest.update((WEIGHTS / "image.onnx").read_bytes())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:24]

    @cached_property
    def _image_tower(self) -> ImageTower:
        return ImageTower(1)

    @cached_property
    def _text_tower(self) -> TextTower:
        return TextTower()

    def prepare_image(self, picture: Any) -> Floats:
        """What the backbone makes of a picture, (1280,) float32.

        Raises:
            ImageError: the picture cannot be read.
        """
        found: Floats = self._image_tower(prepare_image(picture)[None])[0][0]
        return found

    def image_inputs(self, ready: NDArray[Any]) -> dict[str, Tensor]:
        """What the head takes of results of `prepare_image`, stacked (b, 1280)."""
        return {"inputs": torch.from_numpy(ready)}

    def text_inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the head takes of texts, (b, 384)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        if len(self._read) + len(new) > _MOST_TEXTS:
            self._read, new = {}, list(dict.fromkeys(texts))
        if new:
            self._read |= zip(new, self._text_tower(new), strict=True)
        return {"inputs": torch.from_numpy(np.stack([self._read[text] for text in texts]))}

    def vectors(self, side: Side, inputs: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors (b, dim) on the device, with their gradients where the heads are trained."""
        head = self.model.image if side == "image" else self.model.text
        return functional.normalize(head(inputs["inputs"].to(self.device)).float(), dim=1)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, dim) float32 of pictures, or of results of `prepare_image`."""
        return self._encoded("image", [self.image_inputs(ready) for ready in batches(images, self)])

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, dim) float32 of texts."""
        starts = range(0, len(texts), self.batch_size)
        parts = [self.text_inputs(texts[start : start + self.batch_size]) for start in starts]
        return self._encoded("text", parts)

    def _encoded(self, side: Side, parts: Sequence[Mapping[str, Tensor]]) -> Floats:
        found = [np.empty((0, self.dim), np.float32)]
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            with torch.inference_mode():
                found += [self.vectors(side, part).cpu().numpy() for part in parts]
        finally:
            for module, mode in modes.items():
                module.training = mode
        return np.concatenate(found)
