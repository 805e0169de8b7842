"""Captions that a captioner writes: once a content, kept, marked, found, and told from those of people."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.engine.rebuild import rebuilding
from diptych.errors import UsageError
from diptych.testing import Colours

NAMES = ("red", "green", "blue")


class Says:
    """Says the colour of a picture, and counts the pictures that it was shown."""

    image_size = 16

    def __init__(self) -> None:
        self.shown = 0

    def captions(self, images: Sequence[Any]) -> list[str]:
        self.shown += len(images)
        means = [np.asarray(one.convert("RGB")).reshape(-1, 3).mean(axis=0) for one in images]
        return [f"a {NAMES[int(np.argmax(mean))]} field" for mean in means]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        Image.new("RGB", (24, 16), name).save(tmp_path / f"{name}.png")
    (tmp_path / "red.txt").write_text("a wall\n")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def texts(opened: Any) -> dict[str, list[tuple[str, str]]]:
    home = opened.home
    return {Path(str(home.path(one.key))).name: home.texts(one.id) for one in home.files()}


def test_pictures_are_described_once(photos: Path) -> None:
    says = Says()
    with diptych.open(photos, model=Colours()) as opened:
        first = opened.add(caption=says)
        assert first.captioned is not None
        assert first.captioned.as_dict() == {"described": 3, "silent": 0, "failed": [], "away": 0}
        assert texts(opened)["red.png"] == [("a wall", "sidecar"), ("a red field", "generated")]
        assert texts(opened)["blue.png"] == [("a blue field", "generated")]
        second = opened.add(caption=says)
        assert second.captioned is not None
        assert (second.captioned.described, says.shown) == (0, 3)
        assert opened.add().captioned is None


def test_generated_texts_are_found_and_marked(photos: Path) -> None:
    with diptych.open(photos, model=Colours()) as opened:
        opened.add(caption=Says())
        by_words = opened.search("green field", by="words", k=1)
        assert by_words[0].id == "green.png"
        found = opened.search(image=photos / "blue.png", to="text", k=1)
        assert (found[0].text, found[0].meta["source"]) == ("a blue field", "generated")


def test_what_was_said_stays_with_the_content(photos: Path) -> None:
    says = Says()
    with diptych.open(photos, model=Colours()) as opened:
        opened.add(caption=says)
        shutil.copy(photos / "green.png", photos / "copy.png")
        (photos / "blue.png").rename(photos / "moved.png")
        (photos / "red.txt").write_text("an old wall\n")
        (photos / "green.txt").write_text("grass\n")
        opened.add()
        now = texts(opened)
        assert now["copy.png"] == [("a green field", "generated")]
        assert now["moved.png"] == [("a blue field", "generated")]
        assert now["red.png"] == [("an old wall", "sidecar"), ("a red field", "generated")]
        assert now["green.png"] == [("grass", "sidecar"), ("a green field", "generated")]
        before = now
        opened.add(caption=says)
        assert (texts(opened), says.shown) == (before, 3)
        # Another content is described anew.
        Image.new("RGB", (20, 20), "red").save(photos / "moved.png")
        opened.add(caption=says)
        assert texts(opened)["moved.png"] == [("a red field", "generated")]
        assert says.shown == 4


def test_rebuilding_keeps_what_was_said(photos: Path) -> None:
    with diptych.open(photos, model="builtin") as opened:
        opened.add(caption=Says())
    with rebuilding(photos) as fresh:
        fresh.add(photos)
    with diptych.open(photos) as opened:
        assert texts(opened)["red.png"] == [("a wall", "sidecar"), ("a red field", "generated")]
        found = opened.search(image=photos / "blue.png", to="text", k=3)
        assert "generated" in {one.meta["source"] for one in found}


def test_an_interrupted_run_goes_on(photos: Path) -> None:
    for number in range(40):
        Image.new("RGB", (8 + number, 8), NAMES[number % 3]).save(photos / f"n{number}.png")

    class Stops(Says):
        def captions(self, images: Sequence[Any]) -> list[str]:
            if self.shown > 20:
                raise KeyboardInterrupt
            return super().captions(images)

    says = Stops()
    with diptych.open(photos, model=Colours()) as opened:
        with pytest.raises(KeyboardInterrupt):
            opened.add(caption=says)
        again = opened.add(caption=Says())
        assert again.captioned is not None
        assert says.shown + again.captioned.described == 43
        assert all(any(source == "generated" for _, source in told) for told in texts(opened).values())


def test_what_describes_nothing_is_refused(photos: Path) -> None:
    class Short(Says):
        def captions(self, images: Sequence[Any]) -> list[str]:
            return ["one"]

    with diptych.open(photos, model=Colours()) as opened:
        with pytest.raises(UsageError, match="builtin describes no pictures; name a captioner"):
            opened.add(caption="builtin")
        with pytest.raises(UsageError, match="a caption a picture, not 1 for 3"):
            opened.add(caption=Short())
