"""The text inside pictures: what is read, what is not, and what a picture may cost."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from diptych.errors import ImageError, MissingExtra
from diptych.media import ocr
from diptych.media.ocr import needs_ocr, read_text


def written(*lines: str, size: tuple[int, int] = (640, 480), height: int = 40) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(height)
    for at, line in enumerate(lines):
        draw.text((30, 50 + 2 * at * height), line, fill="black", font=font)
    return picture


def test_lines_are_read_from_above() -> None:
    assert [line.replace(" ", "") for line in read_text(written("Platform nine", "to London"))] == [
        "Platformnine", "toLondon"
    ]  # fmt: skip


@pytest.mark.parametrize("gate", [True, False])
def test_a_picture_without_text_has_none(gate: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    assert read_text(Image.fromarray(noise), gate=gate) == []
    assert read_text(Image.new("RGB", (1, 1)), gate=gate) == []


def test_a_large_picture_is_read_at_a_smaller_size() -> None:
    picture = written("Harbour", size=(5000, 1500), height=300)
    assert read_text(picture) == ["Harbour"]
    assert picture.size == (5000, 1500)


def test_one_that_takes_too_long_is_refused_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read_text(written("warm"))
    with monkeypatch.context() as patch:
        patch.setattr(ocr, "OCR_SECONDS", 0.0)
        with pytest.raises(ImageError, match="its text takes longer than 0 s, so it is passed over"):
            read_text(written("Harbour"))
    assert read_text(written("Harbour")) == ["Harbour"]


def test_one_that_ends_the_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        dying = ocr.Worker("os", "abort")
        patch.setattr(ocr, "_worker", dying)
        with pytest.raises(ImageError, match="its text ends the program that reads it, so it is passed over"):
            read_text(written("Harbour"), name="a.png")
    assert read_text(written("Harbour")) == ["Harbour"]


def test_without_the_package_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"reading the text in pictures needs .*'diptych\[ocr\]'"):
        needs_ocr()
