"""Copies are found whatever was done to them, and photographs of their own are none."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from diptych.engine import duplicates as module
from diptych.engine.collection import Collection, open
from diptych.engine.duplicates import neighbours
from diptych.engine.looks import ALIKE, Looks, likeness, look_of
from diptych.errors import UsageError
from diptych.testing import Colours


def recompressed(picture: Image.Image) -> Image.Image:
    kept = io.BytesIO()
    picture.save(kept, "JPEG", quality=30)
    return Image.open(kept)


def part(share: float, x: float, y: float) -> Callable[[Image.Image], Image.Image]:
    def cropped(picture: Image.Image) -> Image.Image:
        left, top = (round(side * (1 - share) * at) for side, at in zip(picture.size, (x, y), strict=True))
        return picture.crop(
            (left, top, left + round(picture.width * share), top + round(picture.height * share))
        )

    return cropped


MADE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda picture: picture.resize((picture.width // 3, picture.height // 3)),
    "recompressed": recompressed,
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.3),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "grey": lambda picture: picture.convert("L"),
    "cropped": part(0.9, 0.5, 0.5),
    "corner": part(0.8, 0.0, 1.0),
}


def scene(seed: int) -> Image.Image:
    """A picture with large and small things in it, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    for _ in range(25):
        x, y, w, h = (int(value) for value in rng.integers(0, (320, 240, 60, 60)))
        draw.ellipse((x, y, x + w, y + h), fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    return picture.filter(ImageFilter.GaussianBlur(1))


@pytest.fixture
def scenes(photos: Path) -> Path:
    for seed in range(12):
        scene(seed).save(photos / f"{seed:02}.png")
    return photos


@pytest.mark.parametrize("made", MADE)
def test_what_was_made_of_a_picture_looks_like_it(tmp_path: Path, made: str) -> None:
    for seed in range(5):
        scene(seed).save(tmp_path / "a.png")
        MADE[made](scene(seed)).save(tmp_path / "b.png")
        first, second = look_of(tmp_path / "a.png"), look_of(tmp_path / "b.png")
        assert likeness(first, second) >= ALIKE, (made, seed)
        assert likeness(second, first) == pytest.approx(likeness(first, second), abs=1e-5)


def test_a_picture_looks_exactly_like_itself_and_not_like_its_mirror_image(scenes: Path) -> None:
    looks = [look_of(path) for path in sorted(scenes.glob("*.png"))]
    for look in looks:
        assert likeness(look, look) == pytest.approx(1, abs=1e-5)
        assert likeness(look, look[:, ::-1]) < ALIKE / 2
    assert max(likeness(a, b) for a, b in itertools.combinations(looks, 2)) < ALIKE / 2


def test_looks_without_contrast_are_like_nothing() -> None:
    flat = [np.full((64, 64), level, np.uint8) for level in (0, 200, 255)]
    assert [likeness(a, b) for a in flat for b in flat] == [0.0] * 9


def test_pages_of_text_do_not_look_the_same(tmp_path: Path) -> None:
    """Grey levels of two pages correlate at .96; where their lines are is what tells them apart."""
    rng, looks = np.random.default_rng(0), Looks()
    for name in "ab":
        page = Image.new("L", (425, 550), 255)
        draw = ImageDraw.Draw(page)
        for y in range(50, 500, 13):
            letters = "".join(chr(code) for code in rng.integers(97, 123, 68))
            draw.text((45, y), "".join(" " if rng.random() < 0.2 else letter for letter in letters), fill=0)
        page.save(tmp_path / f"{name}.png")
    assert looks.likeness(tmp_path / "a.png", tmp_path / "b.png") < ALIKE
    assert looks.likeness(tmp_path / "a.png", tmp_path / "gone.png") == 0


@pytest.fixture
def filled(scenes: Path, encoder: Colours) -> Iterator[Collection]:
    """Twelve pictures, one of them three times, and what was made of two others."""
    (scenes / "sub").mkdir()
    for name in ("copy.png", "sub/copy.png"):
        shutil.copy(scenes / "00.png", scenes / name)
    for number, name in ((1, "smaller"), (1, "cropped"), (2, "recompressed")):
        MADE[name](scene(number)).save(scenes / f"{number:02} {name}.png")
    with open(scenes, model=encoder) as opened:
        opened.add()
        yield opened


def test_duplicates_are_found_and_kept_apart(filled: Collection) -> None:
    told = []
    found = filled.duplicates(on_progress=told.append)
    assert [{one.id for one in group} for group in found.exact] == [{"00.png", "copy.png", "sub/copy.png"}]
    groups = sorted(sorted(one.id for one in group) for group in found.near)
    assert groups == [["01 cropped.png", "01 smaller.png", "01.png"], ["02 recompressed.png", "02.png"]]
    assert (found.pictures, found.missing, found.threshold) == (17, 0, ALIKE)
    for group in (*found.exact, *found.near):
        assert [one.bytes for one in group] == sorted(
            (one.path.stat().st_size for one in group), reverse=True
        )
        assert all(ALIKE <= one.likeness <= 1 for one in group)
    assert all(one.likeness == 1 for group in found.exact for one in group)
    assert (told[-1].done, told[-1].total) == (told[-1].total, told[-1].total)
    assert len(found.as_dict()["near"][0]) == len(found.near[0])


def test_only_content_and_only_below_a_folder(filled: Collection, scenes: Path) -> None:
    found = filled.duplicates(threshold=None)
    assert (len(found.exact), found.near, found.threshold) == (1, [], None)
    (scenes / "copy.png").unlink()
    found = filled.duplicates(threshold=None)
    assert [len(group) for group in found.exact] == [2]
    assert found.missing == 1
    with open(scenes / "sub", create=False, model=Colours()) as below:
        assert below.duplicates().as_dict() | {"seconds": 0} == {
            "threshold": ALIKE, "pictures": 1, "missing": 0, "seconds": 0, "exact": [], "near": [],
        }  # fmt: skip


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_that_is_none(filled: Collection, threshold: float) -> None:
    with pytest.raises(UsageError, match=f"above 0 and at most 1, such as 0.8, not {threshold}"):
        filled.duplicates(threshold=threshold)


def test_near_copies_are_told_under_the_best(filled: Collection) -> None:
    found = filled.search(filled.folder / "01.png", k=3, fold="near")
    assert found[0].id in ("01 smaller.png", "01 cropped.png")
    assert len(found[0].copies) == 1
    every = filled.search(filled.folder / "01.png", k=20, fold="near")
    assert len(every) == 12  # thirteen, but for the one that asks, whose near copies are one
    assert [one.id for one in every[:3]] == [one.id for one in found]


class Given:
    """A gallery of vectors."""

    def __init__(self, vectors: Any) -> None:
        self._vectors = vectors

    def vectors(self, places: Any) -> Any:
        return self._vectors[places]


@pytest.mark.parametrize(("large", "block"), [(1000, 1024), (1000, 7), (2, 1024), (2, 7)])
def test_neighbours_are_the_nearest_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch, large: int, block: int
) -> None:
    rng = np.random.default_rng(0)
    # Vectors of 40 dimensions that differ in 8 directions, so that these are all that counts.
    vectors = (rng.standard_normal((60, 8)) @ rng.standard_normal((8, 40))).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -1)
    near = [(a, b) for a, line in enumerate(scores) for b in np.argsort(-line)[:3] if line[b] >= 0.5]
    for name, value in (("_LARGE", large), ("_DIMENSIONS", 8), ("_BLOCK", block)):
        monkeypatch.setattr(module, name, value)
    found = neighbours(Given(vectors), np.arange(60), 3)  # type: ignore[arg-type]
    assert len(near) > 60
    assert {tuple(pair) for pair in found.tolist()} == {(int(min(pair)), int(max(pair))) for pair in near}


def test_a_single_picture_has_no_neighbours(photos: Path, paint: Paint) -> None:
    paint("a.png")
    with open(photos, model=Colours()) as opened:
        opened.add()
        assert opened.duplicates().near == []
