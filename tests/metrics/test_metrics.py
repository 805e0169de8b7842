"""Metrics against the closed forms of the specifications, literal re-computation and scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from diptych import metrics
from diptych.errors import BadData, UnknownName, UsageError
from diptych.metrics import ByLabel, ByPairs, Embedded, Given, TieGroups

# The self-test data of the DCMH and SSAH authors.
SIGN = {"+": 1.0, "-": -1.0}
QUERY = np.array([[SIGN[c] for c in row] for row in ("+-++", "---+", "++-+", "+++-")])
DATABASE = np.array([[SIGN[c] for c in row] for row in ("+-+-", "--+-", "--+-", "++--", "-+--", "++-+")])
QUERY_LABELS = np.array([[int(c) for c in row] for row in ("0100", "1100", "1001", "0101")])
DATABASE_LABELS = np.array(
    [[int(c) for c in row] for row in ("1001", "1100", "0110", "0010", "1000", "0010")]
)
RELEVANCE = ByLabel(QUERY_LABELS, DATABASE_LABELS)


def literal_ap(relevant: Any, k: int | None, denominator: str, total: int | None = None) -> float:
    """Word for word, without arrays."""
    relevant = list(map(bool, relevant))
    total = sum(relevant) if total is None else total
    k = len(relevant) if k is None else k
    precisions = [sum(relevant[: i + 1]) / (i + 1) for i in range(len(relevant)) if relevant[i]]
    if denominator == "port":
        chosen = precisions[: min(k, total)]
        return sum(chosen) / min(k, total) if total else 0.0
    inside = sum(relevant[:k])
    by = {"retrieved": inside, "total": total, "min": min(k, total)}[denominator]
    return sum(precisions[:inside]) / by if by else 0.0


def test_the_authors_own_self_test() -> None:
    expected = np.array([[1, 2, 2, 3, 4, 2], [3, 2, 2, 3, 2, 2], [3, 4, 4, 1, 2, 0], [1, 2, 2, 1, 2, 2]])
    scores = Embedded(QUERY, DATABASE, "hamming")
    assert (-scores.block(0, 4) == expected).all()
    assert RELEVANCE.block(0, 4).astype(int).tolist() == [
        [0, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0],
    ]
    stable = metrics.hamming_average_precision(QUERY, DATABASE, RELEVANCE)
    assert stable == pytest.approx([0.583333, 0.95, 0.477778, 0.805556], abs=1e-6)
    assert stable.mean() == pytest.approx(0.704167, abs=1e-6)
    backwards = ByLabel(QUERY_LABELS, DATABASE_LABELS[::-1])
    assert metrics.hamming_average_precision(QUERY, DATABASE[::-1], backwards).mean() == pytest.approx(
        0.493403, abs=1e-6
    )
    groups = metrics.hamming_groups(QUERY, DATABASE, RELEVANCE)
    tied = groups.average_precision()
    assert tied["expected"] == pytest.approx([0.5, 0.813542, 0.461111, 0.630556], abs=1e-6)
    assert tied["expected"].mean() == pytest.approx(0.601302, abs=1e-6)
    curve = metrics.precision_by_radius(groups)
    assert curve.y == pytest.approx([0, 0.2, 0.529412, 0.523810, 0.5], abs=1e-6)
    assert curve.x == pytest.approx([0, 0.083333, 0.75, 0.916667, 1], abs=1e-6)


def test_measure_agrees_with_the_single_functions() -> None:
    found = metrics.measure(Embedded(QUERY, DATABASE, "hamming"), RELEVANCE, graded=True)
    assert found["MAP@ALL"] == pytest.approx(0.704167, abs=1e-6)
    tied = metrics.hamming_groups(QUERY, DATABASE, RELEVANCE).average_precision()
    for kind, values in tied.items():
        assert found.bounds["MAP@ALL"][kind] == pytest.approx(values.mean())
    assert found.bounds["MAP@ALL"]["worst"] <= found["MAP@ALL"] <= found.bounds["MAP@ALL"]["best"]
    assert (found.queries, found.gallery, found.without_relevant) == (4, 6, 0)


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
        bounds["NDCG@n"] = metrics.tied_ndcg(scores[order], grades[order], k=n)
        for name, values in kept.items():
            assert bounds[name]["best"] == pytest.approx(max(values)), name
            assert bounds[name]["worst"] == pytest.approx(min(values)), name
            assert bounds[name]["expected"] == pytest.approx(np.mean(values)), name


def test_bounds_of_the_mean_rank() -> None:
    found = metrics.measure(np.zeros((2, 5)), Given(np.eye(2, 5)))
    assert found.bounds["MeanR"] == {"best": 1, "worst": 5, "expected": 3}


def test_constant_codes_depend_on_order_alone() -> None:
    """18,015 equal codes, half of them relevant: 1.0, 0.3069 or 0.5002."""
    sizes, hits = np.array([[18015]]), np.array([[9008]])
    found = TieGroups(sizes, hits).average_precision()
    assert found["best"][0] == pytest.approx(1.0)
    assert found["worst"][0] == pytest.approx(0.3069, abs=2e-4)
    assert found["expected"][0] == pytest.approx(0.5002, abs=2e-4)


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


def test_ndcg_of_the_specification() -> None:
    grades = [[0, 2, 1, 0, 3]]
    assert metrics.ndcg(grades)[0] == pytest.approx(0.543051, abs=1e-6)
    assert metrics.ndcg(grades, k=3)[0] == pytest.approx(0.254747, abs=1e-6)
    assert metrics.ndcg([[0, 0]])[0] == 0


def toy_captions() -> tuple[np.ndarray, ByPairs]:
    scores = np.array([[0.9, 0.2, 0.3, 0.8], [0.1, 0.95, 0.5, 0.4]])
    return scores, ByPairs(np.array([[0, 0], [0, 1], [1, 2], [1, 3]]), (2, 4))


def test_recall_of_the_specification() -> None:
    scores, pairs = toy_captions()
    images, texts = metrics.first_ranks_both_ways(scores, pairs)
    assert (images.recall(1), images.recall(2)) == (0.5, 1.0)
    assert texts.recall(1) == 0.5
    assert texts.ranks().tolist() == [1, 2, 1, 2]


def test_a_constant_scorer_finds_nothing() -> None:
    vectors = np.ones((700, 8), np.float32)
    pairs = ByPairs(np.stack([np.arange(700)] * 2, 1), (700, 700))
    for found in metrics.first_ranks_both_ways(Embedded(vectors, vectors), pairs):
        assert found.recall(10) == 0
        assert found.recall(10, "best") == 1
        assert found.recall(10, "expected") == pytest.approx(10 / 700)


@pytest.mark.parametrize("similarity", ["cosine", "hamming"])
def test_both_ways_equal_one_way_and_literal_ranks(similarity: str) -> None:
    rng = np.random.default_rng(5)
    # Of length 4, so that every cosine is exact and a tie is a tie whatever the product is cut into.
    images = rng.choice([-1.0, 1.0], (600, 16)).astype(np.float32)
    texts = rng.choice([-1.0, 1.0], (2900, 16)).astype(np.float32)
    pairs = np.stack([rng.integers(0, 590, 2900), rng.permutation(2900)], 1)
    relevance = ByPairs(pairs, (600, 2900))
    scores = Embedded(images, texts, similarity)
    whole = scores.block(0, 600)
    rows, columns = metrics.first_ranks_both_ways(scores, relevance)
    match = relevance.block(0, 600)
    for found, matrix, truth in ((rows, whole, match), (columns, whole.T, match.T)):
        for query in range(0, len(matrix), 7):
            positive = matrix[query][truth[query]]
            if not len(positive):
                assert found.ranks()[query] == found.gallery + 1
                continue
            best = positive.max()
            others = matrix[query][~truth[query]]
            assert found.ahead[query] == (matrix[query] > best).sum()
            assert (
                found.ranks()[query]
                == 1 + (matrix[query][truth[query]] > best).sum() + (others >= best).sum()
            )
            assert found.own[query] == (positive == best).sum()
    one_way = metrics.first_ranks(scores, relevance)
    by_matrix = metrics.first_ranks(whole, Given(match))
    for name in ("ahead", "level", "own"):
        assert (getattr(one_way, name) == getattr(rows, name)).all()
        assert (getattr(by_matrix, name) == getattr(rows, name)).all()


def test_expected_recall_equals_all_orders() -> None:
    found = metrics.FirstRanks(np.array([1]), np.array([2]), np.array([2]), 9)
    orders = list(itertools.permutations([1, 1, 0, 0]))
    for n in range(1, 7):
        truth = np.mean([any(order[: max(n - 1, 0)]) for order in orders])
        assert found.recall(n, "expected") == pytest.approx(truth)
    ranks = [2 + order.index(1) for order in orders]
    assert found.ranks("expected")[0] == pytest.approx(np.mean(ranks))


def test_relevance_with_more_than_64_classes() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random((50, 130)) < 0.02, rng.random((70, 130)) < 0.02
    found = ByLabel(first, second)
    expected = first.astype(int) @ second.T.astype(int)
    assert (found.block(3, 40) == (expected[3:40] > 0)).all()
    assert (found.grades(3, 40) == expected[3:40]).all()
    assert (found.totals() == (expected > 0).sum(1)).all()
    assert (found.transposed().block(0, 70) == (expected.T > 0)).all()


@pytest.mark.parametrize("bits", [16, 64, 128])
def test_hamming_groups_against_a_matrix(bits: int) -> None:
    rng = np.random.default_rng(bits)
    query, gallery = rng.choice([-1, 1], (9, bits)), rng.choice([-1, 1], (200, bits))
    relevant = Given(rng.random((9, 200)) < 0.3)
    distance = (bits - query @ gallery.T) // 2
    groups = metrics.hamming_groups(query, gallery, relevant)
    packed = [np.packbits(codes > 0, axis=1) for codes in (query, gallery)]
    again = metrics.hamming_groups(*packed, relevant)
    assert (groups.sizes == again.sizes).all()
    assert (groups.hits == again.hits).all()
    for row in range(9):
        assert (groups.sizes[row] == np.bincount(distance[row], minlength=bits + 1)).all()
        assert (groups.hits[row] == np.bincount(distance[row], relevant.matrix[row], bits + 1)).all()
    ranked = np.take_along_axis(relevant.matrix, np.argsort(distance, axis=1, kind="stable"), axis=1)
    assert metrics.hamming_average_precision(query, gallery, relevant) == pytest.approx(
        metrics.average_precision(ranked)
    )


def test_curves() -> None:
    relevant = np.array([[1, 0, 1, 0]], bool)
    curve = metrics.interpolated_precision(relevant, np.array([2]), levels=(0, 0.5, 1))
    assert curve.y == pytest.approx([1, 1, 2 / 3])
    assert metrics.precision_curve(relevant, [1, 2, 4]).y == pytest.approx([1, 0.5, 0.5])
    found = metrics.measure(-np.arange(4.0)[None], Given(relevant))
    assert found.curve is not None
    assert found.curve[1][[0, 10, 20]] == pytest.approx([1, 1, 2 / 3])
    # Cut at R = 2: one relevant entry, at rank 1.
    assert (found["mAP@R"], found["R-P"]) == (0.5, 0.5)


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
    with pytest.raises(BadData, match="query vectors are not finite"):
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
