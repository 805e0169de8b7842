"""What a program may get wrong with a collection ends in a sentence, not in another library's error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.engine.collection import Collection
from diptych.testing import Colours


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (9, 9), name).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda c: c.add(3), "an object of type int names no file"),
        (lambda c: c.add(diptych.Item("x", text="a cat")), "an object of type Item names no file"),
        (lambda c: c.remove(3), "an object of type int names no file"),
        (lambda c: c.get(3), "an object of type int names no file"),
        (lambda c: diptych.open(cast(Any, 3)), "an object of type int names no file"),
        (lambda c: c.add("x" * 300), "x does not exist; give folders, files or patterns"),
        (lambda c: c.count("pictures"), "side must be image or text, not 'pictures'"),
        (lambda c: c.vectors("pictures"), "side must be image or text, not 'pictures'"),
        (lambda c: c.gallery("pictures"), "to must be image or text, not 'pictures'"),
        (lambda c: c.search("a", negative=3), "said in words, not by an int"),
        (lambda c: c.search("a", recall=0.9), "or index it with codes first"),
    ],
)
def test_misuse_is_said(photos: Path, misuse: Callable[[Collection], Any], message: str) -> None:
    with diptych.open(photos, model=Colours()) as collection:
        collection.add()
        with pytest.raises(diptych.errors.UsageError, match=message):
            misuse(collection)


def test_a_name_that_no_disk_takes_is_no_folder() -> None:
    with pytest.raises(diptych.errors.MissingData, match="x does not exist; give the folder"):
        diptych.open("x" * 300)


class Given:
    """An encoder that gives what it is told to."""

    name, fingerprint = "given", "given:1"

    def __init__(
        self, *, image: Any = (0.5, 1.0), text: Any = (1.0, 0.5), similarity: str = "cosine"
    ) -> None:
        self.image, self.text, self.similarity = image, text, similarity

    def encode_image(self, images: Any) -> Any:
        return np.tile(np.asarray(self.image, np.float32), (len(images), 1))

    def encode_text(self, texts: Any) -> Any:
        return np.tile(np.asarray(self.text, np.float32), (len(texts), 1))


def test_an_encoder_that_cannot_index_says_why(photos: Path) -> None:
    with pytest.raises(diptych.errors.UsageError, match=r"similarity 'cosin'.* one of cosine, dot, hamming"):
        diptych.open(photos, model=Given(similarity="cosin"))
    with pytest.raises(diptych.errors.UsageError, match="should give finite numbers, but gave NaN"):
        diptych.open(photos, model=Given(image=(np.nan, 1.0)))


def test_sides_of_different_dimensions_are_refused_where_they_meet(photos: Path) -> None:
    said = "given gave 3 dimensions for {}, but the collection's vectors have 2"
    lopsided = Given(text=(1.0, 0.5, 0.2))
    with diptych.open(photos, model=lopsided) as collection:
        collection.add()
        with pytest.raises(diptych.errors.CollectionError, match=said.format("the query")):
            collection.search("red")
        assert len(collection.search(photos / "red.png", itself=True)) == 2
        (photos / "red.txt").write_text("a red wall")
        with pytest.raises(diptych.errors.CollectionError, match=said.format("1 texts")):
            collection.add()
        assert (collection.count("image"), collection.count("text")) == (2, 0)
