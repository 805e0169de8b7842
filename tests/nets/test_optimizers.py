"""AdamW's schedule by hand, and against AdamW itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diptych.nets.optimizers import WarmedAdamW


def test_the_rate_rises_in_equal_steps_and_falls_along_a_cosine() -> None:
    found = [WarmedAdamW.schedule(done, 12, 4) for done in (0, 1, 3, 4, 6, 8, 10, 12)]
    assert found == pytest.approx([0.25, 0.5, 1, 1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)
    assert WarmedAdamW.schedule(0, 1, 0) == 1


def made(parameters: list[Any], total: int = 8) -> WarmedAdamW:
    return WarmedAdamW(parameters, 0.1, total=total, warmup=2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)


def stepped(weights: torch.Tensor, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        weights.grad = torch.tensor([1.0, -2.0]) * (step + 1)
        optimizer.step()


def test_each_step_is_one_of_adamw_at_that_rate() -> None:
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2))
    optimizer = made([{"params": [ours], "weight_decay": 0.5}])
    plain = torch.optim.AdamW([theirs], lr=1, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.5)
    for step in range(8):
        plain.param_groups[0]["lr"] = 0.1 * WarmedAdamW.schedule(step, 8, 2)
        stepped(ours, optimizer, range(step, step + 1))
        stepped(theirs, plain, range(step, step + 1))
        assert torch.equal(ours, theirs)


def test_its_state_knows_where_the_schedule_stands() -> None:
    whole, parts = (torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2))
    stepped(whole, made([whole]), range(6))
    first, second = made([parts]), made([parts])
    stepped(parts, first, range(3))
    second.load_state_dict(first.state_dict())
    stepped(parts, second, range(3, 6))
    assert torch.equal(whole, parts)
