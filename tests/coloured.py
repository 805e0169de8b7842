"""Drawn pictures with captions, and an extractor of their colours, for tests of features and views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych.data import extracted
from diptych.data.base import Loaded, Split, captioned

CAPTIONS = [["a red dog", "the dog"], ["a green cat"], ["red car"], ["a cat", "the red cat"]]


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


def data() -> Loaded:
    return Loaded("mine", {"train": split(4), "test": split(2)})
