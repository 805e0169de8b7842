"""A search and a scorer behind it as one system, and the weight between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diptych.core import Column, Hits, Item, Run, offered
from diptych.data.base import Loaded, Protocol, Split
from diptych.errors import UsageError
from diptych.evaluation import evaluate
from diptych.pipeline import EQUAL, Hybrid, Rerank, over, standardised, weights_of
from diptych.pipeline.weighing import WEIGHTS, Looked, weighed

COUNT, DIM = 80, 6
_random = np.random.default_rng(3)
TRUTH = _random.standard_normal((COUNT, DIM)).astype(np.float32)


class Noisy:
    """Sees a noisy half of what is there: items are rows of TRUTH, by number."""

    similarity = "cosine"
    name = "noisy"
    image_size = 24

    def __init__(self, part: slice, noise: float) -> None:
        self.part, self.noise = part, noise
        self.looked = 0

    def seen(self, rows: Any, side: int) -> np.ndarray:
        noise = np.random.default_rng(side).standard_normal(TRUTH.shape)
        return (TRUTH + self.noise * noise)[np.asarray(rows, int)][:, self.part].astype(np.float32)

    def encode_image(self, images: Any) -> np.ndarray:
        return self.seen([int(one) for one in images], 1)

    def encode_text(self, texts: Any) -> np.ndarray:
        return self.seen([int(one) for one in texts], 2)


class Scorer(Noisy):
    """The same, pair by pair."""

    name, fingerprint = "scorer", "scorer:1"
    encode_image: Any = None
    encode_text: Any = None

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> np.ndarray:
        self.looked += len(pairs)
        first, second = self.seen([int(one) for one in images], 1), self.seen([int(one) for one in texts], 2)
        return 1000 * (first[pairs[:, 0]] * second[pairs[:, 1]]).sum(axis=1) - 5000


def split() -> Split:
    names = [str(row) for row in range(COUNT)]
    return Split(names, names, None, np.stack([np.arange(COUNT)] * 2, axis=1))


def items(side: Any) -> Column:
    return Column(side, [str(row) for row in range(COUNT)])


ENCODER, SCORER = Noisy(slice(0, 4), 0.5), Scorer(slice(2, 6), 0.5)


def test_both_stages_are_made_by_over() -> None:
    hybrid = Hybrid(ENCODER, Scorer(slice(2, 6), 0.5), 10, weights={"image": 0.3, "text": 0.6})
    asked = Run(items("text"), items("image"))
    for to, weight in (("image", 0.3), ("text", 0.6)):
        run = Run(items("text" if to == "image" else "image"), items(to))
        first = over(ENCODER, run.gallery, 20, to=to)(run)
        by_hand = Rerank(SCORER, 10, weight=weight, scale=standardised, to=to)(first)
        found = over(hybrid, run.gallery, 20, to=to)(run)
        np.testing.assert_array_equal(found.hits.rows, by_hand.hits.rows)
        assert (found.hits.rows[:, :10] != first.hits.rows[:, :10]).any()
        np.testing.assert_array_equal(found.hits.rows[:, 10:], first.hits.rows[:, 10:])  # the tail is kept
    assert hybrid.cost.pairs == 2 * COUNT * 10
    assert hybrid.cost.milliseconds_a_pair > 0
    few = over(hybrid, asked.gallery, 3)(asked)  # fewer hits than are ranked anew
    assert few.hits.rows.shape == (COUNT, 3)


def test_scales_do_not_matter_where_both_are_standardised() -> None:
    scores = np.array([[3.0, 1.0, np.nan], [5.0, 5.0, 5.0], [np.nan, np.nan, 2.0]])
    found = standardised(scores)
    np.testing.assert_allclose(found[0, :2], [1, -1])
    assert np.isnan(found[0, 2])
    assert found[1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(standardised(1000 * scores - 7)[0, :2], found[0, :2])


def test_a_hybrid_is_the_encoder_but_for_its_second_stage() -> None:
    hybrid = Hybrid(ENCODER, SCORER, 10)
    assert hybrid.fingerprint == "noisy"  # as a collection knows an encoder without one
    assert (offered(hybrid, "image_size"), offered(hybrid, "agree_depth")) == (24, None)
    assert hybrid.rerank_weights == EQUAL
    assert not hybrid.knows_each_other
    assert not hasattr(Hybrid(SideOnly(), SCORER, 3), "encode_text")


class SideOnly:
    similarity = "dot"

    def encode_image(self, images: Any) -> Any:
        return images


def test_a_scorer_brings_its_weights_for_its_own_search_only() -> None:
    both = Scorer(slice(2, 6), 0.5)
    both.rerank_weights = {"image": 0.7}
    same, other = Noisy(slice(0, 4), 0.5), Noisy(slice(0, 4), 0.5)
    same.fingerprint, other.fingerprint = "scorer:1", "other:1"
    assert Hybrid(same, both).rerank_weights == {"image": 0.7, "text": 0.5}
    assert Hybrid(same, both).knows_each_other
    assert Hybrid(other, both).rerank_weights == EQUAL


def test_an_encoder_may_rank_anew() -> None:
    other = Noisy(slice(2, 6), 0.1)
    found = over(Hybrid(ENCODER, other, COUNT, weights={"image": 1.0}), items("image"), 5)(
        Run(items("text"), items("image"))
    )
    alone = over(other, items("image"), 5)(Run(items("text"), items("image")))
    np.testing.assert_array_equal(found.hits.rows, alone.hits.rows)


@pytest.mark.parametrize("depth", [0, -3, 2.5, True])
def test_a_depth_is_a_whole_number(depth: Any) -> None:
    with pytest.raises(UsageError, match="how many hits are ranked anew, at least 1, not"):
        Hybrid(ENCODER, SCORER, depth)


def test_what_neither_scores_nor_encodes_both_sides_is_refused() -> None:
    with pytest.raises(UsageError, match="SideOnly neither scores pairs nor encodes"):
        Hybrid(ENCODER, SideOnly())


def test_an_entry_without_a_picture_comes_behind_those_that_were_scored() -> None:
    entries = [
        Item(str(row), image=None if row in (4, 7) else str(row), meta={"row": row}) for row in range(12)
    ]
    rows = np.tile(np.arange(12), (2, 1))
    scores = np.tile(np.linspace(1, 0, 12, dtype=np.float32), (2, 1))
    run = Run([Item(text="3"), Item(text="5")], entries, Hits(rows, scores))
    found = Rerank(SCORER, 10)(run).hits
    for line in found.rows:
        assert line[8:].tolist() == [4, 7, 10, 11]
    assert (np.diff(found.scores, axis=1) < 0).all()
    empty = Run(run.queries, [Item(str(row)) for row in range(12)], run.hits)
    np.testing.assert_array_equal(Rerank(SCORER, 10)(empty).hits.rows, rows)


def test_the_weight_is_that_with_which_matches_rank_best() -> None:
    random = np.random.default_rng(0)
    right = np.zeros((60, 8), bool)
    right[np.arange(60), random.integers(0, 8, 60)] = True
    good, noise = right + 0.1 * random.random((60, 8)), random.random((60, 8))
    rows = np.tile(np.arange(8), (60, 1))
    # Where the scorer alone is right, any weight that lets it win is as good: the middle one is taken.
    assert weighed(Looked(rows, noise, good), right) > 0.7
    # The search alone is right: the least weight, as none is not offered.
    assert weighed(Looked(rows, good, noise), right) < 0.4
    both = good + 3 * noise
    other = good + 3 * random.random((60, 8))
    middle = weighed(Looked(rows, both, other), right)
    assert 0.3 <= middle <= 0.7
    assert middle in WEIGHTS
    assert weighed(Looked(rows[:49], both[:49], other[:49]), right[:49]) is None  # too few


def test_calibrated_weights_beat_either_stage_and_are_told_with_the_cost() -> None:
    scorer = Scorer(slice(2, 6), 0.5)
    held = weights_of(Hybrid(ENCODER, scorer, 20), items("image"), items("text"), split().pairs)
    assert set(held) == {"image", "text"}
    data = Loaded("toy", {"test": split(), "dev": split()}, protocols=PROTOCOLS)
    alone = evaluate(ENCODER, data, "1k")
    found = evaluate(ENCODER, data, "1k", rerank=scorer, depth=20)
    told = found.facts["rerank"]
    assert told["weights"] == held
    assert told["weights_are"] == "calibrated on dev"
    assert (told["system"], told["fingerprint"], told["depth"]) == ("scorer", "scorer:1", 20)
    assert told["pairs"] >= 2 * COUNT * 20
    for direction, one in found.measured.items():
        assert one["R@1"] > alone.measured[direction]["R@1"] + 0.1
    plain = evaluate(ENCODER, data, "dev", rerank=scorer, depth=20)
    assert plain.facts["rerank"]["weights"] == EQUAL
    assert "no validation split" in plain.facts["rerank"]["weights_are"]


PROTOCOLS = {
    "1k": Protocol("test", "test", "pair", validation="dev"),
    "dev": Protocol("dev", "dev", "pair"),
}


def test_only_a_search_by_vectors_is_ranked_anew() -> None:
    data = Loaded("toy", {"test": split()}, protocols={"1k": Protocol("test", "test", "pair")})
    with pytest.raises(UsageError, match="scorer does not search by vectors"):
        evaluate(SCORER, data, rerank=ENCODER)
