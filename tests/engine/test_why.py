"""Why a result matches: the map of its picture, and the words of its texts."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.engine.homes.local.words import spans
from diptych.engine.why import GRID
from diptych.errors import UsageError
from diptych.testing import Colours

PHOTOGRAPHS = Path(__file__).parents[1] / "photographs"


@pytest.fixture
def quarters(photos: Path) -> Path:
    """A picture whose lower right quarter is green and whose rest is red."""
    picture = Image.new("RGB", (320, 240), (200, 0, 0))
    picture.paste((0, 200, 0), (160, 120, 320, 240))
    picture.save(photos / "quarters.png")
    (photos / "quarters.txt").write_text("red with green in a corner\nGreens and others\n", encoding="utf-8")
    return photos


def test_the_map_shows_where_what_was_asked_is(quarters: Path) -> None:
    with diptych.open(quarters, model=Colours()) as collection:
        collection.add()
        found = collection.why("quarters.png", "green")
        assert found.relevance is not None
        assert found.relevance.shape == (GRID, GRID)
        half = GRID // 2
        inside = found.relevance[half + 1 :, half + 1 :]
        assert inside.min() > found.relevance[: half - 1].max()
        assert found.score == pytest.approx(collection.search("green")[0].score, abs=1e-3)
        other = collection.why("quarters.png", "green", negative=(2.0, "green"), text="red").relevance
        assert other is not None
        assert other[0, 0] > other[-1, -1]  # what is asked decides


def test_words_of_texts_are_marked_as_words_find_them_and_as_the_model_reads_them(quarters: Path) -> None:
    with diptych.open(quarters, model=Colours()) as collection:
        collection.add()
        first, second = collection.why("quarters.png", "green").texts
        assert [first.text[start:end] for start, end in first.found] == ["green"]
        assert [second.text[start:end] for start, end in second.found] == ["Greens"]  # by its stem
        most = max(first.meaning, key=lambda span: span[2])
        assert (first.text[most[0] : most[1]], most[2]) == ("green", 1.0)
        told = collection.why("quarters.png", "green").as_dict()
        assert np.shape(told["relevance"]) == (GRID, GRID)
        assert told["texts"][0]["found"] == [[9, 14]]
        assert told["reason"] == ""


def test_a_text_has_words_but_no_map(quarters: Path) -> None:
    (quarters / "note.txt").write_text("a green note\n", encoding="utf-8")
    with diptych.open(quarters, model=Colours()) as collection:
        collection.add(texts=True)
        collection.add_items([])
        found = collection.why("note.txt", "green")
        assert found.relevance is None
        assert "it is a text" in found.reason
        assert found.texts[0].found


def test_what_is_not_there_is_refused(quarters: Path) -> None:
    with diptych.open(quarters, model=Colours()) as collection:
        collection.add()
        with pytest.raises(UsageError, match=r"has no 'gone\.png' indexed"):
            collection.why("gone.png", "green")
        with pytest.raises(UsageError, match="nothing was asked"):
            collection.why("quarters.png", " ")


def test_spans_are_those_that_a_search_by_words_finds() -> None:
    texts = ["Two dogs, é\x01 running", "ein Über-Hund", "nothing", ""]
    assert spans(texts, "the dog runs") == [((4, 8), (13, 20)), (), (), ()]
    assert spans(texts, "uber") == [(), ((4, 8),), (), ()]
    assert spans(texts, '" OR *') == [(), (), (), ()]
    assert spans(["the the"], "the") == [((0, 3), (4, 7))]


def test_the_map_of_the_built_in_model_finds_photographs_in_collages(photos: Path) -> None:
    with (PHOTOGRAPHS / "captions.csv").open(encoding="utf-8", newline="") as file:
        captions = {row["image"]: row["caption"] for row in reversed(list(csv.DictReader(file)))}
    drawn, right = random.Random(0), 0
    asked = sorted(captions)[::2]
    places = []
    for name in asked:
        four = [name, *drawn.sample([other for other in sorted(captions) if other != name], 3)]
        drawn.shuffle(four)
        places.append(four.index(name))
        collage = Image.new("RGB", (320, 320))
        for at, one in enumerate(four):
            with Image.open(PHOTOGRAPHS / one) as picture:
                collage.paste(picture.convert("RGB").resize((160, 160)), (at % 2 * 160, at // 2 * 160))
        collage.save(photos / f"{Path(name).stem}.png")
    with diptych.open(photos) as collection:
        collection.add()
        for name, place in zip(asked, places, strict=True):
            relevance = collection.why(f"{Path(name).stem}.png", captions[name]).relevance
            assert relevance is not None
            row, column = np.unravel_index(int(relevance.argmax()), relevance.shape)
            right += (row >= GRID // 2) * 2 + (column >= GRID // 2) == place
    assert right >= len(asked) - 1  # by chance it would be a quarter of them
