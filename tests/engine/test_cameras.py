"""Raw files of cameras in a collection: read, left out beside their pictures, counted where nothing can."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint, names

from diptych.engine.collection import Collection, open_collection
from diptych.testing import Colours
from raw_files import dng, jpeg


def held(collection: Collection) -> list[str]:
    return sorted(collection.vectors("image")[0])


def put(photos: Path, name: str, colour: str) -> Path:
    path = photos / name
    path.write_bytes(dng(jpeg(colour, colour)))
    return path


def test_they_are_found_and_can_be_asked_with(photos: Path, paint: Paint) -> None:
    red = put(photos, "a.dng", "red")
    put(photos, "b.NEF", "blue")
    paint("c.png", "green")
    (photos / "a.txt").write_text("a caption")
    with open_collection(photos, model=Colours()) as collection:
        summary = collection.add()
        assert (summary.added, summary.skipped, dict(summary.passed_over)) == (3, [], {})
        assert names(collection.search("red", k=1)) == ["a.dng"]
        assert names(collection.search(red, k=1, itself=True)) == ["a.dng"]
        assert collection.home.texts(collection.home.file(b"a.dng").id) == [("a caption", "sidecar")]  # type: ignore[union-attr]
        assert collection.add().unchanged == 3


def test_one_beside_a_picture_of_its_name_is_left_out(photos: Path, paint: Paint) -> None:
    put(photos, "IMG_1.CR2", "red")
    put(photos, "IMG_2.CR2", "blue")
    paint("img_1.jpg", "red")
    with open_collection(photos, model=Colours()) as collection:
        summary = collection.add()
        assert held(collection) == ["IMG_2.CR2", "img_1.jpg"]
        [left] = summary.excluded.left
        assert (left.count, left.what, left.reason) == (
            1,
            "files",
            "as raw beside a picture of the same name",
        )
        paint("IMG_2.jpg", "blue")  # developed since
        summary = collection.add()
        assert (summary.added, summary.removed) == (1, 1)
        assert held(collection) == ["IMG_2.jpg", "img_1.jpg"]
        assert collection.add(photos / "IMG_1.CR2").added == 0
        collection.exclude("!*.CR2")  # both
        assert collection.add().added == 2
        assert collection.add().unchanged == 4
        collection.exclude_no_longer("!*.CR2")
        collection.exclude("*.jpg")  # the raw instead of the picture
        collection.add()
        assert held(collection) == ["IMG_1.CR2", "IMG_2.CR2"]


def test_damaged_ones_are_skipped_with_the_reason(photos: Path) -> None:
    (photos / "a.cr3").write_bytes(b"\0\0\0\x18ftypcrx " + b"\0" * 99)
    put(photos, "b.dng", "red")
    with open_collection(photos, model=Colours()) as collection:
        [skipped] = collection.add().skipped
        assert skipped.reason.startswith("damaged, or raw of a camera that is not supported (")
        assert held(collection) == ["b.dng"]


def test_without_the_package_they_are_counted(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(photos, "a.dng", "red")
    put(photos, "b.dng", "blue")
    (photos / "c.tga").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rawpy", None)
        with open_collection(photos, model=Colours()) as collection:
            summary = collection.add()
            assert (summary.added, summary.passed_over) == (0, {".dng": 2, ".tga": 1})
            [skipped] = collection.add(photos / "a.dng").skipped
            assert "pip install 'diptych[raw]'" in skipped.reason
    with open_collection(photos, model=Colours()) as collection:
        assert collection.add().added == 2  # with it they are read


def test_the_command_says_what_reads_them(
    photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    put(photos, "a.dng", "red")
    put(photos, "b.nef", "red")
    paint("c.png")
    monkeypatch.setitem(sys.modules, "rawpy", None)
    _, _, told = run("index", str(photos))
    assert (
        "passed over, as Diptych does not read them: 2 raw pictures of cameras "
        "(read with: pip install 'diptych[raw]')\n"
    ) in told
