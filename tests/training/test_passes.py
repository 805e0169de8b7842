"""Passes over the data may be nested, interleaved and left early; nothing of one outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from diptych.data.sets.planted import Planted
from diptych.errors import TrainingError
from diptych.training.passes import Passes
from diptych.training.trainer import Trainer

SPLIT = Planted(train=50).split("train")


class Watched:
    """Counts the open forward regions."""

    def __init__(self) -> None:
        self.open = self.begun = 0

    @contextmanager
    def region(self) -> Iterator[None]:
        self.open, self.begun = self.open + 1, self.begun + 1
        yield
        self.open -= 1


def walk(passes: Passes, shares: list[float]) -> Iterator[float]:
    with passes.one() as at:
        for share in shares:
            at(share)
            yield share


def test_each_batch_has_a_region_of_its_own() -> None:
    watched = Watched()
    passes = Passes(watched.region)
    for _ in walk(passes, [1, 1, 1]):
        assert watched.open == 1
    assert (watched.open, watched.begun) == (0, 3)


def test_interleaved_passes_leave_nothing_open() -> None:
    watched = Watched()
    passes = Passes(watched.region)
    for _ in zip(walk(passes, [1, 1]), walk(passes, [1, 1, 1]), strict=False):
        assert watched.open == 1
    assert watched.open == 0


def test_an_inner_pass_gives_the_outer_batch_back() -> None:
    watched = Watched()
    passes = Passes(watched.region)
    for share in walk(passes, [0.5, 2.0]):
        assert list(walk(passes, [1.0, 3.0])) == [1.0, 3.0]
        assert watched.open == 1
        assert passes.share() == share
    assert watched.open == 0
    assert passes.share() == 1


def test_batches_that_count_differently_are_refused() -> None:
    passes = Passes(Watched().region)
    for _ in zip(walk(passes, [0.5]), walk(passes, [2.0]), strict=True):
        with pytest.raises(TrainingError, match="give step the batch that its terms are of"):
            passes.share()
    assert passes.share() == 1


def test_a_pass_that_was_not_gone_through_rests_at_the_end_of_the_epoch() -> None:
    trainer = Trainer(quiet=True, device="cpu", precision="bf16")
    held = None
    for _ in trainer.epochs(1):
        held = trainer.batches(SPLIT, 10)
        next(held)
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert held is not None


def test_interleaved_batches_in_mixed_precision_end_in_full_precision() -> None:
    trainer = Trainer(quiet=True, device="cpu", precision="bf16")
    for _ in zip(trainer.batches(SPLIT, 10), trainer.batches(SPLIT, 25), strict=False):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_a_loop_that_an_error_leaves_is_in_full_precision_again() -> None:
    trainer, caught = Trainer(quiet=True, device="cpu", precision="bf16"), None
    try:
        for _ in trainer.batches(SPLIT, 10):
            raise ValueError
    except ValueError as error:
        caught = error
    assert caught is not None
    assert not torch.is_autocast_enabled("cpu")


def test_a_step_counts_the_batch_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, counted = Trainer(quiet=True, device="cpu"), []
    shares = iter((0.5, 2.0))
    monkeypatch.setattr(trainer._processes, "part", lambda rows: (rows, next(shares)))
    monkeypatch.setattr(trainer._processes, "descend", lambda *_, share, clip: counted.append(share))
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer, terms = torch.optim.SGD([weight], lr=1.0), {"weight": weight}

    def both(**of: Any) -> None:
        trainer.step(optimizer, terms, **of)

    for first, second in zip(trainer.batches(SPLIT, 50), trainer.batches(SPLIT, 50), strict=True):
        both(batch=first)
        both(batch=second)
        with pytest.raises(TrainingError, match="two passes"):
            both()
    both()
    assert counted == [0.5, 2.0, 1.0]
