"""Splits become features once, and the cache knows them by their content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coloured import Colour, files, pictures, split
from diptych.data.base import Absent, Pictures, Split, captioned
from diptych.data.extracted import extract
from diptych.errors import ImageError, MissingData, UsageError
from diptych.features.tfidf import TfIdf


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


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
