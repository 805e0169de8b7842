"""A head of the built-in model while it is trained; `encoder.project` computes the same without torch."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats

__all__ = ["Head"]


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
        """What `encoder.project` needs, by name."""
        found = {
            "mean": self.mean,
            "scale": self.scale,
            "linear": self.linear.weight.T,
            "bias": self.linear.bias,
            "inner": self.inner.weight.T,
            "inner_bias": self.inner.bias,
            "outer": self.outer.weight.T,
        }
        return {f"{name}.{key}": value.detach().numpy().copy() for key, value in found.items()}
