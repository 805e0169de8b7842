"""Gradient reversal (Ganin, Lempitsky, ICML 2015): the identity forwards, minus `strength` backwards."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["reverse", "schedule"]


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse(x: Tensor, strength: float) -> Tensor:
    """x itself, whose gradient comes back multiplied by -strength."""
    result: Tensor = _Reverse.apply(x, strength)  # type: ignore[no-untyped-call]
    return result


def schedule(progress: float) -> float:
    """2 / (1 + exp(-10 progress)) - 1: from 0 at the start to nearly 1 at the end (same paper, section 5)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1
