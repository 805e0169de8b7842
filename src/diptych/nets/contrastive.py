"""The losses that dual towers are trained with, and a batch for them that is larger than the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

__all__ = ["MOST_SCALE", "in_parts", "info_nce", "keep_within", "others_of_the_same", "pairwise_sigmoid"]

MOST_SCALE = 100.0
"""What cosines are multiplied by at most (Radford et al., ICML 2021, section 2.5)."""


def others_of_the_same(rows: Tensor) -> Tensor:
    """(b, b) bool: pairs of a batch that show the same item (b,) and are not the pair itself.

    They are no partners by the pairing, and no wrong ones either: neither counts.
    """
    same = rows[:, None] == rows[None, :]
    return same & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)


def info_nce(
    scores: Tensor, left_out: Tensor | None = None, *, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each image among the texts, and of each text among the images: two numbers.

    Radford et al., ICML 2021, figure 3; with smoothing Jia et al., ICML 2021 (ALIGN), section 4.1.

    Args:
        scores: (b, b) of images (rows) with texts (columns), times the scale; pairs on the diagonal.
        left_out: (b, b) bool, symmetric: what is neither a partner nor a wrong answer.
        smoothing: Share of the target that goes to all answers alike, those left out excepted.
    """
    left_out = torch.zeros_like(scores, dtype=torch.bool) if left_out is None else left_out

    def one(logits: Tensor) -> Tensor:
        likely = logits.masked_fill(left_out, -torch.inf).log_softmax(dim=1)
        own = likely.diagonal()
        even = likely.masked_fill(left_out, 0.0).sum(dim=1) / (~left_out).sum(dim=1)
        return -((1 - smoothing) * own + smoothing * even).mean()

    return one(scores), one(scores.T)


def pairwise_sigmoid(logits: Tensor, left_out: Tensor | None = None) -> Tensor:
    """SigLIP's loss, one number: each pair by itself, right or wrong (Zhai et al., ICCV 2023, eq. 1).

    Args:
        logits: (b, b) scale times cosine plus bias.
        left_out: (b, b) bool: pairs that do not count.
    """
    sign = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    losses = -functional.logsigmoid(sign * logits)
    return (losses if left_out is None else losses.masked_fill(left_out, 0.0)).sum() / len(logits)


def in_parts(net: nn.Module, run: Callable[[Any], Tensor], parts: Sequence[Any]) -> Tensor:
    """What a network gives for a batch in parts, with the memory of one part (Gao et al., 2021: GradCache).

    Only the outputs of the parts are kept; the backward pass runs each part again, so that the gradients are
    those of the whole batch. Draws (dropout) are the same the second time, and running statistics of batch
    normalisation are counted once. These statistics are of a part, not of the batch.

    Args:
        net: The network.
        run: From a part to its outputs (b, d), by the network.
        parts: At least one.
    """
    if len(parts) == 1:
        return run(parts[0])

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(net)

    found = [checkpoint(run, part, use_reentrant=False, context_fn=contexts) for part in parts]
    return torch.cat(found)


@contextmanager
def _statistics_kept(net: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of the batch without remembering them."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def keep_within(log_scale: Tensor) -> None:
    """Let the logarithm of a learned scale not exceed that of `MOST_SCALE`, in place."""
    with torch.no_grad():
        log_scale.clamp_(max=math.log(MOST_SCALE))
