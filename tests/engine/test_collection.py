"""What a collection tells of itself, which models it takes, and how it refuses."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint

from diptych import similarity
from diptych.core import Item
from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.local.database import Database
from diptych.errors import CollectionError, DiptychError, UsageError
from diptych.testing import Colours


@pytest.fixture
def filled(photos: Path, paint: Paint) -> Any:
    paint("red.png", "red").with_suffix(".txt").write_text("a red wall\nred\n")
    paint("below/blue.png", "blue")
    (photos / "words.txt").write_text("green\nblue\n")
    with open_collection(photos, model=Colours()) as collection:
        collection.add(texts=True)
        yield collection


def test_it_has_a_length_and_says_what_it_is(filled: Collection, photos: Path) -> None:
    assert len(filled) == 6
    assert repr(filled) == f"<Collection of {photos}: 2 pictures, 4 texts, colours>"
    items = list(filled)
    assert [item.image for item in items if item.image is not None] == [
        photos / "below" / "blue.png", photos / "red.png"
    ]  # fmt: skip
    assert len([item for item in items if item.image is None]) == 4


def test_an_item_is_found_by_path_and_by_id(filled: Collection, photos: Path) -> None:
    for name in ("red.png", photos / "red.png", str(photos / "red.png")):
        found = filled.get(name)
        assert isinstance(found, Item)
        assert (found.image, found.text) == (photos / "red.png", "a red wall\nred")
    words = filled.get("words.txt")
    assert words is not None
    assert (words.image, words.text) == (None, "green\nblue")
    assert filled.get("none.png") is None
    assert [filled.get(result.id).image for result in filled.search("red")] == [  # type: ignore[union-attr]
        result.path for result in filled.search("red")
    ]


def test_vectors_come_out_as_arrays(filled: Collection) -> None:
    names, vectors = filled.vectors("image")
    assert names == ["below/blue.png", "red.png"]
    assert (vectors.shape, vectors.dtype) == ((2, 3), np.float32)
    scores = similarity.dot(similarity.unit(Colours().encode_text(["red"])), vectors)[0]
    expected = {result.id: result.score for result in filled.search("red")}
    assert dict(zip(names, scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)
    assert filled.vectors("text")[0] == ["red.png", "red.png", "words.txt", "words.txt"]


def test_codes_come_out_as_signs(photos: Path, paint: Paint) -> None:
    class Hasher(Colours):
        similarity = "hamming"

        def encode_image(self, images: Any) -> Any:
            return np.where(super().encode_image(images).repeat(8, axis=1) > 100, 1, -1).astype(np.float32)

    paint("red.png", "red")
    with open_collection(photos, model=Hasher()) as collection:
        collection.add()
        assert collection.vectors("image")[1].tolist() == [[1.0] * 8 + [-1.0] * 16]


def test_what_is_closed_says_so(filled: Collection) -> None:
    filled.close()
    for ask in (
        lambda: filled.search("red"), filled.add, filled.info, lambda: len(filled), lambda: list(filled),
        lambda: filled.remove("red.png"), lambda: filled.get("red.png"), lambda: filled.vectors("image"),
        lambda: filled.make_codes(8), lambda: filled.model,
    ):  # fmt: skip
        with pytest.raises(CollectionError, match="is closed; open the collection again"):
            ask()
    filled.close()


def test_nothing_asked_gives_nothing(filled: Collection) -> None:
    assert filled.search_many([]) == []


def test_hits_and_captions_are_one_query(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.search("red")
    asked: list[str] = []
    original = Database.each

    def each(self: Database, statement: str, *values: Any) -> Any:
        asked.append(statement)
        return original(self, statement, *values)

    monkeypatch.setattr(Database, "each", each)
    assert [result.text for result in filled.search("red")] == ["a red wall\nred", None]
    assert len([one for one in asked if "caption.text" in one]) == 1


# Models


def refused(folder: Path, model: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_collection(folder, model=model)
    assert not (folder / ".diptych").exists()


def test_a_model_that_encodes_no_pictures_founds_nothing(photos: Path, paint: Paint) -> None:
    class Words:
        name, similarity = "words", "cosine"

        def encode_text(self, texts: Any) -> Any:
            return np.ones((len(texts), 3), np.float32)

    class Features(Words):
        """Takes features, as what learned from feature files does."""

        def encode_image(self, images: Any) -> Any:
            return np.stack([np.asarray(image, np.float32).reshape(7) for image in images])

    class Nothing(Words):
        def encode_image(self, images: Any) -> Any:
            return None

    class Tokens(Words):
        similarity = "maxsim"

        def encode_image(self, images: Any) -> Any:
            return np.ones((len(images), 4, 3), np.float32)

    class Infinite(Words):
        def encode_image(self, images: Any) -> Any:
            return np.full((len(images), 3), np.inf, np.float32)

    paint("a.png")
    refused(photos, Words(), "gives no vectors of pictures")
    refused(photos, Features(), r"gives no vectors of pictures.*train it on features of an encoder")
    refused(photos, Nothing(), "gives no vectors of pictures")
    refused(photos, Tokens(), "a vector a token")
    refused(photos, Infinite(), "finite numbers")


@pytest.mark.parametrize("system", ["cca", "dscmr:tiny"])
def test_a_run_that_learned_from_feature_files_is_refused(
    photos: Path, paint: Paint, tmp_path: Path, system: str
) -> None:
    """It used to say that pictures were added, and stored none; or ended in a traceback."""
    from diptych import catalogue

    paint("a.png")
    catalogue.load(system).save(tmp_path / "run")
    refused(
        photos, str(tmp_path / "run"), r"gives no vectors of pictures.*train it on features of an encoder"
    )


def test_the_fingerprint_is_computed_once(photos: Path, paint: Paint) -> None:
    class Counting(Colours):
        asked = 0

        @property
        def fingerprint(self) -> str:  # type: ignore[override]
            Counting.asked += 1
            return "counting:1"

    paint("a.png")
    with open_collection(photos, model=Counting()) as collection:
        collection.add()
        for _ in range(3):
            collection.search("red")
            collection.search(photos / "a.png")
    assert Counting.asked == 1


def test_what_an_encoder_raises_comes_as_a_sentence(
    filled: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InvalidArgument(Exception):
        pass

    def fails(*_: Any) -> Any:
        raise InvalidArgument("got rank 3\nexpected 4")

    monkeypatch.setattr(Colours, "encode_text", fails)
    with pytest.raises(
        DiptychError, match=r"colours failed on the query \(InvalidArgument: got rank 3 expected"
    ):
        filled.search("red")


def test_a_new_collection_that_nobody_closes_warns_of_nothing(photos: Path, paint: Paint) -> None:
    paint("red.png")
    collection = open_collection(photos, model=Colours())
    collection.add()
    places = [Path(nowhere.name) for _, nowhere in collection._left]
    assert all(place.is_dir() for place in places)
    assert places
    del collection
    gc.collect()
    assert not any(place.exists() for place in places)
