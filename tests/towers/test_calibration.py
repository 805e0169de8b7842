"""Relevance is told by what queries score for which nothing is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pytest

from diptych.core import Floats
from diptych.similarity import unit
from diptych.towers.calibrating import Captioned, calibrated, content_words, named, things
from diptych.towers.calibration import Background, Line, Relevance, averages

SUBJECTS = [
    f"{a}{b}" for a in ("ban", "dor", "fil", "gam", "hul") for b in ("ak", "ek", "ok", "uk", "im", "om")
]


def world(noise: float, count: int = 600) -> tuple[Captioned, Callable[[Sequence[str]], Floats]]:
    """Pictures of one subject and one place each, and an encoder of texts that sees both through noise."""
    random = np.random.default_rng(0)
    meanings: dict[str, Floats] = {}

    def meaning(word: str) -> Floats:
        if word not in meanings:
            own = np.random.default_rng(list(word.encode()))
            meanings[word] = own.standard_normal(48).astype(np.float32)
        return meanings[word]

    def encode_texts(texts: Sequence[str]) -> Floats:
        found = []
        for text in texts:
            words = sorted(content_words(text)) or ["nothing"]
            own = np.random.default_rng(list(text.encode()))
            blur = own.standard_normal(48) * noise
            found.append(np.mean([meaning(word) for word in words], axis=0) + blur / np.sqrt(len(words)))
        return unit(np.array(found, np.float32))

    drawn = random.integers(len(SUBJECTS), size=(count, 2))
    captions = [f"a {SUBJECTS[a]} and a {SUBJECTS[b]}" for a, b in drawn]
    sharp = np.array([np.mean([meaning(SUBJECTS[a]), meaning(SUBJECTS[b])], axis=0) for a, b in drawn])
    image = unit((sharp + noise * random.standard_normal(sharp.shape)).astype(np.float32))
    return Captioned(image, encode_texts(captions), captions, np.arange(count)), encode_texts


def best_three(queries: Floats, image: Floats) -> Floats:
    return -np.sort(-(queries @ image.T), axis=1)[:, :3]


def test_a_hit_counts_with_those_after_it() -> None:
    scores = np.array([[0.9, 0.6, 0.3, 0.0], [0.5, 0.1, -np.inf, -np.inf]])
    expected = [[0.6, 0.3, 0.15, 0.0], [0.3, 0.1, -np.inf, -np.inf]]
    np.testing.assert_allclose(averages(scores, 3), expected)
    np.testing.assert_array_equal(averages(scores, 1), scores)


def test_the_spread_is_that_of_the_scores() -> None:
    random = np.random.default_rng(0)
    entries = (random.standard_normal((500, 9)) @ random.standard_normal((9, 9))).astype(np.float32)
    queries = random.standard_normal((4, 9)).astype(np.float32)
    expected = np.asarray((queries @ entries.T).std(axis=1, ddof=1), np.float64)
    np.testing.assert_allclose(
        np.asarray(Background.of(entries).spread(queries), np.float64), expected, rtol=1e-4
    )


def test_a_percentile_by_hand() -> None:
    line = Line(averaged=1, weight=2.0, mean=0.1, growth=0.05, deviation=0.1)
    # r = 0.35 + 2 * 0.1 = 0.55; among e^4 entries 0.1 + 0.2 = 0.3 is expected: 2.5 deviations less.
    spread, entries = np.array([0.1], np.float32), round(np.e**4)
    told = line.percentiles(spread, np.array([[0.35, 0.1, -np.inf]]), entries)
    np.testing.assert_allclose(told, [[NormalDist().cdf(2.5), 0.5, 0]], atol=2e-3)
    assert (np.diff(line.percentiles(spread, np.array([[0.9, 0.5, 0.2]]), 100)) < 0).all()
    # The best of more entries has to score higher.
    assert line.percentiles(spread, np.array([[0.35]]), 10**6) < told[0, 0]


def test_it_is_kept_as_arrays_and_says_what_it_does_not_know() -> None:
    given, encode_texts = world(0.3)
    found = calibrated(given, encode_texts)
    assert found is not None
    again = Relevance.of_arrays({**found.arrays(), "text0.bias": np.ones(3)})
    assert again is not None
    assert again.lines == found.lines
    queries = given.text[:5]
    scores = best_three(queries, given.image)
    for of in ("text", "image", "composed"):
        expected = found(queries, scores, to="image", entries=600, of=of)
        np.testing.assert_array_equal(again(queries, scores, to="image", entries=600, of=of), expected)
    some = Relevance(found.backgrounds, {("text", "image"): found.lines["text", "image"]})
    assert np.isnan(some(queries, scores, to="image", entries=600, of="image")).all()
    assert np.isfinite(some(queries, scores, to="image", entries=600)).all()
    assert Relevance.of_arrays({"text0.bias": np.ones(3)}) is None


def told(noise: float, asked: str) -> tuple[Floats, Floats]:
    """Percentiles of the best hits for what is there and what is not, of pictures that had no part in it."""
    given, encode_texts = world(noise, 900)
    fitted = calibrated(
        Captioned(given.image[:600], given.text[:600], given.captions[:600], np.arange(600)), encode_texts
    )
    assert fitted is not None
    others = given.image[600:]
    present = given.text[600:] if asked == "captions" else encode_texts([f"a {name}" for name in SUBJECTS])
    absent = encode_texts([f"a {a}{b}" for a in ("zor", "wex", "pel", "nim") for b in SUBJECTS])
    return tuple(  # type: ignore[return-value]
        fitted(queries, best_three(queries, others), to="image", entries=len(others))[:, 0]
        for queries in (present, absent)
    )


@pytest.mark.parametrize("asked", ["captions", "short"])
def test_what_is_there_is_told_from_what_is_not(asked: str) -> None:
    present, absent = told(0.3, asked)
    assert np.mean(absent >= 0.95) <= 0.10
    assert np.mean(present >= 0.95) >= 0.8


def test_a_stronger_model_keeps_more_at_the_same_cut() -> None:
    kept = []
    for noise in (0.2, 0.8, 1.6):
        present, absent = told(noise, "captions")
        assert np.mean(absent >= 0.95) <= 0.12
        kept.append(np.mean(present >= 0.95))
    assert kept[0] > kept[1] > kept[2]


def test_it_does_not_fall_when_more_pictures_are_right() -> None:
    given, encode_texts = world(0.3)
    found = calibrated(given, encode_texts)
    assert found is not None
    query = encode_texts([f"a {SUBJECTS[0]}"])
    right = np.flatnonzero([SUBJECTS[0] in caption for caption in given.captions])
    wrong = np.setdiff1d(np.arange(600), right)
    shares = []
    for count in (1, 3, 10, 30):
        gallery = given.image[np.concatenate([right[:count], wrong[: 400 - count]])]
        shares.append(float(found(query, best_three(query, gallery), to="image", entries=400)[0, 0]))
    assert shares == sorted(shares)
    assert shares[-1] > 0.95


def test_too_few_pictures_are_not_calibrated_on() -> None:
    given, encode_texts = world(0.3, 199)
    assert calibrated(given, encode_texts) is None


def test_words_that_name_something() -> None:
    assert content_words("Two dogs and the 3 boxes, of berries: a glass bus") == {
        "dog", "box", "berry", "glass", "bus",
    }  # fmt: skip
    captions = [["a dog in the snow"], ["red cars", "a man by a car"]]
    texts = ["a dog", "a red dog", "two men", "a man in the snow on a red horse", "the"]
    np.testing.assert_allclose(named(texts, captions), [1, 0.5, 0, 0.5, 0])


def test_the_things_are_many_and_different() -> None:
    assert len(things()) == len(set(things())) > 250
    assert all(content_words(thing) for thing in things())
