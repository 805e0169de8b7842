"""Losses of discriminators, on logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["call_fake", "call_real"]


def call_real(logits: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (any shape) with "real"; ln 2 where the discriminator is unsure."""
    return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def call_fake(logits: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (any shape) with "fake"."""
    return functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
