"""The metrics of composed and dialogue retrieval, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diptych.core import Hits, Item, Run
from diptych.data.composed import Composed, ComposedQuery
from diptych.errors import UsageError
from diptych.evaluation.composed import (
    composed_average_precision,
    measure_composed,
    rank_composed,
    recalled,
)
from diptych.evaluation.dialogue import (
    answering,
    best_log_rank_integral,
    hits_by_round,
    measure_rounds,
    ranks_by_round,
)
from diptych.testing import Colours

RANKS = np.array([[30, 12, 8, 15], [3, 50, 50, 50], [40, 30, 20, 11]])


def test_average_precision_divides_by_what_can_be_found() -> None:
    assert composed_average_precision(list("axbyc"), list("abcd"), 5) == pytest.approx(
        (1 + 2 / 3 + 3 / 5) / 4
    )
    assert composed_average_precision(list("xaxyz"), ["a"], 5) == 0.5
    assert composed_average_precision(list("abcde"), list("abcdefghi"), 5) == 1.0
    assert composed_average_precision([], ["a"], 5) == 0.0
    assert recalled(["a"], ["b"], 1) == 0.0


def test_the_reference_is_no_answer_in_cirr() -> None:
    query = ComposedQuery("ref", "red", ("hit",), ("ref", "hit", "near"))
    data = Composed("CIRR", [query, query], {"": ["ref", "hit", "near", "x"]})
    found = measure_composed(data, [["ref", "hit", "near"], ["x", "near", "hit", "ref"]])
    assert (found["R@1"], found["R@5"]) == (0.5, 1.0)
    assert (found["R_subset@1"], found["R_subset@2"]) == (0.5, 1.0)


def test_fashion_is_told_by_category_and_as_their_mean() -> None:
    queries = [ComposedQuery("r", "x", ("t",), (), one) for one in ("dress", "dress", "shirt")]
    found = measure_composed(Composed("FashionIQ", queries, {}), [["t"], ["x"] * 20 + ["t"], ["t"]])
    assert (found["R@10 dress"], found["R@50 dress"], found["R@10 shirt"]) == (0.5, 1.0, 1.0)
    assert found["R@10"] == 0.75


def test_what_cannot_be_measured_is_refused() -> None:
    kept = Composed("CIRCO test", [ComposedQuery("r", "x", ())], {})
    with pytest.raises(UsageError, match="kept back"):
        measure_composed(kept, [["a"]])
    with pytest.raises(UsageError, match="has 1 queries, and 2 rankings"):
        measure_composed(kept, [["a"], ["b"]])
    with pytest.raises(UsageError, match="lists no pictures"):
        rank_composed(Colours(), kept, str, 3)


def test_a_system_is_ranked_on_the_one_road() -> None:
    names = ["red", "green", "blue"]
    queries = [ComposedQuery("red", "blue blue", ("blue",)), ComposedQuery("green", "green", ("green",))]
    pictures = {name: np.zeros((8, 8, 3), np.uint8) for name in names}
    for at, name in enumerate(names):
        pictures[name][..., at] = 255
    data = Composed("drawn", queries, {"": names})
    rankings, cost = rank_composed(Colours(), data, pictures.__getitem__, 3)
    assert [set(one) for one in rankings] == [set(names)] * 2
    assert rankings[1][0] == "green"
    assert set(rankings[0][:2]) == {"red", "blue"}
    assert cost == {"degraded": 0.0, "usage": {}}
    assert measure_composed(data, rankings)["mAP@5"] > 0.7


def test_hits_by_round_are_those_of_the_closed_form() -> None:
    assert hits_by_round(RANKS).tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert hits_by_round(RANKS, cumulative=False).tolist() == pytest.approx([1 / 3, 0, 1 / 3, 0])
    assert measure_rounds(RANKS)["mean rank"][0] == pytest.approx(73 / 3)


def test_the_integral_falls_with_better_ranks_and_sooner() -> None:
    assert best_log_rank_integral(np.array([[10, 5]])) == pytest.approx((math.log(10) + math.log(5)) / 2)
    assert best_log_rank_integral(np.array([[7]])) == pytest.approx(math.log(7))
    late, early = np.array([[10, 10, 1]]), np.array([[10, 1, 10]])
    assert best_log_rank_integral(early) < best_log_rank_integral(late)


def test_ranks_are_read_from_the_hits_of_each_round() -> None:
    gallery = [Item(str(at)) for at in range(5)]

    def run(*rows: list[int]) -> Run:
        hits = Hits(np.array(rows, np.int64), np.zeros((len(rows), len(rows[0])), np.float32))
        return Run([Item(), Item()], gallery, hits)

    ranks, last = ranks_by_round([run([0, 1], [2, 3]), run([1, 0], [3, 4])], np.array([1, 2]))
    assert ranks.tolist() == [[2, 1], [1, 6]]
    assert last.hits is not None


def test_the_simulated_user_answers_with_what_is_nearest_once() -> None:
    answer = answering([["a red wall", "green grass"], []], Colours())
    assert answer(Item("0"), "Is it green?") == "green grass"
    assert answer(Item("0"), "Is it green?") == "a red wall"
    assert answer(Item("0"), "Is it green?") == "I don't know"
    assert answer(Item("1"), "?") == "I don't know"
