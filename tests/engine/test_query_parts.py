"""Queries of several weighted parts, and what the collection has as one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, names

from diptych.core import Item
from diptych.engine.collection import Collection, open
from diptych.engine.weights import typed, typed_words
from diptych.errors import CollectionError, UsageError
from diptych.testing import Colours


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("cat", "cat"),
        ("2:cat", (2.0, "cat")),
        (".5:a cat", (0.5, "a cat")),
        ("0.25: cat ", (0.25, "cat")),
        ("2: 1984", (2.0, "1984")),
        ("1: 2:cat", (1.0, "2:cat")),
        ("10:30 train", "10:30 train"),
        ("16:9", "16:9"),
        ("train at 10:half", "train at 10:half"),
        ("2:", "2:"),
        ("2: ", "2: "),
        (":cat", ":cat"),
        ("-2:cat", "-2:cat"),
        ("http://cat", "http://cat"),
        ("٢:cat", "٢:cat"),
    ],
)
def test_a_weight_is_typed_before_a_colon(argument: str, told: Any) -> None:
    assert typed(argument) == told


def test_a_weight_begins_another_text() -> None:
    assert typed_words([]) == []
    assert typed_words(["the", "10:30", "train"]) == ["the 10:30 train"]
    assert typed_words(["red", "car", "0.5:snow", "on", "top"]) == ["red car", (0.5, "snow on top")]


@pytest.fixture
def collection(photos: Path, encoder: Colours, paint: Paint) -> Iterator[Collection]:
    for colour in ("red", "blue", "magenta", "black", "green", "yellow"):
        paint(f"{colour}.png", colour)
    (photos / "green.txt").write_text("green grass")
    (photos / "notes.txt").write_text("blue\nblue and blue")
    with open(photos, model=encoder) as opened:
        opened.add()
        opened.add(photos / "notes.txt")
        yield opened


def scores(collection: Collection, **how: Any) -> dict[str, float]:
    return {one.id: one.score for one in collection.search(k=10, itself=True, **how)}


def test_several_texts_count_by_their_weights(collection: Collection) -> None:
    assert names(collection.search("red", text="blue", k=1)) == ["magenta.png"]
    assert names(collection.search(text=["red", "blue"], k=1)) == ["magenta.png"]
    assert names(collection.search(text=[(9, "red"), (0.1, "blue")], k=1)) == ["red.png"]
    assert names(collection.search("red", text=(9.0, "blue"), k=1)) == ["blue.png"]
    parts = ((1.0, Item(text="red")), (0.5, Item(text="blue")), (-0.25, Item(text="green")))
    expected = {one.id: one.score for one in collection.search(Item(terms=parts), k=10)}
    assert scores(collection, text=["red", (0.5, "blue")], negative=(0.25, "green")) == pytest.approx(
        expected
    )


def test_pictures_have_weights_of_their_own(collection: Collection) -> None:
    red, blue = collection.folder / "red.png", collection.folder / "blue.png"
    for weight in (0.25, 4.0):
        pair = scores(collection, image=[(weight, red), str(blue)])
        assert pair == pytest.approx(scores(collection, image=[red, (1 / weight, blue)]), abs=1e-5)
    assert scores(collection, image=(3, red)) == pytest.approx(scores(collection, image=red))


def test_what_is_there_is_asked_with_without_decoding(collection: Collection, encoder: Colours) -> None:
    plain = scores(collection, image=collection.folder / "magenta.png")
    mixed = scores(collection, query="green", image=(0.5, collection.folder / "red.png"))
    before = encoder.pictures
    (collection.folder / "magenta.png").write_bytes(b"not a picture any more")
    assert scores(collection, like="magenta.png") == pytest.approx(plain, abs=2e-3)
    assert scores(collection, query="green", like=(0.5, "red.png")) == pytest.approx(mixed, abs=2e-3)
    assert encoder.pictures == before
    found = collection.search(like=collection.folder / "red.png", k=10)
    assert "red.png" not in names(found)
    assert len(found) == 5


def test_texts_are_asked_with_as_well(collection: Collection, encoder: Colours) -> None:
    before = encoder.texts
    assert names(collection.search(like="notes.txt", k=1)) == ["blue.png"]
    assert "notes.txt" not in names(collection.search(like="notes.txt", to="text"))
    assert encoder.texts == before
    assert collection.search(like="green.png", to="text", k=1)[0].text == "green grass"


def test_codes_are_asked_with_as_they_are_kept(photos: Path, paint: Paint) -> None:
    class Codes(Colours):
        similarity = "hamming"
        fingerprint = "codes:1"

        def encode_image(self, images: Any) -> Any:
            return np.where(np.tile(super().encode_image(images), 8)[:, :24] > 100, 1.0, -1.0)

    for colour in ("red", "blue", "magenta"):
        paint(f"{colour}.png", colour)
    with open(photos, model=Codes()) as opened:
        opened.add()
        assert scores(opened, like="red.png") == scores(opened, image=photos / "red.png")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"like": "mangenta.png"}, r"has no 'mangenta.png' indexed; did you mean magenta.png"),
        ({"like": "x"}, "has no 'x' indexed; name it as results do, by its path from there"),
        ({"like": 3}, "what is in the collection is named by its path, not by an int"),
        ({"like": (0, "red.png")}, "image part must lie between 0.001 and 1000, not 0;"),
        ({"text": [(float("nan"), "red")]}, "text part must be a finite number, not nan"),
        ({"text": [(2, "red"), " "]}, "a text to look for is words, not ' '"),
        ({"text": [(2, 3)]}, "a text to look for is words, not 3"),
        (
            {"text": "red", "negative": (5000, "blue")},
            "negative part must lie between 0.001 and 1000, not 5000",
        ),
        ({"text": "red", "negative": 3}, "what to keep away from is said in words, not by an int"),
    ],
)
def test_what_is_no_part(collection: Collection, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        collection.search(**how)


def test_what_was_removed_meanwhile_is_told(collection: Collection) -> None:
    item = collection.get("red.png")
    assert item is not None
    gone = Item(item.id, image=item.image, meta={**item.meta, "recalled": True})
    collection.remove(collection.folder / "red.png")
    with pytest.raises(CollectionError, match=r"red.png has no vector in the collection any more; index it"):
        collection.search(gone)
