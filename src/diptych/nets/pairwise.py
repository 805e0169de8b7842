"""Label similarity and the pairwise likelihood that hashing systems share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import UsageError

__all__ = ["likelihood", "pair_labels", "share_a_label", "sign"]


def share_a_label(first: Tensor, second: Tensor) -> Tensor:
    """1 where two items share at least one label, else 0.

    Args:
        first: (a, C), multi-hot.
        second: (b, C), multi-hot.

    Returns:
        (a, b) of the type of `first`.
    """
    return (first @ second.T > 0).to(first.dtype)


def likelihood(first: Tensor, second: Tensor, similar: Tensor) -> Tensor:
    """Negative log-likelihood of the similarities given real-valued codes (DCMH, arXiv 1602.02255, eq. 1).

    With theta = first second^T / 2 every entry is log(1 + exp(theta)) - S theta; softplus does not overflow
    where the literal logarithm does.

    Args:
        first: (a, c).
        second: (b, c).
        similar: (a, b) in {0, 1}.

    Returns:
        (a, b), not yet summed: systems differ in whether they take the sum or the mean.
    """
    theta = first @ second.T / 2
    return functional.softplus(theta) - similar * theta


def sign(values: Tensor) -> Tensor:
    """+1 where positive or zero, else -1; a plain sign would leave zeros in the codes."""
    return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)


def pair_labels(split: Split, device: torch.device) -> Tensor:
    """Labels (p, C) float32 of the split's pairs, those of their images.

    Raises:
        UsageError: the split has no labels.
    """
    if split.label is None:
        raise UsageError("this system learns from labels, and the training data have none")
    return torch.from_numpy(split.label[split.pairs[:, 0]]).float().to(device)
