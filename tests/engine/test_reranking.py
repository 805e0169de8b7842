"""The hybrid in a collection: what it ranks as an evaluation does, what it reads, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint

from diptych.core import Item
from diptych.data.base import Loaded, Split
from diptych.engine.collection import Collection, open_collection
from diptych.errors import UnknownName, UsageError
from diptych.evaluation import evaluate
from diptych.media.pictures import open_picture
from diptych.testing import Colours

COUNT = 14


class Looks(Colours):
    """The small encoder, for a data set's pictures too."""

    fingerprint = "looks:1"

    def encode_image(self, images: Any) -> Any:
        return super().encode_image(
            [one if isinstance(one, np.ndarray) else open_picture(one) for one in images]
        )


class Dark:
    """Scores a pair by how well darkness fits the length of the text; counts what it sees."""

    name, fingerprint = "dark", "dark:1"

    def __init__(self) -> None:
        self.pictures = self.pairs = 0

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        self.pictures += len(images)
        self.pairs += len(pairs)
        dark = [255 - float(np.asarray(open_picture(image).resize((8, 8))).mean()) for image in images]
        return np.array([-abs(dark[i] - 7.1 * len(texts[t])) for i, t in pairs], np.float32)


@pytest.fixture
def pictures(photos: Path, paint: Paint) -> tuple[list[Path], list[str]]:
    rng = np.random.default_rng(4)
    paths, texts = [], []
    for number in range(COUNT):
        colour = rng.integers(0, 256, 3)
        paths.append(paint(f"{number:02}.png", tuple(colour.tolist())))
        names = (["red", "green", "blue"][channel] for channel in np.argsort(-colour))
        texts.append(" ".join(f"{name} " * int(1 + colour[0] // 60) for name in names)[: 12 + number].strip())
    return paths, texts


@pytest.fixture
def filled(photos: Path, pictures: tuple[list[Path], list[str]]) -> Any:
    with open_collection(photos, model=Looks()) as collection:
        collection.add()
        yield collection


def test_a_collection_ranks_anew_as_an_evaluation_does(
    filled: Collection, pictures: tuple[list[Path], list[str]]
) -> None:
    paths, texts = pictures
    split = Split(paths, texts, None, np.stack([np.arange(COUNT)] * 2, axis=1))
    measured = evaluate(Looks(), Loaded("pictures", {"test": split}), rerank=Dark(), depth=6)
    answers = filled.search_many(texts, k=COUNT, rerank=Dark(), depth=6)
    served = np.array([[paths.index(result.path) for result in results] for results in answers])
    np.testing.assert_array_equal(served, measured.folds["text to image"][0].hits.rows)
    alone = [[r.path for r in one] for one in filled.search_many(texts, k=COUNT)]
    assert [[r.path for r in one] for one in answers] != alone
    assert [[r.path for r in one][6:] for one in answers] == [one[6:] for one in alone]


def test_every_picture_is_read_once_and_the_cost_is_told(
    filled: Collection, pictures: tuple[list[Path], list[str]]
) -> None:
    scorer = Dark()
    found = filled.search_many(pictures[1][:3], k=2, rerank=scorer, depth=5)
    assert scorer.pairs == 15
    assert scorer.pictures <= COUNT  # a picture that several queries find is one
    for one in found:
        told = one.reranked
        assert told is not None
        assert (told.system, told.depth, told.pairs, told.calibrated) == ("dark", 5, 5, False)
        assert told.milliseconds_a_pair > 0
        assert one.as_dict()["rerank"]["weight"] == 0.5
    assert filled.search(pictures[1][0]).as_dict()["rerank"] is None
    # A search that is widened because files are gone scores nothing twice.
    for path in pictures[0][:9]:
        path.unlink()
    scorer = Dark()
    again = filled.search(pictures[1][0], k=4, rerank=scorer, depth=5)
    assert len(again) == 4
    assert scorer.pairs <= 5


def test_a_picture_that_cannot_be_read_comes_last_of_those_looked_at(
    filled: Collection, pictures: tuple[list[Path], list[str]]
) -> None:
    text = pictures[1][0]
    first = filled.search(text, k=6, rerank=Dark(), depth=6)
    first[0].path.write_bytes(b"no picture any more")
    found = filled.search(text, k=6, rerank=Dark(), depth=6)
    assert found[5].path == first[0].path
    assert {r.path for r in found[:5]} == {r.path for r in first[1:]}


def test_items_without_a_file_are_left_behind(filled: Collection, paint: Paint) -> None:
    from diptych.engine.items import NewItem

    filled.add_items([NewItem("own", image=open_picture(paint("own.png", "red")))])
    found = filled.search("red", k=3, rerank=Dark(), depth=3, by="vectors")
    assert "own" in [result.id for result in found]
    assert found[2].id == "own"


def test_texts_are_ranked_anew_for_a_picture_and_nothing_for_a_sum(
    filled: Collection, pictures: tuple[list[Path], list[str]]
) -> None:
    pictures[0][0].with_suffix(".txt").write_text("red and blue\nred\n")
    filled.add()
    scorer = Dark()
    texts = filled.search(pictures[0][3], to="text", rerank=scorer)
    assert {text.text for text in texts} == {"red and blue", "red"}
    assert scorer.pairs == 2
    like = filled.search(pictures[0][3], rerank=scorer)
    assert like.reranked is not None
    assert "looks at a text of the query" in like.reranked.degraded
    composed = filled.search(text="red", image=pictures[0][3], rerank=scorer)
    assert composed.reranked.degraded
    assert filled.search(Item(text="red"), rerank=scorer).reranked.degraded == ""


def test_names_are_loaded_once_and_what_cannot_rank_is_refused(filled: Collection) -> None:
    with pytest.raises(UnknownName, match="vlit"):
        filled.search("red", rerank="vlit")
    with pytest.raises(UsageError, match="neither scores pairs nor encodes"):
        filled.search("red", rerank=object())
    for how, message in (
        ({"by": "words"}, "what is ranked anew are hits of vectors"),
        ({"hubness": "nnn"}, "give either hubness or a re-ranker"),
        ({"depth": 0}, "at least 1, not 0"),
    ):
        with pytest.raises(UsageError, match=message):
            filled.search("red", **{"rerank": Dark(), **how})
    filled.scorer("builtin")
    assert filled.scorer("builtin") is filled.scorer("builtin")


def test_captions_say_how_much_a_re_ranker_counts_and_what_its_scores_mean(
    photos: Path, paint: Paint
) -> None:
    """The scorer tells apart what the encoder mixes up."""
    rng = np.random.default_rng(0)
    for number in range(70):
        colour = rng.integers(0, 256, 3)
        paint(f"{number:03}.png", tuple(colour.tolist())).with_suffix(".txt").write_text(
            " ".join(name * int(1 + part // 32) for name, part in zip("rgb", colour, strict=True))
        )
    with open_collection(photos, model=Told()) as collection:
        collection.add()
        before = collection.search("rrr g b", k=5, rerank=Exact(), depth=70)
        assert before.reranked is not None
        assert (before.reranked.calibrated, before.reranked.weight) == (False, 0.5)
        assert {one.word for one in before} == {"not calibrated"}
        chosen = collection.calibrate_rerank(Exact(), depth=70)
        assert chosen.weights["image"] > 0.5  # as the encoder sees next to nothing
        assert 50 <= chosen.queries <= 200
    with open_collection(photos, model=Told()) as collection:
        found = collection.search("rrr g b", k=30, rerank=Exact(), depth=20)
        assert found.reranked is not None
        assert found.reranked.calibrated
        assert found.reranked.weight == chosen.weights["image"]
        told = [one.percentile for one in found]
        assert all(one is not None and 0 <= one <= 100 for one in told)
        # Another scorer knows nothing of it, and half of its results would be told by words that do not hold.
        other = collection.search("rrr g b", k=5, rerank=Dark(), depth=20)
        assert other.reranked is not None
        assert not other.reranked.calibrated


def test_too_few_captions_are_refused(filled: Collection) -> None:
    with pytest.raises(UsageError, match="at least 50 captioned pictures are needed"):
        filled.calibrate_rerank(Dark())


class Told(Looks):
    """Looks at little, and says of every hit how relevant it is."""

    fingerprint = "told:1"

    def encode_image(self, images: Any) -> Any:
        return super().encode_image(images) + 900 * np.array([1, 1, 1], np.float32)

    def calibrate(self, queries: Any, scores: Any, *, to: str, entries: int) -> Any:
        return np.where(np.isfinite(scores), 0.5 + 0.4 * np.tanh(scores - scores[:, :1]), np.nan)


class Exact(Dark):
    """Knows what the captions count."""

    name, fingerprint = "exact", "exact:1"

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        seen = np.array([np.asarray(open_picture(image).resize((1, 1)))[0, 0] for image in images], float)
        said = np.array([[text.count(name) for name in "rgb"] for text in texts], float)
        return -np.abs(1 + seen[pairs[:, 0]] // 32 - said[pairs[:, 1]]).sum(axis=1)
