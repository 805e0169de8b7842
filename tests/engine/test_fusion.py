"""Words and vectors in one order: the rule by hand, what a search makes of it, and what it costs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core import Item
from diptych.engine.collection import Collection, open_collection
from diptych.engine.fusion import DEPTH, PHRASE, POWER, SMOOTHING, WEIGHT, InWords, fused, in_words
from diptych.engine.homes.entries import Worded
from diptych.engine.results import Results
from diptych.errors import UsageError
from diptych.testing import Colours


def worded(*entries: tuple[int, float, bool]) -> Worded:
    rows, shares, phrases = zip(*entries, strict=True) if entries else ((), (), ())
    return Worded(np.array(rows, np.int64), np.array(shares, np.float32), np.array(phrases, np.bool_))


# The rule


def test_the_rule_by_hand() -> None:
    rows, scores = np.array([7, 3, 5]), np.array([0.9, 0.8, 0.7], np.float32)
    words = worded((2, 1.0, False), (3, 0.8, False), (4, 1.0, True), (5, 0.25, False), (9, 0.5, False))
    late = {2: 0.1, 4: -0.2, 9: 0.3}
    found = fused(rows, scores, words, lambda some: np.array([late[row] for row in some], np.float32))
    near = [(SMOOTHING + 1) / (SMOOTHING + place) for place in (1, 2, 3)]
    values = {
        4: WEIGHT + PHRASE,
        2: WEIGHT,
        3: near[1] + WEIGHT * 0.8**POWER,
        7: near[0],
        5: near[2],  # a quarter of the words tells nothing
        9: WEIGHT * 0.5**POWER,
    }
    assert found.rows.tolist() == sorted(values, key=lambda row: -values[row])
    assert found.scores.tolist() == pytest.approx([-0.2, 0.1, 0.8, 0.9, 0.7, 0.3])
    assert found.by == ["words", "words", "both", "vectors", "vectors", "words"]
    assert found.shares.tolist() == pytest.approx([1, 1, 0.8, 0, 0, 0.5])


def test_without_words_nothing_moves() -> None:
    rows, scores = np.array([7, 3, 5]), np.array([0.9, 0.8, 0.7], np.float32)
    for words in (worded(), worded((1, 0.2, False))):
        found = fused(rows, scores, words, lambda some: pytest.fail("nothing is to be scored"))
        assert (found.rows.tolist(), found.by) == ([7, 3, 5], ["vectors"] * 3)


def test_entries_of_equal_words_stay_in_the_order_of_the_vectors() -> None:
    rows = np.arange(2 * DEPTH)[::-1]
    words = worded(*((row, 1.0, False) for row in [*range(2 * DEPTH), 100, 101]))
    scores = np.linspace(1, 0, len(rows), dtype=np.float32)
    found = fused(rows, scores, words, lambda some: (some / 1000).astype(np.float32))
    assert found.rows.tolist() == [*rows.tolist(), 101, 100]


def test_what_of_a_query_is_words() -> None:
    dog, cat, picture = Item(text="a dog"), Item(text="a cat"), Item(image=Path("a.png"))
    assert in_words(dog) == InWords("a dog")
    assert in_words(Item(terms=((1.0, dog), (-0.5, cat), (-0.5, Item(text="mud"))))) == InWords(
        "a dog", ("a cat", "mud")
    )
    assert in_words(picture) is None
    assert in_words(Item(text="a dog", image=Path("a.png"))) is None
    assert in_words(Item(terms=((1.0, dog), (1.0, picture)))) is None
    assert in_words(Item(terms=((1.0, dog), (-1.0, picture)))) is None


# In a collection


@pytest.fixture
def filled(photos: Path, paint: Any) -> Iterator[Collection]:
    """Reds and greens, of which one green has a caption, and one blue a telling name."""
    for number in range(30):
        paint(f"p{number}.png", (255, number, 0))
        paint(f"g/{number}.png", (number, 200, 0))
    (photos / "g" / "7.txt").write_text("our red dog\nasleep by the fire")
    paint("b/OldRedBarn.png", (0, 1, 255))
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        yield collection


def told(results: Results) -> list[tuple[str, str, str]]:
    return [(one.id, one.by, one.found_in) for one in results]


def test_a_picture_is_found_by_its_caption(filled: Collection) -> None:
    for how in ({}, {"exact": True}, {"k": 1}, {"k": 100}):
        best = filled.search("asleep by the fire", **how)[0]
        assert (best.id, best.words, best.found_in) == ("g/7.png", 1, "sidecar")
    alone = filled.search("asleep by the fire", by="vectors")
    assert {one.by for one in alone} == {"vectors"}
    assert {(one.words, one.found_in) for one in alone} == {(0, "")}


def test_what_it_was_found_by_is_told(filled: Collection) -> None:
    results = filled.search("red barn", k=3)
    assert told(results)[0] == ("b/OldRedBarn.png", "words", "name")
    assert results[0].as_dict()["by"] == "words"
    assert results[0].as_dict()["found_in"] == "name"
    assert results[1].by == "vectors"
    assert results[0].score == filled.search("red barn", k=100, by="vectors")[-1].score < results[1].score


def test_by_words_alone(filled: Collection) -> None:
    assert told(filled.search("red dog", by="words"))[0] == ("g/7.png", "words", "sidecar")
    results = filled.search("red dog", by="words", to="text")
    assert [(one.text, one.score) for one in results] == [("our red dog", 1)]
    assert [one.id for one in filled.search("red", by="words", negative="dog")] == ["b/OldRedBarn.png"]
    assert filled.search("a submarine", by="words") == []
    assert filled.search("a submarine", by="words").nothing_matches
    assert filled.search("red fox", by="words", min_score=0.9) == []


def test_the_first_hits_are_the_same_however_many_are_wanted(filled: Collection) -> None:
    every = told(filled.search("a red dog", k=61))
    assert len(every) == 61
    for count in (1, 3, 20, 40):
        assert told(filled.search("a red dog", k=count)) == every[:count]
    assert [told(one) for one in filled.search_many(["a red dog", "red barn"], k=5)] == [
        every[:5],
        told(filled.search("red barn", k=5)),
    ]


def test_only_the_folder_that_was_asked(filled: Collection, photos: Path) -> None:
    with open_collection(photos / "g", model=Colours()) as part:
        assert told(part.search("our red dog", k=40))[0][0] == "g/7.png"
        assert len(part.search("our red dog", k=40)) == 30
        assert [one.id for one in part.search("red", by="words")] == ["g/7.png"]


def test_only_what_fulfils_a_condition(filled: Collection) -> None:
    part = filled.search("our red dog", k=40, where="folder = 'g'")
    assert (len(part), part[0].id, part[0].words) == (30, "g/7.png", 1)
    assert [one.id for one in filled.search("red", by="words", where="folder = 'b'")] == ["b/OldRedBarn.png"]
    assert filled.search("our red dog", by="words", where="folder = 'x'") == []
    assert {one.by for one in filled.search("our red dog", where="folder = 'b'")} == {"vectors"}


def test_with_codes(filled: Collection) -> None:
    before = told(filled.search("a red dog", k=5))
    filled.make_codes(16)
    assert told(filled.search("a red dog", k=5, exact=True)) == before
    assert told(filled.search("asleep by the fire", k=5, recall=0.9))[0][0] == "g/7.png"


def test_words_to_keep_away_from(filled: Collection) -> None:
    assert filled.search("red", negative="dog", k=1)[0].id == "b/OldRedBarn.png"
    assert all(
        one.id != "g/7.png" or one.by == "vectors" for one in filled.search("red", negative="dog", k=61)
    )


def test_pictures_have_no_words(filled: Collection, photos: Path) -> None:
    for how in ({"image": photos / "p0.png"}, {"query": "barn", "image": photos / "p0.png"}):
        assert {one.by for one in filled.search(**how)} == {"vectors"}
        with pytest.raises(UsageError, match="ask for words only"):
            filled.search(**how, by="words")
    with pytest.raises(UsageError, match="by words, vectors or both, not by 'sound'"):
        filled.search("red", by="sound")  # type: ignore[arg-type]


def test_what_has_all_words_is_no_bad_match(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def calibrate(self: Any, queries: Any, scores: Any, **how: Any) -> Any:
        return np.zeros_like(scores)

    monkeypatch.setattr(Colours, "calibrate", calibrate, raising=False)
    assert filled.search("a submarine").nothing_matches
    assert not filled.search("asleep by the fire").nothing_matches
    assert filled.search("asleep by the fire", by="vectors").nothing_matches
    assert filled.search("asleep in the submarine").nothing_matches


def test_moved_and_changed_pictures_have_the_words_of_now(filled: Collection, photos: Path) -> None:
    (photos / "b" / "OldRedBarn.png").rename(photos / "b" / "NewShed.png")
    (photos / "g" / "7.txt").write_text("a violin")
    assert filled.add().encoded == 1
    assert filled.search("barn", by="words") == []
    assert told(filled.search("shed", by="words")) == [("b/NewShed.png", "words", "name")]
    assert filled.search("asleep", by="words") == []
    assert filled.search("violins", by="words")[0].id == "g/7.png"


def test_a_model_without_texts_is_searched_by_words(photos: Path, paint: Any) -> None:
    class Pictures:
        name, similarity, fingerprint = "pictures", "cosine", "pictures:1"

        def encode_image(self, images: Any) -> Any:
            return Colours().encode_image(images)

    for name in ("red", "green", "blue"):
        paint(f"{name}.png", name)
    (photos / "green.txt").write_text("a dog in the grass\nour dog")
    with open_collection(photos, model=Pictures()) as collection:  # type: ignore[arg-type]
        assert collection.add().encoded == 3
        assert told(collection.search("dogs")) == [("green.png", "words", "sidecar")]
        assert [one.text for one in collection.search("grass", to="text")] == ["a dog in the grass"]
        assert told(collection.search("blue")) == [("blue.png", "words", "name")]
        assert len(collection.search(photos / "red.png", itself=True)) == 3
        assert collection.search(photos / "red.png", to="text") == []
        with pytest.raises(UsageError, match="does not encode texts"):
            collection.search("dogs", by="vectors")
        assert collection.add().changed == 0
