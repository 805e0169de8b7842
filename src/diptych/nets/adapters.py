"""Low-rank adapters (Hu et al., "LoRA", ICLR 2022) by peft: in place, merged into the weights at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from diptych.errors import UsageError
from diptych.optional import optional

__all__ = ["adapted"]


@contextmanager
def adapted(
    model: nn.Module,
    targets: str | Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    seed: int = 0,
) -> Iterator[nn.Module]:
    """A model of which only low-rank changes of some linear maps are trained.

    Args:
        model: All else of it is frozen; on leaving, the changes are added to its own weights.
        targets: Ends of the maps' names, or a regular expression that whole names match.
        rank: Of the changes.
        alpha: They count alpha / rank.
        dropout: Of what they read.
        seed: Of their start.

    Raises:
        MissingExtra: peft is not installed.
        UsageError: the model has no such maps.
    """
    peft = optional("peft", "fine-tuning by low-rank adapters", "towers")
    chosen = targets if isinstance(targets, str) else list(targets)
    config: Any = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            changed = peft.LoraModel(model, config, "default")
        except ValueError as error:
            raise UsageError(f"the model has no linear maps called {targets} to adapt") from error
    try:
        yield model
    finally:
        changed.merge_and_unload()
        model.requires_grad_(False).eval()
