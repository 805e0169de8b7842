"""How relevant a hit is that a scorer has looked at, too."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.towers.second_look import SecondLine


def drawn(count: int, shift: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles by a search that sees something, and scores of pairs that see more."""
    from statistics import NormalDist

    random = np.random.default_rng(seed)
    z = random.standard_normal(count) + shift / 2
    return np.array([NormalDist().cdf(one) for one in z]), 3 * random.standard_normal(count) + 3 * shift + 50


def test_percentiles_are_the_share_of_what_is_not_there() -> None:
    line = SecondLine.of(drawn(2_000, 1.5, seed=0), drawn(2_000, 0.0, seed=1))
    assert line is not None
    assert line.of_search > 0
    assert line.of_pair > 0
    absent = line.percentiles(*drawn(2_000, 0.0, seed=2))
    for share in (0.5, 0.9, 0.96):
        assert (absent < share).mean() == pytest.approx(share, abs=0.03)
    there = drawn(2_000, 1.5, seed=3)
    found = line.percentiles(*there)
    assert np.mean(found > 0.96) > np.mean(there[0] > 0.96) + 0.2  # the scorer tells more than the search did
    assert SecondLine.of_dict(line.as_dict()) == line


def test_a_scorer_that_tells_nothing_changes_little() -> None:
    random = np.random.default_rng(0)
    right, wrong = drawn(2_000, 2.0, seed=0), drawn(2_000, 0.0, seed=1)
    line = SecondLine.of((right[0], random.standard_normal(2_000)), (wrong[0], random.standard_normal(2_000)))
    assert line is not None
    found = line.percentiles(right[0], random.standard_normal(2_000))
    assert np.abs(found - right[0]).mean() < 0.05


def test_too_few_queries_or_nothing_to_tell_give_none() -> None:
    right, wrong = drawn(49, 1.0, seed=0), drawn(100, 0.0, seed=1)
    assert SecondLine.of(right, wrong) is None
    worse = drawn(100, -3.0, seed=2)
    assert SecondLine.of(worse, wrong) is None
