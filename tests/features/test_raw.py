"""Pixels and tokens: what networks of pictures and words read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.catalogue import extractors_of, write_extractors
from diptych.data.base import Split, input_kind
from diptych.data.extracted import extract
from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.features import make, named
from diptych.features.pixels import Pixels
from diptych.features.tokens import Tokens

TEXTS = [
    "a red circle on the left",
    "a blue square",
    "a red square on the right",
    "a blue circle on the left",
] * 3


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Black on the left, white on the right."""
    picture = Image.new("RGB", (width, height))
    picture.paste((255, 255, 255), (width // 2, 0, width, height))
    return picture


def test_pixels_are_the_middle_of_the_picture() -> None:
    found = Pixels(size=20).encode_image([halves()])
    assert found.shape == (1, 3, 20, 20)
    assert found.dtype == np.uint8
    assert found[0, :, :, :9].max() == 0
    assert found[0, :, :, 11:].min() == 255
    assert input_kind(found) == "pixels"


def test_prepared_pictures_and_paths_give_the_same(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    pixels = Pixels(size=8)
    expected = pixels.encode_image([halves()])
    np.testing.assert_array_equal(pixels.encode_image([pixels.prepare_image(tmp_path / "a.png")]), expected)
    assert pixels.encode_image([]).shape == (0, 3, 8, 8)


def test_a_number_in_the_name_is_the_size_or_the_length() -> None:
    assert make("pixels:96", side="image").size == 96
    assert make("tokens:12", side="text").length == 12
    with pytest.raises(UsageError, match="bow has no variants"):
        make("bow:12", side="text")
    with pytest.raises(UsageError, match="must have a number after ':', its size"):
        make("pixels:large", side="image")
    with pytest.raises(BadParameter, match="at least 1"):
        make("pixels:0", side="image")


def test_tokens_are_word_pieces_between_two_special_ones() -> None:
    tokens = Tokens(length=8)
    tokens.fit(TEXTS)
    red, blue, unseen = tokens.encode_text(["a RED circle", "a blue circle", "zz"])
    assert (red[0], red[4], red[5:].tolist()) == (1, 2, [0, 0, 0])
    assert (red != blue).sum() == 1
    assert unseen[-4:].tolist() == [2, 0, 0, 0]
    long = tokens.encode_text([" ".join(TEXTS)])[0]
    assert (long[0], long[-1]) == (1, 2)
    assert 0 < long.max() < tokens.vocabulary_size
    assert input_kind(tokens.encode_text(TEXTS)) == "tokens"


def test_the_order_of_the_training_texts_changes_nothing() -> None:
    one, other = Tokens(), Tokens()
    one.fit(TEXTS)
    other.fit(TEXTS[::-1])
    assert one.fingerprint == other.fingerprint


def test_tokens_of_a_file(tmp_path: Path) -> None:
    learned = Tokens(length=8)
    learned.fit(TEXTS)
    (tmp_path / "tokenizer.json").write_bytes(learned.arrays()["tokenizer"].tobytes())
    read = make(f"tokens:8@{tmp_path}", side="text")
    assert read.fitted
    np.testing.assert_array_equal(read.encode_text(TEXTS), learned.encode_text(TEXTS))
    with pytest.raises(MissingData, match=r"tokenizer\.json"):
        Tokens(weights=str(tmp_path / "nowhere"))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(BadData, match="is no tokenizer"):
        Tokens(weights=str(tmp_path))


def test_refusals() -> None:
    with pytest.raises(BadParameter, match="length >= 3"):
        Tokens(length=2)
    with pytest.raises(UsageError, match="no texts"):
        Tokens().fit([])
    with pytest.raises(UsageError, match="call fit"):
        Tokens().encode_text(["a"])


def test_they_are_cached_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    split = Split([halves() for _ in TEXTS], TEXTS, None, np.stack([np.arange(12)] * 2, axis=1))
    extractors = named("image=pixels:16,text=tokens:8")
    extractors["text"].fit(TEXTS)
    for _ in range(2):  # the second time out of the cache
        found = extract(split, **extractors)
        assert isinstance(found.image, np.ndarray)
        assert isinstance(found.text, np.ndarray)
        assert (found.image.dtype, found.text.dtype) == (np.uint8, np.uint32)
    write_extractors(tmp_path / "features", extractors)
    again = extractors_of(tmp_path / "features")
    np.testing.assert_array_equal(again["text"].encode_text(TEXTS), found.text)
    np.testing.assert_array_equal(again["image"].encode_image([halves()])[0], found.image[0])


def test_integer_features_stay_features() -> None:
    counts = np.ones((12, 5), np.int32)
    split = Split(counts, counts.astype(np.uint8), None, np.stack([np.arange(12)] * 2, axis=1))
    assert isinstance(split.image, np.ndarray)
    assert split.image.dtype == np.float32
