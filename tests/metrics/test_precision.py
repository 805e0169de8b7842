"""Average precision: the four denominators, literally, and its bounds over all orders of ties."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from literal import literal_ap

from diptych import metrics
from diptych.metrics import TieGroups


@pytest.mark.parametrize(
    ("k", "denominator", "expected"),
    [
        (None, "retrieved", 0.475),
        (2, "retrieved", 0.5),
        (2, "port", 0.45),
        (2, "min", 0.25),
        (2, "total", 0.125),
    ],
)
def test_denominators_of_binary_systems(k: int | None, denominator: Any, expected: float) -> None:
    ranked = [[0, 1, 0, 0, 1, 1, 0, 1]]
    assert metrics.average_precision(ranked, k=k, denominator=denominator)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("k", "denominator", "expected"),
    [
        (None, "retrieved", 0.7222),
        (4, "retrieved", 0.8333),
        (4, "total", 0.5556),
        (4, "min", 0.5556),
        (2, "retrieved", 1.0),
        (2, "total", 0.3333),
        (2, "min", 0.5),
    ],
)
def test_denominators_of_real_valued_systems(k: int | None, denominator: Any, expected: float) -> None:
    found = metrics.average_precision([[1, 0, 1, 0, 0, 1]], k=k, denominator=denominator)
    assert found[0] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("denominator", ["retrieved", "total", "min", "port"])
@pytest.mark.parametrize("k", [None, 1, 3, 4, 6, 20])
def test_average_precision_literally(k: int | None, denominator: Any) -> None:
    rng = np.random.default_rng(3)
    relevant = rng.random((40, 9)) < 0.3
    relevant[0] = False
    found = metrics.average_precision(relevant, k=k, denominator=denominator)
    assert found == pytest.approx([literal_ap(row, k, denominator) for row in relevant])


@pytest.mark.parametrize("denominator", ["retrieved", "total", "min", "port"])
@pytest.mark.parametrize("k", [None, 1, 2, 3, 4, 5, 6])
def test_tie_bounds_equal_all_orders(k: int | None, denominator: Any) -> None:
    """Every order inside the groups is written out."""
    rng = np.random.default_rng(1)
    for _ in range(25):
        sizes = rng.permutation([1, 2, 3, 0])
        hits = np.array([rng.integers(0, size + 1) for size in sizes])
        groups = [[1] * hit + [0] * (size - hit) for size, hit in zip(sizes, hits, strict=True)]
        orders = [
            literal_ap([*itertools.chain(*parts)], k, denominator)
            for parts in itertools.product(*(list(itertools.permutations(group)) for group in groups))
        ]
        found = TieGroups(sizes[None], hits[None]).average_precision(k=k, denominator=denominator)
        assert found["best"][0] == pytest.approx(max(orders))
        assert found["worst"][0] == pytest.approx(min(orders))
        assert found["expected"][0] == pytest.approx(np.mean(orders))


def test_constant_codes_depend_on_order_alone() -> None:
    """18,015 equal codes, half of them relevant: 1.0, 0.3069 or 0.5002."""
    sizes, hits = np.array([[18015]]), np.array([[9008]])
    found = TieGroups(sizes, hits).average_precision()
    assert found["best"][0] == pytest.approx(1.0)
    assert found["worst"][0] == pytest.approx(0.3069, abs=2e-4)
    assert found["expected"][0] == pytest.approx(0.5002, abs=2e-4)
