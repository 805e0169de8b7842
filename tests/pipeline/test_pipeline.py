"""Stages and their composition, on systems small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from diptych.chain import Chain
from diptych.core import Hits, Item, Pipeline, Run
from diptych.errors import UsageError
from diptych.pipeline import Exhaustive, Fuse, PairScores, Repeat, Rerank, Rewrite, Select, encode, over


class Words:
    """Counts the letters a, b and c on either side; a 'picture' is a string here."""

    similarity = "cosine"

    def encode_image(self, images: Sequence[Any]) -> np.ndarray:
        return np.array([[image.count(letter) for letter in "abc"] for image in images], np.float32)

    encode_text = encode_image


class Longest:
    """Scores a pair by the picture's length; ignores the text."""

    def score_pairs(self, images: Sequence[Any], texts: Sequence[str], pairs: Any) -> np.ndarray:
        return np.array([len(images[image]) for image, _ in pairs], np.float32)


GALLERY = [Item(str(row), image=image) for row, image in enumerate(["a", "b", "cc", "aab", "abc"])]


def asked(*texts: str) -> Run:
    return Run([Item(str(row), text=text) for row, text in enumerate(texts)], GALLERY)


def rows(run: Run) -> list[list[int]]:
    assert run.hits is not None
    return run.hits.rows.tolist()


def test_over_searches_an_encoder_both_ways() -> None:
    assert rows(over(Words(), GALLERY, 2)(asked("a", "c"))) == [[0, 3], [2, 4]]
    captions = [Item("x", text="b"), Item("y", text="a")]
    run = Run([Item("q", image="aa")], captions)
    assert rows(over(Words(), captions, 1, to="text")(run)) == [[1]]


def test_over_gives_the_same_ranking_whether_searched_or_scored() -> None:
    run = asked("ab", "bc", "c")
    searched, scored = over(Words(), GALLERY, 5)(run), over(PairScores(Words()), GALLERY, 5)(run)
    assert rows(searched) == rows(scored)
    np.testing.assert_allclose(searched.hits.scores, scored.hits.scores, atol=1e-6)


def test_over_refuses_what_is_no_system_and_what_is_no_depth() -> None:
    with pytest.raises(UsageError, match="no encoder, scorer or retriever"):
        over(object(), GALLERY, 1)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        over(Words(), GALLERY, 0)


def test_ties_are_ranked_by_row() -> None:
    gallery = [Item(image=image) for image in ["b", "a", "a", "a"]]
    run = Run([Item(text="a")], gallery)
    assert rows(over(Words(), gallery, 3)(run)) == [[1, 2, 3]]


def test_terms_are_a_weighted_sum_of_unit_vectors() -> None:
    query = Item(terms=((1.0, Item(text="aaa")), (-1.0, Item(image="b")), (0.5, Item(text="c"))))
    np.testing.assert_allclose(encode(Words(), [query]), [[2 / 3, -2 / 3, 1 / 3]], atol=1e-6)


def test_picture_and_text_together_count_alike() -> None:
    np.testing.assert_allclose(
        encode(Words(), [Item(image="a", text="bbbb")]), [[2**-0.5, 2**-0.5, 0]], atol=1e-6
    )


def test_an_item_with_nothing_to_encode_is_named() -> None:
    with pytest.raises(UsageError, match="'lost' has no image, text or terms"):
        encode(Words(), [Item("lost")])


def test_not_this_pushes_it_down() -> None:
    plain, negative = Item(text="ab"), Item(terms=((1.0, Item(text="ab")), (-1.0, Item(text="b"))))
    run = over(Words(), GALLERY, 5)(Run([plain, negative], GALLERY))
    assert rows(run)[0].index(1) < rows(run)[1].index(1)


def test_rerank_orders_the_first_anew_and_leaves_the_others_behind() -> None:
    assert rows(over(Words(), GALLERY, 5)(asked("a"))) == [[0, 3, 4, 1, 2]]
    assert rows((over(Words(), GALLERY, 5) >> Rerank(Longest(), 3))(asked("a"))) == [[3, 4, 0, 1, 2]]
    assert rows((over(Words(), GALLERY, 5) >> Rerank(Longest(), 3, k=2))(asked("a"))) == [[3, 4]]


def test_exhaustive_equals_rerank_of_everything() -> None:
    everything = over(Words(), GALLERY, 5) >> Rerank(Longest(), 5)
    assert rows(Exhaustive(Longest(), 5)(asked("a"))) == rows(everything(asked("a")))


