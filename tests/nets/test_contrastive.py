"""The contrastive losses give the values computed by hand, and a batch in parts its own gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.nets.contrastive import in_parts, info_nce, keep_within, others_of_the_same, pairwise_sigmoid

SCORES = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.8, 0.4], [0.0, 0.5, 0.7]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("scale", "smoothing", "there", "back"),
    [
        (1 / 0.07, 0.0, 0.0200079, 0.0093019),
        (10.0, 0.0, 0.0512408, 0.0348301),
        (10.0, 0.1, 0.4179074, 0.4014968),
        (1.0, 0.0, 0.7760238, 0.7757885),
        (1.0, 0.1, 0.8126904, 0.8124552),
    ],
)
def test_both_directions_by_hand(scale: float, smoothing: float, there: float, back: float) -> None:
    found = info_nce(scale * SCORES, smoothing=smoothing)
    assert [one.item() for one in found] == pytest.approx([there, back], abs=5e-8)


@pytest.mark.parametrize(("scale", "slope"), [(1 / 0.07, -0.0502981), (10.0, -0.1142201)])
def test_the_gradient_of_the_logarithm_of_the_scale_by_hand(scale: float, slope: float) -> None:
    log_scale = torch.tensor(math.log(scale), dtype=torch.float64, requires_grad=True)
    (sum(info_nce(log_scale.exp() * SCORES)) / 2).backward()
    assert log_scale.grad is not None
    assert log_scale.grad.item() == pytest.approx(slope, abs=5e-8)


@pytest.mark.parametrize(("smoothing", "slope"), [(0.0, 0.5575), (0.1, 0.4842)])
def test_the_gradient_of_a_temperature_has_the_other_sign(smoothing: float, slope: float) -> None:
    temperature = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    sum(info_nce(SCORES / temperature, smoothing=smoothing)).backward()
    assert temperature.grad is not None
    assert temperature.grad.item() == pytest.approx(slope, abs=5e-5)


def test_the_gradient_of_the_scores_by_hand() -> None:
    scores = SCORES.clone().requires_grad_()
    (sum(info_nce(10 * scores)) / 2).backward()
    expected = [
        [-0.006402, 0.005444, 0.004484],
        [0.015076, -0.123518, 0.108637],
        [0.001543, 0.277369, -0.282633],
    ]
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor(expected, dtype=torch.float64), atol=5e-7, rtol=0)


def test_the_sigmoid_loss_by_hand() -> None:
    assert pairwise_sigmoid(10 * SCORES - 10).item() == pytest.approx(2.166461, abs=5e-7)


def test_a_batch_of_identical_pairs_costs_the_logarithm_of_its_size() -> None:
    assert [one.item() for one in info_nce(torch.full((7, 7), 3.0))] == pytest.approx([math.log(7)] * 2)


def test_other_captions_of_a_picture_are_neither_right_nor_wrong() -> None:
    """Literally: the denominator of a row is over its own pair and the pairs of other pictures."""
    rows = torch.tensor([4, 9, 4])
    scores = 10 * SCORES
    left_out = others_of_the_same(rows)
    assert left_out.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    for smoothing in (0.0, 0.2):
        for found, matrix in zip(
            info_nce(scores, left_out, smoothing=smoothing), (scores, scores.T), strict=True
        ):
            losses = []
            for row in range(3):
                counted = [at for at in range(3) if at == row or rows[at] != rows[row]]
                total = math.log(sum(math.exp(matrix[row, at]) for at in counted))
                likely = {at: matrix[row, at].item() - total for at in counted}
                even = sum(likely.values()) / len(likely)
                losses.append(-(1 - smoothing) * likely[row] - smoothing * even)
            assert found.item() == pytest.approx(sum(losses) / 3)
    wrong = sum(
        math.log1p(math.exp((-1 if row == at else 1) * (scores[row, at].item() - 5)))
        for row in range(3)
        for at in range(3)
        if row == at or rows[row] != rows[at]
    )
    assert pairwise_sigmoid(scores - 5, left_out).item() == pytest.approx(wrong / 3)


class Tower(nn.Module):
    """With all that makes a second pass differ: draws, and statistics that are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.GELU(), nn.Linear(8, 4))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.norm(self.net(x)))


def test_gradients_in_parts_are_those_of_the_parts_together() -> None:
    """The same draws, part by part, once with all activations kept and once in the memory of one part."""
    torch.manual_seed(3)
    tower, x = Tower(), torch.randn(12, 6)
    parts = x.split(4)

    def learned(found: Tensor) -> tuple[list[Tensor], Tensor]:
        tower.zero_grad()
        (sum(info_nce(5 * found @ found.T.detach().roll(1, 1))) / 2).backward()
        return [p.grad.clone() for p in tower.parameters() if p.grad is not None], found.detach()

    state = {key: value.clone() for key, value in tower.state_dict().items()}
    torch.manual_seed(5)
    expected, outputs = learned(torch.cat([tower(part) for part in parts]))
    after = {key: value.clone() for key, value in tower.state_dict().items()}
    tower.load_state_dict(state)
    torch.manual_seed(5)
    found, again = learned(in_parts(tower, tower, parts))
    torch.testing.assert_close(again, outputs)
    torch.testing.assert_close(found, expected)
    for key in ("norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(tower.state_dict()[key], after[key])


def test_parts_keep_the_activations_of_one_part_alone() -> None:
    """Counted as tensors that the forward pass saves: none but what the parts came from."""
    wide = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, 4))
    x = torch.randn(32, 6)

    def saved(parts: tuple[Tensor, ...]) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            in_parts(wide, wide, parts)
        return sum(sizes)

    assert saved((x,)) > 32 * 64
    assert saved(x.split(4)) < 32 * 64


def test_the_scale_stays_within_a_hundred() -> None:
    log_scale = nn.Parameter(torch.tensor(7.0))
    keep_within(log_scale)
    assert log_scale.item() == pytest.approx(4.60517)
    keep_within(log_scale.data.fill_(1.0))
    assert log_scale.item() == 1.0
