"""Stages and their composition, on systems small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from diptych import metrics
from diptych.chain import Chain
from diptych.core import Column, Hits, Item, Pipeline, Run
from diptych.data.base import Split
from diptych.errors import BadData, UsageError
from diptych.pipeline import (
    Exhaustive,
    Fuse,
    PairScores,
    Remembered,
    Repeat,
    Rerank,
    Rewrite,
    Select,
    encode,
    over,
    scores_of,
)


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
    with pytest.raises(UsageError, match="Text encodes no images; this chain has one side only"):
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


class Vectors:
    """Features as they are; of pixels and tokens, what they are in sum."""

    similarity = "dot"

    def encode_image(self, images: Any) -> np.ndarray:
        return np.asarray(images, np.float32).reshape(len(images), -1)[:, :2]

    encode_text = encode_image


@pytest.mark.parametrize(
    "image",
    [
        np.array([[1, 0], [0, 1], [1, 1]], np.float32),
        np.arange(36, dtype=np.uint8).reshape(3, 3, 2, 2),
    ],
    ids=["features", "pixels"],
)
@pytest.mark.parametrize("kind", [np.float32, np.uint32], ids=["features", "tokens"])
def test_items_hold_features_of_either_side(image: np.ndarray, kind: Any) -> None:
    text = np.array([[2, 0], [0, 2], [1, 3]], kind)
    split = Split(image, text, None, np.stack([np.arange(3)] * 2, axis=1))
    scores = Vectors().encode_text(text) @ Vectors().encode_image(image).T
    gallery, queries = split.items("image"), split.items("text")
    for asked in (queries, list(queries)):  # as a whole, and item by item
        hits = over(Vectors(), gallery, 3)(Run(asked, gallery)).hits
        assert hits is not None
        assert hits.rows.tolist() == np.argsort(-scores, axis=1, kind="stable").tolist()
    back = over(Vectors(), queries, 1, to="text")(Run(gallery, queries)).hits
    assert back is not None
    assert back.rows[:, 0].tolist() == scores.argmax(axis=0).tolist()


def test_items_are_encoded_once_however_often_they_are_asked() -> None:
    class Counting(Words):
        count = 0

        def encode_text(self, texts: Sequence[Any]) -> np.ndarray:
            Counting.count += len(texts)
            return super().encode_image(texts)

    encoder, queries = Counting(), Remembered([Item(text="a"), Item(text="b")])
    search = over(encoder, GALLERY, 2)
    for _ in range(3):
        assert rows(search(Run(queries, GALLERY))) == [[0, 3], [1, 4]]
    assert Counting.count == 2


def test_notes_are_handed_on_and_added_to() -> None:
    run = asked("a", "b").noted([{"cost": 1}, {}])
    searched = (over(Words(), GALLERY, 3) >> Rerank(Longest(), 2) >> Select(lambda q, found: [0], 3))(run)
    first, second = searched.notes
    assert first["looked at"] == {0: (1.0, 1.0), 3: (pytest.approx(0.8944272), 3.0)}
    assert [(note.get("cost"), note["rescored"]) for note in (first, second)] == [(1, 2), (None, 2)]
    assert [note.get("cost") for note in searched.noted([{"cost": 2}, {}]).notes] == [2, None]
    fused = Fuse([over(Words(), GALLERY, 3) >> Rerank(Longest(), 2), over(Words(), GALLERY, 3)], 2)(run)
    assert list(fused.notes) == [first, second]
    with pytest.raises(ValueError, match="2 queries cannot have 1 notes"):
        run.noted([{}])


class Counted(Longest):
    """Counts what it is shown."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def score_pairs(self, images: Sequence[Any], texts: Sequence[str], pairs: Any) -> np.ndarray:
        self.seen += [*images, *texts]
        return super().score_pairs(images, texts, pairs)