def test_select_chooses_among_the_hits_and_keeps_their_scores() -> None:
    search = over(Words(), GALLERY, 3)
    run = (search >> Select(lambda query, found: [2, 0], 3))(asked("a"))
    before = search(asked("a"))
    assert rows(run) == [[rows(before)[0][2], rows(before)[0][0]]]
    assert run.hits.scores[0].tolist() == before.hits.scores[0, [2, 0]].tolist()


def test_rewrite_sees_the_hits_and_repeat_repeats() -> None:
    def grow(run: Run) -> list[Item]:
        best = run.hits.rows[:, 0]
        return [
            Item(q.id, text=q.text + run.gallery[row].image) for q, row in zip(run.queries, best, strict=True)
        ]

    search = over(Words(), GALLERY, 1)
    run = (search >> Repeat(Rewrite(grow) >> search, 2))(asked("c"))
    assert run.queries[0].text == "ccccc"


def test_rewrite_must_keep_the_number_of_queries() -> None:
    with pytest.raises(ValueError, match="1 queries cannot be replaced by 0"):
        Rewrite(lambda run: [])(asked("a"))


def test_fuse_is_reciprocal_rank_fusion() -> None:
    first, second = over(Words(), GALLERY, 2), Exhaustive(Longest(), 2)
    run = Fuse([first, (second, 1.0)], 3)(asked("a"))
    assert rows(run) == [[3, 0, 4]]  # 3 is second and first; 0 first only; 4 second only
    np.testing.assert_allclose(run.hits.scores[0], [1 / 62 + 1 / 61, 1 / 61, 1 / 62], rtol=1e-6)


def test_a_stage_that_needs_hits_says_so() -> None:
    with pytest.raises(UsageError, match="nothing was searched"):
        Rerank(Longest(), 3)(asked("a"))


def test_pipelines_flatten_and_read_from_left_to_right() -> None:
    a, b, c = (lambda run: run), (lambda run: run), (lambda run: run)
    assert (Pipeline(a) >> b >> Pipeline(c)).stages == (a, b, c)


def test_hits_must_agree_in_shape() -> None:
    with pytest.raises(ValueError, match=r"must both be \(q, k\)"):
        Hits(np.zeros((1, 2), np.int64), np.zeros((2, 1), np.float32))


def test_a_chain_encodes_raw_items_and_names_a_missing_side() -> None:
    class Text:
        similarity = "dot"

        def encode_text(self, texts: Sequence[Any]) -> np.ndarray:
            return np.asarray([[float(len(text))] for text in texts], np.float32)

    chain = Chain(text=Text(), head=Text())
    with pytest.raises(UsageError, match="Text has no encode_image"):
        chain.encode_image(["x"])
    assert Chain(head=Text()).encode_text(["four"]).tolist() == [[4.0]]


class TwoStage:
    """Vectors that find by their first dimension, scores that rank by their second."""

    similarity = "dot"
    rerank_depth = 3

    def encode_image(self, images: Any) -> Any:
        return np.asarray(images, np.float32)[:, :1]

    def encode_text(self, texts: Any) -> Any:
        return np.array([[float(text)] for text in texts], np.float32)

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        return np.array([images[i][1] * float(texts[t]) for i, t in pairs], np.float32)


def test_a_system_in_two_stages_ranks_its_first_hits_anew() -> None:
    images = np.array([[5, 1], [4, 3], [3, 2], [2, 9], [1, 8]], np.float32)
    gallery = [Item(id=str(row), image=image) for row, image in enumerate(images)]
    queries = [Item(text="1")]
    hits = over(TwoStage(), gallery, 5)(Run(queries, gallery)).hits
    assert hits is not None
    # The first three by vectors are 0, 1, 2; by scores they are 1, 2, 0; the others stay behind.
    assert hits.rows.tolist() == [[1, 2, 0, 3, 4]]
    assert (np.diff(hits.scores[0]) < 0).all()
    few = over(TwoStage(), gallery, 2)(Run(queries, gallery)).hits
    assert few is not None
    assert few.rows.tolist() == [[1, 2]]


def test_evaluation_sees_both_stages() -> None:
    from diptych import metrics
    from diptych.data.base import Split
    from diptych.evaluation import compared

    images = np.array([[5, 1], [4, 3], [3, 2], [2, 9], [1, 8]], np.float32)
    split = Split(image=images, text=["1"], label=None, pairs=np.array([[1, 0]]))
    found = compared(TwoStage(), split, split).scores["text to image"]
    assert metrics.order(found.block(0, 1))[0].tolist() == [[1, 2, 0, 3, 4]]
