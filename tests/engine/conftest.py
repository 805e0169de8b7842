"""Pictures drawn by code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint
from PIL import Image

from diptych.testing import Colours


@pytest.fixture
def encoder() -> Colours:
    return Colours()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def paint(photos: Path) -> Paint:
    """Draws a picture of one colour; pictures of different colours have different content."""

    def paint(name: str, colour: Any = "red", size: tuple[int, int] = (40, 30), **how: Any) -> Path:
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path, **how)
        return path

    return paint
