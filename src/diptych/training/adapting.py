"""Teaches a language model of a folder replies, by low-rank adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING

from diptych.llm import Prompt
from diptych.nets.adapters import adapted
from diptych.nets.optimizers import WarmedAdamW

if TYPE_CHECKING:
    from diptych.data.base import Split
    from diptych.llm.local import LocalModel
    from diptych.training.trainer import Trainer

__all__ = ["Lesson", "taught"]

Lesson = Callable[[int, int, Sequence[int]], tuple[Prompt, str]]
"""The prompt of a pair and the reply to it, of the rows of picture and text and a seed."""


def taught(
    model: LocalModel,
    split: Split,
    lesson: Lesson,
    trainer: Trainer,
    targets: str,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rank: int,
) -> None:
    """Teach a model, in memory; its folder stays as it is.

    Mean cross-entropy of replies, AdamW with the rates of InternLM-XComposer's released script: betas .9 and
    .95, weights decay by .1, a hundredth of the steps warms up and the rate falls along a cosine; adapters
    count fully, with a dropout of .05.

    Args:
        model: Of a folder.
        split: Whose pairs are taught.
        lesson: Of each pair, drawn anew in each epoch.
        trainer: Runs the loop.
        targets: A regular expression for the names of the maps that are adapted.
        epochs, batch_size: Passes over the pairs, and pairs in a batch.
        lr: The highest rate.
        rank: Of the adapters.

    Raises:
        UsageError: the model has no such maps.
        MissingExtra: peft is not installed.
    """
    net = model.loaded[0]
    steps = epochs * ceil(len(split.pairs) / batch_size)
    with adapted(net, targets, rank=rank, alpha=rank, dropout=0.05, seed=trainer.seed):
        optimizer = WarmedAdamW(
            [one for one in net.parameters() if one.requires_grad],
            lr,
            total=steps,
            warmup=round(0.01 * steps),
            betas=(0.9, 0.95),
            eps=1e-8,
            weight_decay=0.1,
        )
        for epoch in trainer.epochs(epochs, keep=(net, optimizer), validate=False):
            net.train()
            for batch in trainer.batches(split, batch_size):
                pairs = zip(batch.image_row.tolist(), batch.text_row.tolist(), strict=True)
                told = [lesson(*pair, (trainer.seed, epoch)) for pair in pairs]
                likely = [model.log_likelihood(prompt, reply) for prompt, reply in told]
                trainer.step(optimizer, {"reply": -sum(likely[1:], likely[0]) / len(likely)})
