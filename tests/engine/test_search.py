"""A search is the pipeline's stage over the collection, told in plain words."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, names
from PIL import Image

from diptych import similarity
from diptych.core import Item, Run
from diptych.engine import calibration as words
from diptych.engine.collection import Collection, open
from diptych.engine.query import decoded
from diptych.errors import ImageError, MissingExtra, UsageError
from diptych.pipeline import over
from diptych.testing import Colours


@pytest.fixture
def collection(photos: Path, encoder: Colours) -> Any:
    with open(photos, model=encoder) as opened:
        yield opened


@pytest.fixture
def filled(collection: Collection, paint: Paint) -> Collection:
    rng = np.random.default_rng(0)
    for number in range(40):
        paint(f"{number:02}.png", tuple(int(value) for value in rng.integers(0, 256, 3)))
    collection.add()
    return collection


def test_search_equals_brute_force(filled: Collection, photos: Path, encoder: Colours) -> None:
    paths = sorted(photos.glob("*.png"))
    stored = similarity.unit(encoder.encode_image([decoded(Item(image=p), encoder).image for p in paths]))
    for query in ("red", "green blue", "blue blue red"):
        scores = similarity.dot(similarity.unit(encoder.encode_text([query])), stored.astype(np.float16))[0]
        order = np.argsort(-scores, kind="stable")[:7]
        found = filled.search(query, k=7)
        assert [result.path for result in found] == [paths[row] for row in order]
        assert [result.rank for result in found] == list(range(1, 8))
        np.testing.assert_allclose([result.score for result in found], scores[order], atol=1e-5)


def test_what_is_measured_is_what_is_served(filled: Collection, encoder: Colours) -> None:
    gallery = filled.gallery("image")
    run = over(encoder, gallery, 5)(Run([Item(text="red"), Item(text="blue")], gallery))
    assert run.hits is not None
    for line, query in zip(run.hits.rows, ("red", "blue"), strict=True):
        assert [gallery[row].image for row in line] == [result.path for result in filled.search(query, k=5)]
    assert len(gallery) == 40


def test_many_queries_at_once(filled: Collection) -> None:
    queries = [Item(text="red"), Item(text="blue"), Item(text="green")]
    together = filled.search_many(queries, k=4)
    assert [names(one) for one in together] == [names(filled.search(q.text, k=4)) for q in queries]


def test_composed_queries(collection: Collection, paint: Paint) -> None:
    for colour in ("red", "blue", "magenta", "black"):
        paint(f"{colour}.png", colour)
    collection.add()
    assert names(collection.search(Item(terms=((1.0, Item(text="red")), (1.0, Item(text="blue"))))))[0] == (
        "magenta.png"
    )
    assert names(collection.search("red", image=collection.folder / "blue.png", k=1)) == ["magenta.png"]
    assert names(collection.search("red blue", negative="red", negative_weight=2.0, k=1)) == ["blue.png"]


def test_a_least_score(filled: Collection) -> None:
    whole = filled.search("red", k=40)
    part = filled.search("red", k=40, min_score=whole[4].score)
    assert names(part) == names(whole)[:5]
    empty = filled.search("red", min_score=2.0)
    assert list(empty) == []
    assert empty.nothing_matches


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "nothing was asked"),
        ({"query": "  "}, "nothing was asked"),
        ({"query": "red", "k": 0}, "k must be at least 1"),
        ({"query": "red", "to": "sound"}, "to must be image or text"),
    ],
)
def test_what_cannot_be_asked(filled: Collection, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        filled.search(**how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"query": "red", "text_weight": 0},
            "weight of a query's text part must lie between 0.001 and 1000, not 0",
        ),
        ({"query": "red", "negative": "blue", "negative_weight": 0.0}, "negative part must lie between"),
        ({"query": "red", "text_weight": 1e300}, "text part must lie between 0.001 and 1000, not 1e.300"),
        ({"query": "red", "text_weight": float("inf")}, "text part must be a finite number, not inf"),
        (
            {"query": "red", "min_score": float("nan")},
            "lowest score .* or strong, good or fair, not nan",
        ),
        (
            {"query": "red", "min_score": float("inf")},
            "lowest score .* or strong, good or fair, not inf",
        ),
        (
            {"query": "red", "min_score": "0.2"},
            "lowest score .* or strong, good or fair, not '0.2'",
        ),
        ({"query": "red \udcff"}, "hold bytes that are not UTF-8"),
        ({"query": "red", "negative": "\udcff"}, "hold bytes that are not UTF-8"),
        ({"query": "red", "k": 2.5}, "k must be at least 1, not 2.5"),
    ],
)
def test_numbers_and_words_that_mean_nothing(filled: Collection, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        filled.search(**how)


def test_more_results_than_there_are_entries(filled: Collection) -> None:
    assert len(filled.search("red", k=10**9)) == len(filled)


def test_a_query_picture_that_cannot_be_read(filled: Collection, photos: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: cannot be read: there is no such file"):
        filled.search(photos / "gone.jpg")


def test_an_empty_collection_finds_nothing(collection: Collection, photos: Path) -> None:
    collection.add()
    found = collection.search("red")
    assert list(found) == []
    assert found.nothing_matches


def test_several_threads_may_search_while_one_adds(filled: Collection, paint: Paint) -> None:
    failures: list[BaseException] = []

    def search() -> None:
        try:
            for _ in range(20):
                assert len(filled.search("red", k=5)) == 5
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(10):
        paint(f"new{number}.png", (number, 200, 9))
        filled.add()
    for thread in threads:
        thread.join()
    assert failures == []


# Words for scores


def test_words_have_the_documented_thresholds() -> None:
    assert [words.word(p) for p in (100, 99.5, 99.4, 98, 97.9, 96, 95.9, 0)] == [
        "strong", "strong", "good", "good", "fair", "fair", "weak", "weak",
    ]  # fmt: skip
    assert words.word(None) == "not calibrated"


class Calibrated(Colours):
    """Takes what is all of one colour for relevant."""

    weak = 0.1

    def calibrate(self, queries: Any, scores: Any, *, to: str, entries: int) -> Any:
        assert (queries.shape, to, entries) == ((1, 3), "image", 3)
        return np.where(scores > 0.9, 0.985, self.weak)


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        (
            Calibrated(),
            [(pytest.approx(98.5), "good"), (pytest.approx(10), "weak"), (pytest.approx(10), "weak")],
        ),
        (Colours(), [(None, "not calibrated")] * 3),
    ],
    ids=["calibrated", "not calibrated"],
)
def test_a_percentile_is_the_encoder_s_own_or_none(
    photos: Path, paint: Paint, encoder: Any, told: list[Any]
) -> None:
    for colour in ("red", "green", "blue"):
        paint(f"{colour}.png", colour)
    with open(photos, model=encoder) as opened:
        opened.add()
        found = opened.search("red")
        assert [(result.percentile, result.word) for result in found] == told
        assert not found.nothing_matches
        (photos / "red.png").unlink()
        (photos / "more.png").write_bytes((photos / "green.png").read_bytes())
        opened.add()
        # That nothing matches can be said only by an encoder whose scores mean something.
        assert opened.search("red").nothing_matches is isinstance(encoder, Calibrated)


def test_a_cosine_is_never_more_than_one(collection: Collection, paint: Paint) -> None:
    for red in range(0, 250, 10):
        paint(f"{red}.png", (red, 99, 41))
    collection.add()
    best = [
        collection.search(path, k=1, itself=True)[0].score for path in sorted(collection.folder.glob("*.png"))
    ]
    assert max(best) <= 1.0
    assert min(best) > 0.999


# Watching


def test_watching_keeps_the_collection_current(collection: Collection, paint: Paint) -> None:
    paint("a.png")
    summaries = collection.watch()
    assert next(summaries).added == 1

    def later() -> None:
        time.sleep(0.5)
        paint("b.png", "blue")

    thread = threading.Thread(target=later)
    thread.start()
    assert next(summaries).added == 1
    thread.join()
    summaries.close()


def test_watching_without_its_package_names_the_extra(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    summaries = collection.watch()
    next(summaries)
    with pytest.raises(MissingExtra, match=r"diptych\[watch\]"):
        next(summaries)


def test_a_scorer_of_pairs_cannot_index(photos: Path) -> None:
    with pytest.raises(UsageError, match="gives no vectors of pictures"):
        open(photos, model="ieft:tiny")


def test_no_picture_is_more_than_itself(photos: Path) -> None:
    """In half precision, the score of a picture with itself may come out above 1."""
    rng = np.random.default_rng(0)

    class Wide(Colours):
        fingerprint = "wide:1"

        def encode_image(self, images: Any) -> Any:
            return np.random.default_rng(6).standard_normal((len(images), 500)).astype(np.float32)

    Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(photos / "a.png")
    with open(photos, model=Wide()) as collection:
        collection.add()
        (found,) = collection.search(photos / "a.png", itself=True)
    assert 0.999 < found.score <= 1.0
