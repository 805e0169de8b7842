"""Two small heads that meet in one space, as they are trained; `diptych.towers.heads.project` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats

__all__ = ["Head", "JointHeads"]

_FIRST_SCALE, _MOST_SCALE = 20.0, 100.0  # what cosines are multiplied by


class Head(nn.Module):
    """Standardise, then a linear map plus a two-layer one; unit rows (b, size).

    Args:
        inputs: (n, d) training inputs, for their mean and deviation.
        size: Dimensions given.
        width: Hidden units.
        drop: Dropout of the hidden units.
        inputs_drop: Dropout of the inputs.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, inputs: Floats, *, size: int = 384, width: int = 768, drop: float, inputs_drop: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(inputs.mean(axis=0)))
        self.register_buffer("scale", torch.from_numpy(inputs.std(axis=0) + 1e-3))
        self.inputs_drop, self.drop = nn.Dropout(inputs_drop), nn.Dropout(drop)
        self.linear = nn.Linear(inputs.shape[1], size)
        self.inner, self.outer = nn.Linear(inputs.shape[1], width), nn.Linear(width, size, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Unit vectors (b, size) of inputs (b, d)."""
        x = self.inputs_drop((inputs - self.mean) / self.scale)
        hidden = self.drop(functional.gelu(self.inner(x), approximate="tanh"))
        return functional.normalize(self.linear(x) + self.outer(hidden))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """What `project` needs, by name."""
        found = {
            "mean": self.mean,
            "scale": self.scale,
            "linear": self.linear.weight.T,
            "bias": self.linear.bias,
            "inner": self.inner.weight.T,
            "inner_bias": self.inner.bias,
            "outer": self.outer.weight.T,
        }
        return {f"{name}.{key}": value.detach().cpu().numpy().copy() for key, value in found.items()}


class JointHeads(nn.Module):
    """One head of pictures and one of texts, and the factor of their cosines.

    Args:
        images: (n, d) training features of pictures.
        texts: (t, e) training vectors of texts.
    """

    def __init__(self, images: Floats, texts: Floats) -> None:
        super().__init__()
        self.image = Head(images, drop=0.3, inputs_drop=0.3)
        self.text = Head(texts, drop=0.3, inputs_drop=0.1)
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(_FIRST_SCALE))))

    def loss(self, images: Tensor, texts: Tensor, image_row: Tensor) -> Tensor:
        """The symmetric contrastive loss of CLIP (Radford et al., fig. 3) on a batch of pairs.

        Args:
            images: (b, d).
            texts: (b, e).
            image_row: (b,) which picture each is; captions of the same picture are no wrong ones.
        """
        factor = self.log_scale.exp().clamp(max=_MOST_SCALE)
        logits = factor * self.image(images) @ self.text(texts).T
        same = image_row[:, None] == image_row
        logits = logits.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), -1e4)
        target = torch.arange(len(same), device=same.device)
        return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2

    def groups(self) -> list[Mapping[str, Any]]:
        """Parameter groups for an optimiser; the factor does not decay."""
        weights = [*self.image.parameters(), *self.text.parameters()]
        return [{"params": weights}, {"params": [self.log_scale], "weight_decay": 0.0}]

    def arrays(self, number: int) -> dict[str, NDArray[Any]]:
        """What `project` needs of both, under ``imageNUMBER`` and ``textNUMBER``."""
        return self.image.arrays(f"image{number}") | self.text.arrays(f"text{number}")
