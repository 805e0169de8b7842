"""Scales inputs with the statistics of the training data, as a layer, so that it travels with them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import Floats
from diptych.errors import BadParameter

__all__ = ["Scaling", "ScalingKind", "fit_scaling"]

ScalingKind = Literal["none", "global", "standard"]


class Scaling(nn.Module):
    """(x - mean) / deviation, once `fit` has seen the training data; the identity before.

    Args:
        dim: Features of an input.
        kind: "none" leaves inputs alone; "global" divides by one number, the deviation of all entries, and so
            keeps the ratios between features (principal components must not be blown up); "standard" gives
            every feature mean 0 and deviation 1.

    Raises:
        BadParameter: another kind.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, kind: str = "none") -> None:
        super().__init__()
        if kind not in ("none", "global", "standard"):
            raise BadParameter(f"scaling must be none, global or standard, not {kind!r}")
        self.kind = kind
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def fit(self, features: Floats) -> None:
        """Take the statistics of features (n, dim); a feature that never varies is only centred."""
        values = np.asarray(features, np.float64)
        if self.kind == "standard":
            deviation = values.std(axis=0)
            self.mean.copy_(torch.from_numpy(values.mean(axis=0)))
            self.deviation.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))
        elif self.kind == "global":
            self.deviation.fill_(float(values.std()) or 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(b, dim) to (b, dim)."""
        return (x - self.mean) / self.deviation


def fit_scaling(net: nn.Module, features: Floats) -> None:
    """Let every `Scaling` in a network take the statistics of its training inputs (n, dim)."""
    for module in net.modules():
        if isinstance(module, Scaling):
            module.fit(features)
