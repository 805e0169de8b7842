"""Losses against class labels that several systems share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["class_loss", "shares"]


def shares(label: Tensor) -> Tensor:
    """Multi-hot labels (n, C) as a distribution over the classes: 1 / (number of labels) on each."""
    return label / label.sum(dim=1, keepdim=True).clamp(min=1)


def class_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, C) with labels (n, C); several labels of an item count equally."""
    return functional.cross_entropy(logits, shares(label))
