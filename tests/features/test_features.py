"""Names become extractors, splits become features once, and a run folder gives the same extractors back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych import catalogue
from diptych.catalogue import extractors_of, name_of, write_extractors
from diptych.chain import Chain
from diptych.data import extracted
from diptych.data.base import Absent, Loaded, Pictures, Split, captioned
from diptych.data.extracted import extract
from diptych.data.views import Featured
from diptych.errors import (
    BadData,
    DiptychError,
    ImageError,
    MissingData,
    UnknownName,
    UsageError,
    WrongModel,
)
from diptych.features import make, named
from diptych.features.tfidf import TfIdf

CAPTIONS = [["a red dog", "the dog"], ["a green cat"], ["red car"], ["a cat", "the red cat"]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


class Colour:
    """Mean colour of a picture; counts what it is asked."""

    similarity = "cosine"
    side = "image"

    def __init__(self, fingerprint: str = "colour") -> None:
        self.fingerprint = fingerprint
        self.asked: list[int] = []

    def encode_image(self, images: Sequence[Any]) -> Any:
        self.asked.append(len(images))
        return np.stack([np.asarray(image, np.float32).mean(axis=(0, 1)) for image in images])


def pictures(count: int = 4) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (10 * row, 5, 255 - row)) for row in range(count)]


def split(count: int = 4) -> Split:
    return captioned(pictures(count), [CAPTIONS[row % 4] for row in range(count)])


def files() -> list[Path]:
    return sorted(extracted.folder().iterdir()) if extracted.folder().is_dir() else []


def test_features_take_the_place_of_pictures_and_texts() -> None:
    tfidf = TfIdf()
    before = split()
    tfidf.fit(before.text)
    after = extract(before, image=Colour(), text=tfidf)
    np.testing.assert_array_equal(after.image, Colour().encode_image(pictures()))
    np.testing.assert_allclose(after.text, tfidf.encode_text(before.text))
    assert after.image.dtype == after.text.dtype == np.float32
    np.testing.assert_array_equal(after.pairs, before.pairs)
    assert after.image_id == before.image_id
    assert extract(before, image=Colour()).text == before.text


def test_features_are_extracted_once_for_content_and_extractor() -> None:
    first, again = Colour(), Colour()
    progress: list[tuple[int, int]] = []
    extract(split(150), image=first, progress=lambda done, all_: progress.append((done, all_)))
    assert first.asked == [64, 64, 22]
    assert progress == [(64, 150), (128, 150), (150, 150)]
    found = extract(split(150), image=again)
    assert again.asked == []
    np.testing.assert_array_equal(found.image, Colour().encode_image(pictures(150)))
    assert isinstance(found.image.base, np.memmap)  # read from the file when looked at
    extract(split(149), image=again)
    assert again.asked == [64, 64, 21]
    other = Colour("another")
    extract(split(150), image=other)
    assert other.asked == [64, 64, 22]
    assert len(files()) == 3


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for name, picture in zip("ab", pictures(2), strict=True):
        picture.save(tmp_path / f"{name}.png")

    def asked(names: str) -> list[int]:
        colour = Colour()
        images = Pictures.from_folder(tmp_path, [f"{name}.png" for name in names])
        extract(captioned(images, [["x"]] * len(names)), image=colour)
        return colour.asked

    assert asked("ab") == [2]
    os.rename(tmp_path / "a.png", tmp_path / "c.png")
    assert asked("cb") == []
    assert asked("bc") == [2]
    pictures(3)[2].save(tmp_path / "c.png")
    assert asked("cb") == [2]


def test_an_interrupted_extraction_leaves_nothing_behind() -> None:
    class Fails(Colour):
        def encode_image(self, images: Sequence[Any]) -> Any:
            if self.asked:
                raise KeyboardInterrupt
            return super().encode_image(images)

    with pytest.raises(KeyboardInterrupt):
        extract(split(100), image=Fails())
    assert files() == []
    colour = Colour()
    extract(split(100), image=colour)
    assert colour.asked == [64, 36]


def test_what_cannot_be_extracted(tmp_path: Path) -> None:
    ready = extract(split(), image=Colour())
    with pytest.raises(UsageError, match=r"features \(4, 3\) already"):
        extract(ready, image=Colour())
    absent = Split(Absent(2, "get the pictures from there"), ["a", "b"], None, np.zeros((0, 2), np.int64))
    with pytest.raises(MissingData, match="get the pictures from there"):
        extract(absent, image=Colour())
    gone = captioned([str(tmp_path / "gone.png")], [["a"]])
    with pytest.raises(ImageError, match="cannot be read"):
        extract(gone, image=Colour())


def test_decoding_runs_ahead_through_prepare() -> None:
    class Prepares(Colour):
        def prepare_image(self, picture: Any) -> Any:
            return np.asarray(picture, np.float32)

        def encode_image(self, images: Sequence[Any]) -> Any:
            assert all(isinstance(image, np.ndarray) for image in images)
            return super().encode_image(images)

    np.testing.assert_array_equal(
        extract(split(70), image=Prepares()).image, Colour().encode_image(pictures(70))
    )


def data() -> Loaded:
    return Loaded("mine", {"train": split(4), "test": split(2)})


def test_a_data_set_seen_through_extractors_is_fitted_on_training_texts() -> None:
    extractors = named("text=tfidf")
    extractors["image"] = Colour()
    seen = Featured(data(), extractors)
    assert (seen.name, seen.splits, seen.relevance) == ("mine", ("train", "test"), "pair")
    test = seen.split("test")
    assert extractors["text"].vocabulary == ["a", "car", "cat", "dog", "green", "red", "the"]
    assert test.text.shape == (3, 7)  # "car" is only in the training texts
    assert seen.split("test") is test
    assert [len(query) for query, _ in seen.cases()] == [2]
    with pytest.raises(UnknownName):
        seen.split("tset")
    with pytest.raises(UsageError, match="features already"):
        Featured(seen, {"text": TfIdf()}).split("train")


@pytest.mark.parametrize("name", ["bow", "tfidf", "lsa"])
def test_a_run_folder_gives_the_same_extractors_back(name: str, tmp_path: Path) -> None:
    extractors = named(name)
    assert {side: name_of(one) for side, one in extractors.items()} == {"text": name}
    Featured(data(), extractors).split("train")
    write_extractors(tmp_path / "features", extractors)
    again = extractors_of(tmp_path / "features")
    assert list(again) == ["text"]
    texts = ["a red cat", "nothing"]
    np.testing.assert_array_equal(again["text"].encode_text(texts), extractors["text"].encode_text(texts))

    class Head:
        similarity = "dot"

        def encode_text(self, features: Any) -> Any:
            return features * 2

    chain = Chain(head=Head(), **again)
    np.testing.assert_array_equal(chain.encode_text(texts), 2 * again["text"].encode_text(texts))


def test_a_damaged_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="holds no extractors"):
        extractors_of(tmp_path)
    extractors = named("bow")
    Featured(data(), extractors).split("train")
    write_extractors(tmp_path, extractors)
    (tmp_path / "text.npz").unlink()
    with pytest.raises(MissingData, match=r"no text\.npz"):
        extractors_of(tmp_path)
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(BadData, match="damaged"):
        extractors_of(tmp_path)


def test_word_vectors_come_back_only_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("dog 1 2\ncat 3 4\n")
    monkeypatch.chdir(tmp_path)
    write_extractors(tmp_path / "run", named("word_vectors@glove.txt"))
    monkeypatch.chdir(tmp_path.parent)  # a run is loaded from anywhere
    np.testing.assert_array_equal(extractors_of(tmp_path / "run")["text"].encode_text(["dog"]), [[1, 2]])
    path.write_text("dog 1 2\ncat 3 5\n")
    with pytest.raises(WrongModel, match="other weights of word_vectors"):
        extractors_of(tmp_path / "run")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("lsaa", UnknownName, "did you mean lsa"),
        ("image=lsa", UsageError, "features of texts, not of images"),
        ("image=bow,image=bow", UsageError, "names no features"),
        ("text=", UsageError, "names no features"),
        ("text=bow,lsa", UsageError, "names no features"),
        ("word_vectors", MissingData, "word_vectors@FILE"),
        ("bow@file", UsageError, "reads no file"),
        ("dual", UnknownName, "no feature extractor or encoder 'dual'"),
    ],
)
def test_names_that_will_not_do(spec: str, error: type[DiptychError], message: str) -> None:
    with pytest.raises(error, match=message):
        named(spec)


def test_parameters_reach_the_extractor() -> None:
    assert make("bow", side="text", size=3).size == 3
    with pytest.raises(UsageError, match="size"):
        make("bow", side="text", size="three")


def test_every_extractor_has_a_card() -> None:
    known = catalogue.cards("feature")
    assert {"bow", "tfidf", "lsa", "word_vectors", "dual", "cnn_f", "vgg19_fc7"} <= set(known)
    for card in known.values():
        assert card.title
        assert {"Inputs", "Learns from"} <= set(card.fields), card.name
        assert card.idea


def test_both_sides_of_a_dual_tower_by_name(tmp_path: Path, tiny_clip: Path) -> None:
    pytest.importorskip("transformers")
    name = f"clip@{tiny_clip}"
    extractors = named(name)
    assert {side: name_of(one) for side, one in extractors.items()} == {"image": name, "text": name}
    seen = Featured(data(), extractors).split("test")
    assert seen.image.shape == (2, 16)
    assert seen.text.shape == (3, 16)
    image, text = (extractors[side] for side in ("image", "text"))
    assert image.encoder is text.encoder  # loaded once
    assert image.image_size == 32
    encoder = catalogue.load(name)
    np.testing.assert_allclose(seen.image, encoder.encode_image(pictures(2)), atol=1e-5)
    write_extractors(tmp_path / "run", extractors)
    again = extractors_of(tmp_path / "run")
    np.testing.assert_allclose(
        again["text"].encode_text(["a dog"]), encoder.encode_text(["a dog"]), atol=1e-6
    )