class Looked(Sequence[Item]):
    """A gallery that counts what is looked at."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def __len__(self) -> int:
        return len(GALLERY)

    def __getitem__(self, place: Any) -> Any:
        self.places.append(int(place))
        return GALLERY[place]


def test_rerank_scores_all_queries_together_and_looks_at_each_entry_once() -> None:
    scorer, gallery = Counted(), Looked()
    run = over(Words(), GALLERY, 5)(asked("a", "ab", "b"))
    again = Rerank(scorer, 3)(Run(run.queries, gallery, run.hits))
    needed = np.unique(run.hits.rows[:, :3])
    assert sorted(gallery.places) == needed.tolist()
    assert sorted(scorer.seen) == sorted([GALLERY[row].image for row in needed] + ["a", "ab", "b"])
    np.testing.assert_array_equal(again.hits.rows[:, 3:], run.hits.rows[:, 3:])


def test_rerank_fuses_by_a_stated_weight() -> None:
    before = over(Words(), GALLERY, 5)(asked("a"))
    fused = Rerank(Longest(), 5, weight=0.25)(before).hits
    assert fused is not None
    lengths = np.array([len(item.image) for item in GALLERY], np.float32)
    similarities = np.zeros(5, np.float32)
    similarities[before.hits.rows[0]] = before.hits.scores[0]
    literal = 0.25 * lengths + 0.75 * similarities
    assert fused.rows[0].tolist() == np.argsort(-literal, kind="stable").tolist()
    assert fused.scores[0, -1] == pytest.approx(before.hits.scores[0, 0] + 1)
    np.testing.assert_allclose(np.diff(fused.scores[0]), np.diff(literal[fused.rows[0]]), atol=1e-6)
    with pytest.raises(UsageError, match="above 0 and at most at 1, not 0"):
        Rerank(Longest(), 5, weight=0)
    with pytest.raises(UsageError, match="depth of at least 1, not 0"):
        Rerank(Longest(), 0)


def test_a_query_without_what_the_scorer_looks_at_keeps_its_hits_and_is_noted() -> None:
    queries = [
        Item("words", text="a"),
        Item("picture", image="aab"),
        Item("sum", terms=((1.0, Item(text="c")),)),
    ]
    before = over(Words(), GALLERY, 5)(Run(queries, GALLERY))
    after = Rerank(Longest(), 3)(before)
    assert after.hits is not None
    assert after.hits.rows[1:].tolist() == before.hits.rows[1:].tolist()
    assert after.hits.scores[1:].tolist() == before.hits.scores[1:].tolist()
    assert after.hits.rows[0].tolist() != before.hits.rows[0].tolist()
    assert "looks at a text of the query" in after.notes[1]["degraded"]
    assert "degraded" not in after.notes[0]


def test_a_scorer_that_gives_nan_is_named() -> None:
    class Broken(Longest):
        def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
            return np.full(len(pairs), np.nan, np.float32)

    with pytest.raises(BadData, match="Broken scores pairs with NaN"):
        (over(Words(), GALLERY, 3) >> Rerank(Broken(), 2))(asked("a"))
    with pytest.raises(BadData, match="contain NaN"):
        over(Broken(), GALLERY, 3)(asked("a"))


@pytest.mark.parametrize("depth", [1, 3, 9])
def test_scores_rank_as_the_stage_does(depth: int) -> None:
    run = asked("a", "bc", "abc", "c", "b")
    for stage in (
        over(Words(), GALLERY, 5),
        Exhaustive(Longest(), 5),
        over(Words(), GALLERY, 5) >> Rerank(Longest(), depth),
        over(Words(), GALLERY, 5) >> Rerank(Longest(), depth, weight=0.5),
    ):
        order, _ = metrics.order(scores_of(stage, run).block(0, 5))
        assert order.tolist() == rows(stage(run))
    ranked = scores_of(over(Words(), GALLERY, 2) >> Select(lambda query, found: [1], 2), run)
    assert (np.isfinite(ranked.block(0, 5)).sum(axis=1) == 1).all()


class Mutual(Vectors):
    """Lists of both directions made to agree by the released rule of AGREE."""

    similarity = "cosine"
    agree_depth = 4

    def encode_image(self, images: Any) -> np.ndarray:
        return np.asarray(images, np.float32)

    encode_text = encode_image

    def agree(self, lists: Any, others: Any) -> Any:
        from diptych.systems.real_valued.agree import two_way

        return two_way(lists, others)


def test_agreement_of_a_batch_is_the_same_ranked_and_measured() -> None:
    image, text = np.random.default_rng(0).standard_normal((2, 20, 3)).astype(np.float32)
    gallery, queries = Column("image", image), Column("text", text[:12])
    run = Run(queries, gallery)
    stage, plain = over(Mutual(), gallery, 20), over(PairScores(Mutual()), gallery, 20)
    order, _ = metrics.order(scores_of(stage, run).block(0, 12))
    assert rows(stage(run)) == order.tolist()
    changed = [one != other for one, other in zip(rows(stage(run)), rows(plain(run)), strict=True)]
    assert any(changed)
    assert [bool(note) for note in stage(run).notes] == changed
    alone = Run(queries[:1], gallery)  # there is nobody to agree with
    assert rows(stage(alone)) == rows(plain(alone))


def test_too_many_pairs_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.pipeline.rankings.MOST_PAIRS", 9)
    with pytest.raises(UsageError, match=r"5 images with 2 texts are 10 pairs.*re-rank its first hits"):
        over(Longest(), GALLERY, 1)(asked("a", "b"))
    whole = over(PairScores(Words()), GALLERY, 1)(asked("a", "b"))  # knows all scores at once
    assert rows(whole) == [[0], [1]]


def test_a_ready_stage_and_a_retriever_are_taken_as_they_are() -> None:
    stage = Exhaustive(Longest(), 2)
    assert over(stage, GALLERY, 9) is stage

    class Own:
        def over(self, gallery: Any, k: int, to: Any) -> Any:
            assert (len(gallery), k, to) == (5, 2, "text")
            return stage

    assert over(Own(), GALLERY, 2, to="text") is stage


def test_stages_say_what_they_are() -> None:
    stage = over(Words(), GALLERY, 3) >> Rerank(Longest(), 2) >> Select(max, 1)
    shown = repr(stage)
    assert shown.startswith(
        "Search(encoder=Words, index=Flat, k=3, within=None) >> Rerank(scorer=Longest, depth=2"
    )
    assert shown.endswith("Select(choose=max, depth=1)")
    assert " at 0x" not in shown


def test_fuse_says_what_it_wants() -> None:
    with pytest.raises(UsageError, match=r"takes stages, or pairs \(stage, weight\), not 3"):
        Fuse([3], 2)  # type: ignore[list-item]
