"""Where a training runs, by itself: one process, and what Accelerate does for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diptych.errors import BadParameter
from diptych.training.processes import Accelerated, Processes


def one(precision: Any = "fp32") -> Processes:
    return Processes.of(precision, 1, "cpu")


def test_one_process_in_full_precision_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    found = one()
    assert type(found) is Processes
    assert (found.rank, found.count, found.main, found.cards) == (0, 1, True, [])
    assert found.device == torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_built(precision: Any) -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    for device in (absent, "banana", "cuda:99"):
        with pytest.raises(
            BadParameter, match=rf"cannot compute on the device '{device}' here \(.+\); take cpu"
        ):
            Processes.of(precision, 1, device)


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_process_is_refused(count: int) -> None:
    with pytest.raises(BadParameter, match=f"at least 1, not {count}"):
        Processes.of("fp32", count, "cpu")


def test_more_processes_than_were_started_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadParameter, match="3 processes were asked for, but 2 were started"):
        Processes.of("fp32", 3, "cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_goes_down_by_the_clipped_gradient(precision: str) -> None:
    found = one(precision)
    assert isinstance(found, Accelerated) == (precision == "bf16")
    used, unused = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([used], lr=1.0)
    total = (used**2).sum() / 2 + unused.sum()  # its gradient is the parameter itself, of norm 5
    found.descend(optimizer, total, [used], share=1.0, clip=1.0)
    assert used.tolist() == pytest.approx([3 - 0.6, 4 - 0.8], abs=1e-5)
    assert unused.grad is None  # only what the optimiser holds gets a gradient


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_process_keeps_everything_to_itself(precision: str) -> None:
    found = one(precision)
    rows = np.array([4, 2, 7])
    mine, share = found.part(rows)
    assert (mine.tolist(), share) == ([4, 2, 7], 1.0)
    assert (found.told(0.25), found.all_of("x")) == (0.25, ["x"])
    module = nn.Linear(2, 2)
    before = module.weight.tolist()
    found.agree([module])
    with found.rows_shared([module.weight]):
        pass
    assert module.weight.tolist() == before
    found.wait()


def test_several_processes_share_a_batch_so_that_the_mean_of_their_means_is_its_mean() -> None:
    made: list[Any] = []
    for rank in range(3):
        found = object.__new__(Accelerated)
        found.rank, found.count = rank, 3  # type: ignore[misc]
        made.append(found)
    rows, values = np.arange(10, 20), np.random.default_rng(0).random(20)
    parts = [found.part(rows) for found in made]
    assert sorted(np.concatenate([mine for mine, _ in parts])) == rows.tolist()
    assert np.mean([values[mine].mean() * share for mine, share in parts]) == pytest.approx(
        values[rows].mean()
    )
    # Fewer pairs than processes go to all of them.
    assert all(found.part(rows[:2])[0].tolist() == [10, 11] for found in made)


def test_bf16_rounds_the_forward_pass() -> None:
    with one("bf16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with one().autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
