"""A linear map that is computed instead of trained, and the statistics it is computed from."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from diptych.data.base import Split

__all__ = ["Affine", "correlated", "directions", "paired"]

# Numbers of directions are tried one after the other on the same data, and share what is dear.
_SOLVED: WeakKeyDictionary[Split, dict[float, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


class Affine(nn.Module):
    """((x - mean) / scale) @ weight, with nothing that a gradient changes.

    Random weights until `standardise` and whoever computes `weight` have filled it.

    Args:
        inputs, outputs: Dimensions.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("weight", torch.randn(inputs, outputs))

    def standardise(self, rows: Tensor) -> Tensor:
        """Take mean and deviation from training rows (n, inputs); returns the rows z-scored, in float64.

        A constant column keeps the scale 1. The rows stay where they are, in main memory as a rule: what is
        solved at once is solved there, because not every device knows float64.
        """
        rows = rows.double()
        scale = rows.std(dim=0, correction=0)
        self.mean.copy_(rows.mean(dim=0))
        self.scale.copy_(torch.where(scale > 0, scale, 1))
        return (rows - self.mean.to(rows)) / self.scale.to(rows)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b, outputs)."""
        return ((x - self.mean) / self.scale) @ self.weight


def paired(split: Split) -> tuple[Tensor, Tensor]:
    """Image and text features of all true pairs, (p, d) each, in main memory."""
    sides = zip((split.image, split.text), split.pairs.T, strict=True)
    # Rows are chosen first, as an array that is mapped from a file cannot be written and PyTorch warns of it.
    image, text = (torch.from_numpy(np.asarray(side)[rows]) for side, rows in sides)
    return image, text


def directions(split: Split) -> int:
    """How many directions relate the two sides of the split's pairs: no more than either side has dimensions,
    and one fewer than it has different items, as they are centred.
    """
    items = (len(np.unique(rows)) - 1 for rows in split.pairs.T)
    return int(max(min(*items, *(np.shape(side)[1] for side in (split.image, split.text))), 1))


def correlated(
    image_net: Affine, text_net: Affine, split: Split, *, ridge: float, dim: int
) -> tuple[Tensor, Tensor]:
    """Projections (d_image, k) and (d_text, k) of canonical correlation analysis, in float64.

    Takes mean and deviation of the training pairs into both maps. With C the covariances of z-scored
    features, U S V^T = Cxx^(-1/2) Cxy Cyy^(-1/2) gives Cxx^(-1/2) U and Cyy^(-1/2) V.

    Args:
        image_net, text_net: Get the statistics, not the projections.
        split: Its pairs.
        ridge: Added to the diagonal of both covariances, in units of the mean variance.
        dim: k, the most correlated first; never more than `directions` of the split.
    """
    image, text = paired(split)
    x, y = image_net.standardise(image), text_net.standardise(text)
    known = _SOLVED.setdefault(split, {})
    if ridge not in known:
        first, second = (_root_inverse(_covariance(rows, ridge)) for rows in (x, y))
        left, _, right = torch.linalg.svd(first @ (x.T @ y / len(x)) @ second, full_matrices=False)
        known[ridge] = first @ left, second @ right.T
    k = min(dim, directions(split))
    return known[ridge][0][:, :k], known[ridge][1][:, :k]


def _covariance(rows: Tensor, ridge: float) -> Tensor:
    covariance = rows.T @ rows / len(rows)
    return covariance + ridge * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)


def _root_inverse(matrix: Tensor) -> Tensor:
    """C^(-1/2) of a symmetric positive definite matrix (d, d)."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.einsum("ij,j,kj->ik", vectors, values.rsqrt(), vectors)
