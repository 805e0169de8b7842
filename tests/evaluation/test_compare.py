"""Differences of two systems over the same queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych import evaluate
from diptych.data.given import vectors
from diptych.errors import UsageError
from diptych.evaluation import Evaluation, compare, rescore
from diptych.metrics import bootstrap, paired_differences


def reached(noise: float, *, seed: int = 0, count: int = 120, **options: object) -> Evaluation:
    """Of vectors that find their partners the worse the more noise there is."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((count, 16))
    text = image + noise * rng.standard_normal((count, 16))
    given = vectors(image, text, labels=np.arange(count) % 6, name=f"noise{noise}")
    return evaluate(*given, **options)  # type: ignore[arg-type]


def test_differences_against_the_literal_bootstrap() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((40, 2)), rng.random((40, 2))
    found = paired_differences(first, second, samples=300, seed=7)
    draws = np.random.default_rng(7)
    literal = []
    for _ in range(300):
        rows = draws.integers(40, size=40)
        literal.append([np.mean([first[r, m] - second[r, m] for r in rows]) for m in (0, 1)])
    for measure, one in enumerate(found):
        column = np.array(literal)[:, measure]
        assert one.value == pytest.approx((first - second)[:, measure].mean())
        assert (one.low, one.high) == pytest.approx(tuple(np.quantile(column, [0.025, 0.975])))
        assert one.p == pytest.approx(min(1, 2 * (min((column <= 0).sum(), (column >= 0).sum()) + 1) / 301))
    ends = zip(*bootstrap(first - second, samples=300, seed=7), strict=True)
    assert [(one.low, one.high) for one in found] == [pytest.approx(one) for one in ends]


def test_pairing_sees_what_two_intervals_hide() -> None:
    """Queries differ much more than the systems do on each."""
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    first, second = hard + 0.02 + 0.01 * rng.standard_normal(200), hard
    one = paired_differences(first[:, None], second[:, None])[0]
    assert one.sign == 1
    assert 0.017 < one.low < 0.02 < one.high < 0.022
    assert one.p == pytest.approx(2 / 2001)
    assert bootstrap(first)[0] < bootstrap(second)[1]
    back = paired_differences(second[:, None], first[:, None])[0]
    assert (back.sign, back.low, back.high) == (-1, -one.high, -one.low)


def test_seeds_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    base = rng.random((100, 1))
    seeds = np.stack([base + shift for shift in (-0.1, 0.05, 0.2)])
    wide, narrow = (paired_differences(one, base)[0] for one in (seeds, seeds.mean(axis=0)))
    assert wide.value == pytest.approx(narrow.value) == pytest.approx(0.05)
    assert (narrow.low, narrow.high) == pytest.approx((0.05, 0.05))
    assert wide.low == pytest.approx(-0.1)
    assert wide.high == pytest.approx(0.2)
    assert wide.sign == 0


def test_an_interval_of_equal_systems_covers_zero_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    signs = [
        paired_differences(*rng.standard_normal((2, 40, 1)), samples=100, seed=at)[0].sign
        for at in range(150)
    ]
    assert 0.01 <= np.mean(np.abs(signs)) <= 0.12


def test_the_better_system_is_told_by_measure_and_direction(tmp_path: Path) -> None:
    good, bad = reached(0.5), reached(1.5)
    found = compare(good, bad)
    for direction, part in found.differences.items():
        for name in ("MAP@ALL", "R@1", "NDCG@ALL"):
            expected = good.measured[direction][name] - bad.measured[direction][name]
            assert part[name].value == pytest.approx(expected)
            assert part[name].sign == 1
        assert "MedR" not in part
    same = compare(good, good).differences["image to text"]["MAP@ALL"]
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    for name, one in (("good", good), ("bad", bad)):
        one.save(tmp_path / name)
    again = compare(rescore(tmp_path / "good"), rescore(tmp_path / "bad"))
    assert again.as_json()["differences"] == found.as_json()["differences"]
    assert "MAP@ALL image to text +0." in repr(found)


def test_a_cut_ranking_is_compared_by_what_its_first_ranks_decide(tmp_path: Path) -> None:
    whole = compare(reached(0.5), reached(1.5)).differences["image to text"]
    for name, noise in (("good", 0.5), ("bad", 1.5)):
        reached(noise, keep=20).save(tmp_path / name)
    cut = compare(rescore(tmp_path / "good"), rescore(tmp_path / "bad")).differences["image to text"]
    assert set(cut) == {"P@1", "P@10", "R@1", "R@5", "R@10", "NDCG@10"}
    assert all(cut[name].value == pytest.approx(whole[name].value) for name in cut)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 126}, "the items asked and ranked differ"),
        ({"protocol": "pairs"}, "the protocol and what counts as a match differ"),
    ],
)
def test_systems_that_were_asked_other_things_are_not_compared(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=f"given vectors on noise0.5 and .* were not asked the same: {said}"):
        compare(reached(0.5), reached(1.5, **options))  # type: ignore[arg-type]


def test_values_of_other_queries_are_refused() -> None:
    with pytest.raises(UsageError, match=r"of the same queries and measures, not \(3, 1\) and \(4, 1\)"):
        paired_differences(np.zeros((3, 1)), np.zeros((4, 1)))
