"""Names become extractors, splits become features once, and a run folder gives the same extractors back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coloured import data, pictures
from diptych import catalogue
from diptych.catalogue import extractors_of, name_of, write_extractors
from diptych.chain import Chain
from diptych.data.views import Featured
from diptych.errors import (
    BadData,
    DiptychError,
    MissingData,
    UnknownName,
    UsageError,
    WrongModel,
)
from diptych.features import make, named


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


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
