"""Captions behind links that lead out of a folder stay where they are, unless they are asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from diptych.data.readers.folder import Folder
from diptych.engine.collection import open_collection
from diptych.media.captions import Sidecars
from diptych.media.links import LEADS_OUT
from diptych.testing import Colours

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")

OUT = {"sidecar.txt", "list.csv", "annotations"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures; what is said of them lies outside, but for one text."""
    inside, outside = tmp_path / "photos", tmp_path / "secrets"
    for folder in (inside, outside / "lists"):
        folder.mkdir(parents=True)
    for name in ("sidecar", "listed", "own"):
        Image.new("RGB", (8, 8), "red").save(inside / f"{name}.png")
    (outside / "passwords.txt").write_text("a secret word\n")
    (outside / "list.csv").write_text("image,caption\nlisted.png,a secret row\n")
    (outside / "lists" / "more.csv").write_text("image,caption\nlisted.png,another secret row\n")
    (inside / "texts").mkdir()
    (inside / "texts" / "own.txt").write_text("what is said inside\n")
    os.symlink(outside / "passwords.txt", inside / "sidecar.txt")
    os.symlink(outside / "list.csv", inside / "list.csv")
    os.symlink(outside / "lists", inside / "annotations")
    os.symlink(inside / "texts" / "own.txt", inside / "own.txt")
    return inside


def captions(photos: Path, *, follow_links: bool) -> dict[str, list[str]]:
    found = Sidecars(photos, follow_links=follow_links)
    return {name: found.of(photos / f"{name}.png") for name in ("sidecar", "listed", "own")}


def test_only_what_lies_inside_is_read(photos: Path) -> None:
    said = {"sidecar": [], "listed": [], "own": ["what is said inside"]}
    assert captions(photos, follow_links=False) == said
    found = Sidecars(photos)
    (left,) = found.taken().left
    assert (left.reason, left.count) == (LEADS_OUT, 3)
    assert {Path(name).name for name in left.first} == OUT
    assert not any(path.name in OUT for path in found.files)


def test_the_others_are_read_on_request(photos: Path) -> None:
    assert captions(photos, follow_links=True) == {
        "sidecar": ["a secret word"],
        "listed": ["a secret row", "another secret row"],
        "own": ["what is said inside"],
    }


def test_index_and_data_sets_do_the_same(photos: Path) -> None:
    with open_collection(photos, model=Colours()) as opened:
        summary = opened.add()
        assert [(left.reason, left.count) for left in summary.captions.left if left.reason == LEADS_OUT] == [
            (LEADS_OUT, 3)
        ]
        assert opened.count("text") == 1
        opened.add(follow_links=True)
        assert opened.count("text") == 4
        opened.add()
        assert opened.count("text") == 1
    data = Folder(photos)
    assert data.split("all").text == ["what is said inside"]
    assert {left.reason: left.count for left in data.report.left} == {LEADS_OUT: 3, "has no caption": 2}
