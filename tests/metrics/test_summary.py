"""Everything about a direction at once, against the single functions, all orders and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from literal import DATABASE, QUERY, RELEVANCE, literal_ap, toy_captions

from diptych import metrics
from diptych.errors import BadData, UnknownName, UsageError
from diptych.metrics import ByLabel, ByPairs, Embedded, Given


def test_measure_agrees_with_the_single_functions() -> None:
    found = metrics.measure(Embedded(QUERY, DATABASE, "hamming"), RELEVANCE, graded=True)
    assert found["MAP@ALL"] == pytest.approx(0.601302, abs=1e-6)  # 0.704167 in the order of rows
    tied = metrics.hamming_groups(QUERY, DATABASE, RELEVANCE).average_precision()
    for kind, values in tied.items():
        assert found.bounds["MAP@ALL"][kind] == pytest.approx(values.mean())
    assert found.per_query["MAP@ALL"] == pytest.approx(tied["expected"])
    assert (found.queries, found.gallery, found.without_relevant) == (4, 6, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_bounds_of_list_measures_equal_all_orders(n: int) -> None:
    """P@n, R-P, mAP@R and NDCG: every order of equal scores is written out."""
    rng = np.random.default_rng(n)
    for _ in range(20):
        scores = rng.permutation(np.repeat([0.0, -1.0, 2.0], [2, 1, 3]))
        labels, asked = rng.integers(0, 2, (6, 3)), rng.integers(0, 2, (1, 3))
        found = metrics.measure(scores[None], ByLabel(asked, labels), lists=(n,), graded=True)
        grades = labels @ asked[0]
        kept: dict[str, list[float]] = {"P@": [], "R-P": [], "mAP@R": [], "NDCG@ALL": [], "NDCG@n": []}
        total = int((grades > 0).sum())
        for order in itertools.permutations(range(6)):
            if any(scores[a] < scores[b] for a, b in itertools.pairwise(order)):
                continue
            ranked = grades[list(order)]
            relevant = (ranked > 0).tolist()
            kept["P@"].append(sum(relevant[:n]) / n)
            kept["R-P"].append(sum(relevant[:total]) / max(total, 1))
            kept["mAP@R"].append(literal_ap(relevant, max(total, 1), "total", total))
            kept["NDCG@ALL"].append(float(metrics.ndcg(ranked[None])[0]))
            kept["NDCG@n"].append(float(metrics.ndcg(ranked[None], k=n)[0]))
        bounds = {**found.bounds, "P@": found.bounds[f"P@{n}"]}
        order = np.argsort(-scores, kind="stable")
        bounds["NDCG@n"] = {
            kind: value[0]
            for kind, value in metrics.tied_ndcg(scores[order][None], grades[order][None], k=n).items()
        }
        for name, values in kept.items():
            assert bounds[name]["best"] == pytest.approx(max(values)), name
            assert bounds[name]["worst"] == pytest.approx(min(values)), name
            assert bounds[name]["expected"] == pytest.approx(np.mean(values)), name
            measure = f"P@{n}" if name == "P@" else name
            assert found.values().get(measure, np.mean(values)) == pytest.approx(np.mean(values)), name


def test_queries_with_different_ties_do_not_touch_each_other() -> None:
    """Asked together or one by one, and with entries that were not ranked, every query has its own bounds."""
    rng = np.random.default_rng(3)
    scores = rng.integers(-4, 3, (40, 30)).astype(float)
    scores[::3] += rng.permutation(30) / 100  # no ties in these
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    asked, labels = rng.integers(0, 2, (40, 4)), rng.integers(0, 2, (30, 4))
    together = metrics.measure(scores, ByLabel(asked, labels), graded=True)
    alone = [metrics.measure(scores[[q]], ByLabel(asked[[q]], labels), graded=True) for q in range(40)]
    assert len({one.bounds["MAP@ALL"]["worst"] for one in alone}) > 20
    for name, kinds in together.bounds.items():
        for kind, value in kinds.items():
            assert value == pytest.approx(np.mean([one.bounds[name][kind] for one in alone])), (name, kind)


def test_bounds_of_the_mean_rank() -> None:
    found = metrics.measure(np.zeros((2, 5)), Given(np.eye(2, 5)))
    assert found.bounds["MeanR"] == {"best": 1, "worst": 5, "expected": 3}


def test_average_precision_against_scikit_learn() -> None:
    from sklearn import metrics as sklearn

    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30, 80))  # negative ones too, and no ties
    relevant = rng.random((30, 80)) < 0.2
    found = metrics.measure(scores, Given(relevant))
    expected = [sklearn.average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    assert found.per_query["MAP@ALL"] == pytest.approx(expected)
    gains = rng.integers(0, 4, (30, 80))
    order = np.argsort(-scores, axis=1)
    ours = metrics.ndcg(np.take_along_axis(gains, order, axis=1), k=10)
    theirs = [sklearn.ndcg_score([2.0**g - 1], [s], k=10) for g, s in zip(gains, scores, strict=True)]
    assert ours == pytest.approx(theirs)


def test_bootstrap_covers_the_normal_interval() -> None:
    values = np.random.default_rng(0).standard_normal(2000)
    low, high = metrics.bootstrap(values, samples=2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_folds_pool() -> None:
    scores, pairs = toy_captions()
    one = metrics.measure(scores, pairs)
    two = metrics.pooled([one, one])
    assert (two.folds, two.queries) == (2, 4)
    assert two.values() == pytest.approx(one.values())
    for name, kinds in two.bounds.items():
        assert kinds == pytest.approx(one.bounds[name])


def test_cut_rankings_count_what_they_miss() -> None:
    scores = np.array([[0.9, -np.inf, 0.5, -np.inf]])
    found = metrics.measure(scores, Given([[0, 1, 1, 0]]))
    assert found["MAP@ALL"] == pytest.approx(0.5 / 2)
    assert found.bounds["MAP@ALL"]["best"] == pytest.approx(0.25)


def test_queries_without_relevant_entries_count_as_zero() -> None:
    found = metrics.measure(np.array([[0.2, 0.1], [0.2, 0.1]]), Given([[1, 0], [0, 0]]))
    assert found.without_relevant == 1
    assert (found["MAP@ALL"], found["R@1"]) == (0.5, 0.5)
    assert found.per_query["MedR"].tolist() == [1, 3]


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(BadData, match="query 1 contain NaN"):
        metrics.measure(np.array([[0.0, 1.0], [np.nan, 1.0]]), Given([[1, 0], [0, 1]]))
    with pytest.raises(BadData, match="query vector 0 is not finite, it holds inf"):
        Embedded(np.array([[np.inf, 0]]), np.zeros((1, 2)))
    with pytest.raises(UsageError, match="scores are 1 x 2, but relevance is 2 x 2"):
        metrics.measure(np.zeros((1, 2)), Given(np.eye(2)))
    with pytest.raises(UnknownName, match="denominator"):
        metrics.average_precision([[1]], denominator="found")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cut at 1 or later"):
        metrics.average_precision([[1]], k=0)
    with pytest.raises(UsageError, match="whole ranking"):
        metrics.average_precision([[1, 0]], k=2, denominator="port", total=np.array([3]))
    with pytest.raises(UsageError, match="outside 2 queries"):
        ByPairs(np.array([[2, 0]]), (2, 1))
    with pytest.raises(UsageError, match="same classes"):
        ByLabel(np.zeros((1, 2)), np.zeros((1, 3)))


def test_the_order_of_rows_changes_no_measure() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 3, (6, 12)).astype(float)
    labels, asked = rng.integers(0, 2, (12, 4)), rng.integers(0, 2, (6, 4))
    there = metrics.measure(scores, ByLabel(asked, labels), graded=True)
    back = metrics.measure(scores[:, ::-1], ByLabel(asked, labels[::-1]), graded=True)
    for name, values in there.per_query.items():
        assert back.per_query[name] == pytest.approx(values), name


@pytest.mark.parametrize(
    "kind", ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int64", "float16", "float32"]
)
def test_scores_of_every_type_are_ranked_as_their_numbers(kind: str) -> None:
    """Unsigned numbers wrap when they are turned round, and -inf is no whole number."""
    rng = np.random.default_rng(3)
    high = {"bool": 2, "int8": 128, "uint8": 256, "float16": 2048}.get(kind, 60000)
    for _ in range(20):
        scores = rng.integers(0, high, (4, 9)).astype(kind)
        pairs = ByPairs(np.stack([np.arange(4), rng.integers(0, 9, 4)], axis=1), (4, 9))
        expected = metrics.measure(scores.astype(np.float64), pairs)
        assert metrics.measure(scores, pairs).values() == expected.values()
        rows, ordered = metrics.order(scores)
        assert (np.diff(ordered, axis=1) <= 0).all()
        assert rows.tolist() == np.argsort(-scores.astype(np.float64), axis=1, kind="stable").tolist()
        both = (metrics.first_ranks_both_ways(one, pairs) for one in (scores, scores.astype(float)))
        for ours, theirs in zip(*both, strict=True):
            assert (ours.ranks() == theirs.ranks()).all()


def test_scores_of_another_source_are_ranked_as_their_numbers() -> None:
    class Counted:
        shape = (2, 3)

        def block(self, start: int, stop: int, left: int = 0, right: int | None = None) -> np.ndarray:
            return np.array([[0, 200, 100], [7, 0, 255]], np.uint8)[start:stop, left:right]

    found = metrics.measure(Counted(), Given([[0, 1, 0], [0, 0, 1]]))
    assert (found["MAP@ALL"], found["R@1"]) == (1.0, 1.0)


def test_double_precision_is_not_rounded_to_ties() -> None:
    scores = np.array([[1.0, 1.0 + 1e-12, 1.0 + 2e-12]])
    found = metrics.measure(scores, Given([[0, 0, 1]]))
    assert (found["MAP@ALL"], found["R@1"]) == (1.0, 1.0)


def test_expected_average_precision_is_that_of_measure() -> None:
    rng = np.random.default_rng(4)
    labels, asked = rng.integers(0, 2, (30, 4)), rng.integers(0, 2, (7, 4))
    codes = [np.where(rng.random((n, 6)) < 0.5, 1.0, -1.0) for n in (7, 30)]
    cut = rng.integers(0, 3, (7, 30)).astype(float)
    cut[:, ::4] = -np.inf
    for scores in (Embedded(*codes, "hamming"), Embedded(*codes), metrics.Matrix(cut)):
        found = metrics.expected_average_precision(scores, ByLabel(asked, labels))
        measured = metrics.measure(scores, ByLabel(asked, labels))
        assert found == pytest.approx(measured.per_query["MAP@ALL"], abs=1e-12)
        assert measured.bounds["MAP@ALL"]["best"] > measured["MAP@ALL"]
