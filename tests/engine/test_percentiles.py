"""Whether hits show what was asked: by the model's word, by the collection's captions, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint
from PIL import Image

from diptych import NewItem
from diptych.core import Item
from diptych.engine import calibration
from diptych.engine.collection import Collection, open
from diptych.engine.model import Model
from diptych.engine.query import kind_of
from diptych.errors import UsageError
from diptych.testing import Colours
from diptych.towers.calibrating import content_words, named, things


class Judged(Colours):
    """Says that hits are as relevant as they score, and that it knows colours only."""

    def calibrate(self, queries: Any, scores: Any, *, to: str, entries: int) -> Any:
        return np.where(np.isfinite(scores), np.clip(scores, 0, 1), np.nan)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        return tuple(word for word in text.split() if word not in ("red", "green", "blue"))


@pytest.fixture
def judged(photos: Path, paint: Paint) -> Iterator[Collection]:
    for name, colour in {"red": (255, 0, 0), "dark": (200, 0, 52), "green": (0, 200, 0)}.items():
        paint(f"{name}.png", colour)
    with open(photos, model=Judged()) as opened:
        opened.add()
        yield opened


def test_a_word_leaves_out_what_is_less(judged: Collection) -> None:
    assert [one.id for one in judged.search("red")] == ["red.png", "dark.png", "green.png"]
    assert [one.word for one in judged.search("red")] == ["strong", "fair", "weak"]
    assert [one.id for one in judged.search("red", min_score="fair")] == ["red.png", "dark.png"]
    assert [one.id for one in judged.search("red", min_score="strong")] == ["red.png"]


def test_what_the_best_was_is_said_when_nothing_is_left(judged: Collection) -> None:
    found = judged.search("green blue", min_score="strong")
    assert found == []
    assert found.nothing_matches
    best = judged.search("green blue", k=1)[0]
    assert found.best == best
    assert best.word == "weak"
    assert judged.search("red").best == judged.search("red")[0]


def test_words_without_meaning_are_named(judged: Collection) -> None:
    assert judged.search("red").unknown_words == ()
    assert judged.search("rot red").unknown_words == ("rot",)
    assert judged.search("rot", image=judged.folder / "red.png", negative="blau").unknown_words == (
        "rot",
        "blau",
    )
    assert judged.search(judged.folder / "red.png").unknown_words == ()


def test_no_word_leaves_out_what_is_not_calibrated(photos: Path, paint: Paint) -> None:
    paint("red.png")
    with open(photos, model=Colours()) as opened:
        opened.add()
        with pytest.raises(UsageError, match="not calibrated, so none is known to be good"):
            opened.search("red", min_score="good")
        assert opened.search("red").unknown_words == ()


def test_kinds_of_queries() -> None:
    words, picture = Item(text="a"), Item(image=Image.new("RGB", (4, 4)))
    assert kind_of(words) == "text"
    assert kind_of(picture) == "image"
    assert kind_of(Item(terms=((1.0, words), (-0.5, words)))) == "text"
    assert kind_of(Item(terms=((1.0, words), (1.0, picture)))) == "composed"
    assert kind_of(Item(terms=((1.0, picture), (1.0, picture)))) == "composed"
    assert kind_of(Item(image=picture.image, text="a")) == "composed"


STARTS, ENDS = ("bam", "dor", "fil", "gom", "hul"), ("ak", "ek", "im", "om")
NOUNS = [start + end for start in STARTS for end in ENDS]


def drawn(text: str) -> Any:
    return np.random.default_rng(list(text.encode())).standard_normal(32)


class Named(Colours):
    """Sees the two nouns that a picture's pixel names, and the words of a text; both a little blurred."""

    fingerprint = "named:1"

    def encode_image(self, images: Any) -> Any:
        arrays = [np.asarray(image).reshape(-1, 3)[0] for image in images]
        return self.encode_text([f"{NOUNS[r % 20]} {NOUNS[g % 20]} {b}x" for r, g, b in arrays])

    def encode_text(self, texts: Any) -> Any:
        self.texts += len(texts)
        found = []
        for text in texts:
            parts = [drawn(word) for word in sorted(content_words(text))]
            found.append(np.sum([*parts, 0.5 * drawn(text)], axis=0))
        return np.array(found, np.float32)


@pytest.fixture
def captioned(photos: Path, paint: Paint) -> Path:
    random = np.random.default_rng(0)
    for number in range(260):
        a, b = random.integers(20, size=2).tolist()
        paint(f"{number:03}.png", (a, b, number % 256), (8, 8))
        (photos / f"{number:03}.txt").write_text(f"a {NOUNS[a]} and a {NOUNS[b]}\n")
    return photos


def test_captions_calibrate_a_model_that_is_not(captioned: Path) -> None:
    with open(captioned, model=Named()) as opened:
        opened.add()
        present = [opened.search(f"a {noun}")[0] for noun in NOUNS]
        absent = [
            opened.search(f"a {start}{end}")[0]
            for start in ("zor", "wex", "pel")
            for end in ("uk", "os", "an")
        ]
        assert np.mean([one.word != "weak" for one in present]) > 0.8
        assert np.mean([one.word != "weak" for one in absent]) < 0.25
        assert opened.search("a zoruk").nothing_matches
        assert opened.search("a zoruk", min_score="fair") == []
        # A picture finds itself, first, and words find words.
        assert opened.search(captioned / "003.png")[0].word == "strong"
        assert opened.search("a bamak", to="text")[0].percentile is not None
    with open(captioned, model=Named()) as again:
        assert [again.search(f"a {noun}")[0] for noun in NOUNS] == present


def test_captions_of_items_that_programs_give_calibrate_as_well(captioned: Path, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    pictures = sorted(captioned.glob("*.png"))
    given = (NewItem(one.stem, image=one, texts=[one.with_suffix(".txt").read_text()]) for one in pictures)
    with open(tmp_path / "shop", model=Named()) as opened:
        opened.add_items(given, batch_size=64)
        assert opened.search("a zoruk").nothing_matches
        assert opened.search(captioned / "003.png")[0].word == "strong"


def test_it_is_made_once_and_again_when_twice_as_many(captioned: Path, paint: Paint) -> None:
    encoder = Named()
    with open(captioned, model=encoder) as opened:
        opened.add()
        made = encoder.texts
        paint("new.png", (1, 2, 3), (8, 8))
        opened.add()
        assert encoder.texts < made + 10
        for number in range(270):
            paint(f"more{number:03}.png", (number % 20, number // 20, 7), (8, 8))
            (captioned / f"more{number:03}.txt").write_text(f"a {NOUNS[number % 20]} {number}\n")
        opened.add()
        assert encoder.texts >= made + 200

        other = Named()
        other.fingerprint = "named:2"
        assert calibration.calibration_of(opened.home, Model(encoder)) is not None
        assert calibration.calibration_of(opened.home, Model(other)) is None


def test_few_captions_calibrate_nothing(photos: Path, paint: Paint) -> None:
    paint("red.png")
    (photos / "red.txt").write_text("a red wall\n")
    encoder = Colours()
    with open(photos, model=encoder) as opened:
        opened.add()
        assert encoder.texts == 1
        assert opened.search("red")[0].word == "not calibrated"


def test_the_things_that_are_asked_for_are_not_in_the_captions_here() -> None:
    assert max(named(things(), [[f"a {noun}" for noun in NOUNS]])) == 0
